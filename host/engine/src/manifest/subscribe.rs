//! `[[subscribe]]`: topics whose messages go to endpoints.

use super::duration;
use micro_mesh::broker::{Pattern, topic};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Subscriptions of one deployment; each has a task and a share of the broker.
const MAX_SUBSCRIPTIONS: usize = 100;

/// How often a message may be tried again.
const MAX_RETRIES: u32 = 100;

/// The longest wait before the first time that it is.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Messages that one subscription may have in work.
const MAX_CONCURRENCY: u32 = 1024;

/// `[[subscribe]]`: a topic whose messages go to an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Subscribe {
    /// `orders.created`; `orders.*` and `orders.>` stand for several.
    pub topic: String,
    /// The group that shares the messages; every deployment gets all of them, if there is none.
    pub queue: Option<String>,
    /// `Billing.OnOrder`; empty leads to the function that takes messages as they are.
    pub endpoint: String,
    /// Where a group begins that there was not before.
    pub from: Begin,
    /// How often a message is tried again that failed, before it is put where dead letters are.
    pub retries: u32,
    /// How long to wait before that. Each time it is twice as long as the time before.
    #[serde(with = "duration")]
    pub backoff: Duration,
    /// Messages in work at a time; as many as calls, if there is none.
    pub concurrency: Option<u32>,
}

/// Where a group begins that there was not before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Begin {
    /// With what is published from now on.
    #[default]
    Latest,
    /// With the first message that the broker still has.
    Earliest,
}

impl Default for Subscribe {
    fn default() -> Subscribe {
        Subscribe {
            topic: String::new(),
            queue: None,
            endpoint: String::new(),
            from: Begin::default(),
            retries: 5,
            backoff: Duration::from_millis(500),
            concurrency: None,
        }
    }
}

/// Says what is wrong with subscriptions, if so.
pub(super) fn check(all: &[Subscribe]) -> Result<(), String> {
    if all.len() > MAX_SUBSCRIPTIONS {
        return Err(format!(
            "{} subscriptions, and a manifest may have {MAX_SUBSCRIPTIONS}: let one pattern like orders.* stand for several",
            all.len()
        ));
    }
    for (at, one) in all.iter().enumerate() {
        check_one(one).map_err(|reason| format!("subscribe {:?}: {reason}", one.topic))?;
        if all.iter().take(at).any(|before| before.topic == one.topic && before.queue == one.queue) {
            return Err(format!("subscribe {:?}: it is there twice, and each message goes to one of them", one.topic));
        }
    }
    Ok(())
}

fn check_one(Subscribe { topic, queue, retries, backoff, concurrency, .. }: &Subscribe) -> Result<(), String> {
    Pattern::new(topic.as_str()).map_err(|error| error.to_string())?;
    if let Some(queue) = queue {
        topic::check_group(queue).map_err(|error| error.to_string())?;
        let letters = format!("{}{queue}", topic::DEAD_LETTERS);
        topic::check_topic(&letters).map_err(|error| format!("its dead letters have no place: {error}"))?;
    }
    if *retries > MAX_RETRIES {
        return Err(format!("retries: expected 0 to {MAX_RETRIES}"));
    }
    if *backoff > MAX_BACKOFF {
        return Err(format!("backoff: expected {} at most", humantime::format_duration(MAX_BACKOFF)));
    }
    match concurrency {
        Some(0) => Err("concurrency: expected 1 at least".into()),
        Some(more) if *more > MAX_CONCURRENCY => Err(format!("concurrency: expected {MAX_CONCURRENCY} at most")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Manifest;

    fn wrong(text: &str) -> String {
        Manifest::parse(&format!("[[subscribe]]\n{text}")).unwrap_err().to_string()
    }

    #[test]
    fn a_subscription_says_what_it_does_not_say() {
        let manifest = Manifest::parse("[[subscribe]]\ntopic = \"orders.*\"\nendpoint = \"A.B\"").unwrap();
        let one = &manifest.subscribe[0];
        assert_eq!((one.retries, one.backoff.as_millis(), one.concurrency), (5, 500, None));
    }

    #[test]
    fn what_cannot_be_subscribed_to_is_refused() {
        for (text, reason) in [
            ("endpoint = \"A.B\"", "empty"),
            ("topic = \"a..b\"", "empty"),
            ("topic = \"a\"\nqueue = \"a b\"", "letters"),
            ("topic = \"a\"\nqueue = \"$desk\"", "dead letters"),
            ("topic = \"a\"\nretries = 1000", "0 to 100"),
            ("topic = \"a\"\nbackoff = \"2m\"", "1m at most"),
            ("topic = \"a\"\nconcurrency = 0", "1 at least"),
            ("topic = \"a\"\n[[subscribe]]\ntopic = \"a\"", "twice"),
            ("topic = \"a\"\nfrom = \"first\"", "earliest"),
        ] {
            assert!(wrong(text).contains(reason), "{text}: {}", wrong(text));
        }
    }
}
