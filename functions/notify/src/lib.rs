//! Webhooks: every message of `notify.>` is sent to an address on the web, again and again until it is taken.

mod http;

/// Calls a webhook.
#[micro::function]
mod notify {
    use crate::http;
    use micro::{Error, events};

    /// Where messages go.
    const URL: &str = "WEBHOOK_URL";

    /// Sends a message to the webhook. What the webhook does not take with a status of 2xx comes again.
    #[micro::subscribe("notify.>", retries = 8, backoff = "1s")]
    pub fn send(body: Vec<u8>) -> Result<(), Error> {
        let url = std::env::var(URL).map_err(|_| {
            Error::unavailable(format!("the webhook's address is not set: deploy with --env {URL}=https://…"))
        })?;
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if let Some(event) = events::current() {
            let content_type = event.header.iter().find(|(name, _)| name == "content-type");
            if let Some((_, content_type)) = content_type {
                headers[0].1.clone_from(content_type);
            }
            headers.push(("x-event-topic".to_owned(), event.topic));
            headers.push(("x-event-id".to_owned(), event.id));
        }
        let status = http::post(&url, &headers, &body).map_err(Error::internal)?;
        match status {
            200..300 => Ok(()),
            // A webhook that does not understand the message will not understand it later.
            400 | 413 | 415 | 422 => Err(Error::new(status, format!("the webhook refuses the message with {status}"))),
            _ => Err(Error::internal(format!("the webhook answers {status}"))),
        }
    }
}
