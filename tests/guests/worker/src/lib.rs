//! Works on messages, as each of them says.

/// What a message can ask for, and what was done.
#[micro::function]
mod worker {
    use micro::events::{self, Event, NotPublished};
    use micro::{Error, store::Store};

    /// Where the messages are that were worked on, in their order.
    const DONE: &str = "done";

    fn note(text: String) -> Result<(), Error> {
        Store::own().update(DONE, |done: Option<Vec<String>>| {
            let mut done = done.unwrap_or_default();
            done.push(text.clone());
            done
        })?;
        Ok(())
    }

    /// Notes a message. `fail 2 …` fails the first two times, `poison …` always; `trap …` breaks the instance, and what
    /// begins with `refuse` will never be understood. `away …` fails as if something else were away, and `id …` notes the
    /// message's id, after it has failed at every try of its first life.
    #[micro::subscribe("work.>", retries = 3, backoff = "1ms")]
    pub fn work(body: Vec<u8>) -> Result<(), Error> {
        let text = String::from_utf8_lossy(&body).into_owned();
        let event = events::current().ok_or_else(|| Error::conflict("no message came"))?;
        let mut words = text.split(' ');
        match (words.next(), words.next().map(str::parse::<u32>)) {
            (Some("fail"), Some(Ok(times))) if event.attempt <= times => {
                return Err(Error::internal(format!("try {} fails", event.attempt)));
            }
            (Some("away"), _) => return Err(Error::unavailable("something else is away")),
            (Some("id"), _) => {
                let is_first = !event.header.iter().any(|(name, _)| name == "micro-only-group");
                return if is_first { Err(Error::internal(event.id)) } else { note(event.id) };
            }
            (Some("poison"), _) => return Err(Error::internal("it is poison")),
            (Some("trap"), _) => panic!("as it was told"),
            (Some("refuse"), _) => return Err(Error::bad_request("it is no work")),
            _ => {}
        }
        note(text)
    }

    /// A message with fields.
    pub struct Order {
        pub id: u64,
        pub note: Option<String>,
    }

    /// Takes an order, and passes it on.
    #[micro::subscribe("orders.placed", queue = "desk", backoff = "1ms")]
    pub fn take_order(order: Order) -> Result<(), Error> {
        let event = events::current().map(|event| (event.topic, event.key, event.id.is_empty()));
        note(format!("{} {event:?}", order.id))?;
        Event::bytes("text/plain", format!("order {}", order.id)).key(order.id.to_string()).publish("work.orders")
    }

    /// The messages that were worked on, in their order.
    pub fn done() -> Result<Vec<String>, Error> {
        let done = Store::own().get(DONE)?;
        Ok(done.and_then(|done| micro::serde_json::from_slice(&done).ok()).unwrap_or_default())
    }

    /// Publishes texts in one call, each with its key if there is one. Gives those that were not, with the reason.
    pub fn publish_all(topic: String, texts: Vec<(String, Option<String>)>) -> Result<Vec<String>, Error> {
        let event = |(text, key)| match key {
            Some(key) => Event::bytes("text/plain", text).key(key),
            None => Event::bytes("text/plain", text),
        };
        match events::publish_all(&topic, texts.into_iter().map(event)) {
            Ok(()) => Ok(Vec::new()),
            Err(NotPublished::Parts(parts)) => {
                Ok(parts.into_iter().map(|part| format!("{} {} {}", part.at, part.why.code, part.why.detail)).collect())
            }
            Err(whole) => Err(whole.into()),
        }
    }

    /// Publishes a text.
    pub fn publish(topic: String, text: String) -> Result<(), Error> {
        Event::bytes("text/plain", text).publish(&topic)
    }
}
