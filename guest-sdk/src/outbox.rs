//! Values and messages in one step: both, or neither.
//!
//! ```
//! # use micro_sdk as micro;
//! use micro::events::Event;
//! use micro::store::Store;
//!
//! # fn main() -> Result<(), micro::Error> {
//! # let _store = micro::testing::store();
//! # let published = micro::testing::events();
//! let order = micro::json!({ "id": 7 });
//! let created = Event::json(&order)?.key("7");
//! Store::own().transaction().put_json("order/7", &order)?.publish("orders.created", created).commit()?;
//! # assert_eq!(published.all().len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! A function that puts a value and then publishes can be stopped in between; a transaction is kept as a whole, and the
//! host publishes what is in it as soon as the broker takes it. After a crash of the host a message may come twice, with
//! the same [id](crate::events::Delivery::id).

use std::fmt;

use serde::Serialize;

use crate::bindings::micro::function::outbox as contract;
use crate::events::Event;
use crate::store::{self, Failure, Put};
use crate::types::Error;

pub(crate) use contract::{Change, Message, Refusal as Refused};

/// Changes of a store and messages that are yet to be [committed](Transaction::commit).
#[derive(Debug, Clone)]
#[must_use = "nothing is done before `commit`"]
pub struct Transaction {
    store: String,
    changes: Vec<Change>,
    messages: Vec<Message>,
}

/// Why a transaction was not done. Nothing was changed, and nothing is published.
///
/// It turns into an [`Error`] by `?`, as a [`Failure`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key whose change stood in the way, if it was one.
    pub key: Option<String>,
    /// The reason.
    pub why: Failure,
}

impl Transaction {
    pub(crate) fn of(store: String) -> Transaction {
        Transaction { store, changes: Vec::new(), messages: Vec::new() }
    }

    /// Puts a value.
    pub fn put(self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Transaction {
        self.put_with(key, value, Put::new())
    }

    /// Puts a value that is to go after a while, or that must not overwrite another.
    pub fn put_with(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>, put: Put) -> Transaction {
        let (key, value, options) = (key.into(), value.into(), put.options());
        self.changes.push(Change::Put(contract::Put { key, value, options }));
        self
    }

    /// Puts a value as JSON.
    pub fn put_json(self, key: impl Into<String>, value: &(impl Serialize + ?Sized)) -> Result<Transaction, Error> {
        self.put_json_with(key, value, Put::new())
    }

    /// Like [`Transaction::put_with`], as JSON.
    pub fn put_json_with(
        self,
        key: impl Into<String>,
        value: &(impl Serialize + ?Sized),
        put: Put,
    ) -> Result<Transaction, Error> {
        let key = key.into();
        let value = store::to_json(&key, value)?;
        Ok(self.put_with(key, value, put))
    }

    /// Removes a value, if there is one.
    pub fn delete(mut self, key: impl Into<String>) -> Transaction {
        self.changes.push(Change::Delete(key.into()));
        self
    }

    /// Publishes a message to a topic that the manifest allows.
    pub fn publish(mut self, topic: impl Into<String>, event: Event) -> Transaction {
        self.messages.push(Message { topic: topic.into(), outgoing: event.into() });
        self
    }

    /// Does all of it, or nothing. Returns the version of each put, and 0 for each delete, in their order. All of it is on
    /// disk before this returns.
    pub fn commit(self) -> Result<Vec<u64>, Refusal> {
        Ok(backend::commit(&self.store, &self.changes, &self.messages)?)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(out, "{key:?}: {}", self.why),
            None => self.why.fmt(out),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        let text = refusal.to_string();
        Error { detail: text, ..Error::from(refusal.why) }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        Refusal { key: refused.key, why: refused.why.into() }
    }
}

#[cfg(target_arch = "wasm32")]
use contract as backend;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::outbox as backend;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::testing;

    fn event(text: &str) -> Event {
        Event::bytes("text/plain", text)
    }

    #[test]
    fn all_of_it_is_done() {
        let (_store, published) = (testing::store(), testing::events());
        let store = Store::own();
        store.put("old", "1").unwrap();
        let versions = store.transaction().put("a", "1").delete("old").put_json("b", &2).unwrap();
        let versions = versions.publish("first", event("1")).publish("second", event("2")).commit();
        assert_eq!(versions, Ok(vec![2, 0, 3]));
        assert_eq!(store.keys("").unwrap(), ["a", "b"]);
        let topics: Vec<String> = published.all().into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(topics, ["first", "second"]);
    }

    #[test]
    fn or_nothing_of_it() {
        let (_store, published) = (testing::store(), testing::events());
        let store = Store::own();
        store.put("old", "1").unwrap();
        let transaction = store.transaction().put("new", "1").delete("old").publish("t", event("1"));
        let refused = transaction.put_with("a", "1", Put::new().if_version(7)).commit().unwrap_err();
        assert_eq!((refused.key.as_deref(), &refused.why), (Some("a"), &Failure::Conflict(0)));
        let error = Error::from(refused);
        assert_eq!((error.code, error.detail.contains("\"a\"")), (409, true), "{}", error.detail);
        assert_eq!((store.keys("").unwrap(), published.all().len()), (vec!["old".to_owned()], 0));
        drop(published);
        let refused = store.transaction().put("new", "1").publish("t", event("1")).commit().unwrap_err();
        assert!(refused.to_string().contains("testing::events"), "{refused}");
        assert_eq!(store.keys("").unwrap(), ["old"]);
    }
}
