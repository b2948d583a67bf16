//! Messages for whoever subscribed, and what is known of one that came.
//!
//! ```
//! # use micro_sdk as micro;
//! use micro::events::{self, Event};
//!
//! # fn main() -> Result<(), micro::Error> {
//! # let published = micro::testing::events();
//! events::publish("orders.created", &micro::json!({ "id": 7 }))?;
//!
//! // Messages with the same key are handled in their order.
//! Event::json(&micro::json!({ "id": 7, "state": "paid" }))?.key("7").publish("orders.changed")?;
//! # assert_eq!(published.all().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! The manifest has to allow it: `publish = ["orders.*"]` below `[allow]`. Who subscribes marks an endpoint with
//! [`subscribe`](macro@crate::subscribe); what comes is the endpoint's request, and [`current`] tells the rest: its topic, its
//! key, and an id that is the same each time the message comes.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::client::JSON;
use crate::types::Error;

use crate::bindings::micro::function::events as contract;

pub use contract::{Delivery, Outgoing, Unpublished};

/// Publishes a message in JSON. When this returns, the broker has it.
pub fn publish(topic: &str, message: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    Event::json(message)?.publish(topic)
}

/// Publishes up to 1,000 messages, of 8 MiB together, to one topic, which takes far less time than one after the other.
/// Those with the same key are published in their order, and those behind one that was not published are not published
/// either.
pub fn publish_all(topic: &str, messages: impl IntoIterator<Item = Event>) -> Result<(), NotPublished> {
    let messages: Vec<Outgoing> = messages.into_iter().map(Outgoing::from).collect();
    Ok(backend::publish_all(topic, &messages)?)
}

/// Why not all messages were published that [`publish_all`] was given.
#[derive(Debug, Clone)]
pub enum NotPublished {
    /// None of them was, for this reason.
    Whole(Error),
    /// These were not, and all others were.
    Parts(Vec<Unpublished>),
}

impl fmt::Display for NotPublished {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotPublished::Whole(error) => error.detail.fmt(out),
            NotPublished::Parts(parts) => {
                let first = parts.first().map(|part| (part.at, &part.why.detail));
                let (at, detail) = first.map_or((0, ""), |(at, detail)| (at, detail.as_str()));
                write!(out, "{} messages were not published, the first is number {at}: {detail}", parts.len())
            }
        }
    }
}

impl std::error::Error for NotPublished {}

impl From<NotPublished> for Error {
    fn from(not_published: NotPublished) -> Error {
        let detail = not_published.to_string();
        let why = match not_published {
            NotPublished::Whole(error) => Some(error),
            NotPublished::Parts(parts) => parts.into_iter().next().map(|part| part.why),
        };
        Error { detail, ..why.unwrap_or_else(|| Error::internal("")) }
    }
}

impl From<contract::NotPublished> for NotPublished {
    fn from(not_published: contract::NotPublished) -> NotPublished {
        match not_published {
            contract::NotPublished::Whole(error) => NotPublished::Whole(error),
            contract::NotPublished::Parts(parts) => NotPublished::Parts(parts),
        }
    }
}

/// The message that this call is about; none where it came as a call.
pub fn current() -> Option<Delivery> {
    backend::current()
}

/// A message about to be published.
#[derive(Debug, Clone)]
pub struct Event {
    outgoing: Outgoing,
}

impl Event {
    /// A message in JSON.
    pub fn json(message: &(impl Serialize + ?Sized)) -> Result<Event, Error> {
        let body = serde_json::to_vec(message);
        let body = body.map_err(|error| Error::internal(format!("the message does not go into JSON: {error}")))?;
        Ok(Event::bytes(JSON, body))
    }

    /// A message of any type, such as `application/protobuf`.
    pub fn bytes(content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Event {
        let (content_type, body) = (content_type.into(), body.into());
        Event { outgoing: Outgoing { content_type, key: None, header: Vec::new(), body, deliver_at: None } }
    }

    /// What it belongs together with: messages of one topic with the same key are handled in their order.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Event {
        self.outgoing.key = Some(key.into());
        self
    }

    /// A header for the subscribers.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Event {
        self.outgoing.header.push((name.into(), value.into()));
        self
    }

    /// What tells the message from all others, for subscribers that must not do things twice.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Event {
        self.header("micro-id", id)
    }

    /// Delivers it after so long, and not at once.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Event {
        let at = SystemTime::now().checked_add(time).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let at = at.and_then(|at| u64::try_from(at.as_millis()).ok());
        self.outgoing.deliver_at = Some(at.unwrap_or(u64::MAX));
        self
    }

    /// Publishes it. When this returns, the broker has it.
    pub fn publish(self, topic: &str) -> Result<(), Error> {
        backend::publish(topic, &self.outgoing)
    }
}

impl From<Event> for Outgoing {
    fn from(event: Event) -> Outgoing {
        event.outgoing
    }
}

#[cfg(target_arch = "wasm32")]
mod backend {
    pub(super) use crate::bindings::micro::function::events::{current, publish, publish_all};
}

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::events as backend;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_is_published_can_be_looked_at() {
        let published = testing::events();
        Event::bytes("text/plain", "hello").key("7").header("a", "b").id("x").publish("greetings").unwrap();
        publish("numbers", &1).unwrap();
        publish_all("letters", ["a", "b"].map(|letter| Event::bytes("text/plain", letter))).unwrap();
        let all = published.all();
        assert_eq!(
            all.iter().map(|(topic, _)| topic.as_str()).collect::<Vec<_>>(),
            ["greetings", "numbers", "letters", "letters"]
        );
        let (_, first) = &all[0];
        assert_eq!(
            (&*first.content_type, first.key.as_deref(), &*first.body),
            ("text/plain", Some("7"), &b"hello"[..])
        );
        assert_eq!(first.header, [("a".to_owned(), "b".to_owned()), ("micro-id".to_owned(), "x".to_owned())]);
        drop(published);
        assert!(publish("numbers", &1).unwrap_err().detail.contains("testing::events"));
        let not_published = publish_all("numbers", [Event::bytes("text/plain", "1")]).unwrap_err();
        assert!(Error::from(not_published).detail.contains("testing::events"));
    }

    #[test]
    fn a_test_says_which_message_comes() {
        assert!(current().is_none());
        let delivery = testing::delivery("orders", "id-1");
        assert_eq!(current().map(|now| (now.topic, now.id, now.attempt)), Some(("orders".into(), "id-1".into(), 1)));
        drop(delivery);
        assert!(current().is_none());
    }
}
