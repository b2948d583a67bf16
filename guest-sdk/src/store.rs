//! Keys and values that outlive instances, reloads and the host.
//!
//! Every deployment has a store of its own. Stores of any other name are shared by all deployments whose manifest allows
//! it: `store = ["sessions"]` below `[allow]`.
//!
//! ```
//! # use micro_sdk as micro;
//! use micro::store::{Put, Store};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), micro::Error> {
//! # let _store = micro::testing::store();
//! let store = Store::own();
//! store.put("greeting", "hello")?;
//! assert_eq!(store.get("greeting")?.as_deref(), Some(&b"hello"[..]));
//!
//! store.put_with("session/1", "John", Put::new().ttl(Duration::from_secs(3600)).if_absent())?;
//! assert_eq!(store.keys("session/")?, ["session/1"]);
//!
//! // Counts, however many instances do so at once.
//! let visits = store.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
//! assert_eq!(visits, 1);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::micro::function::store as contract;
use crate::outbox::Transaction;
use crate::types::Error;

pub use contract::Entry;

/// Keys that one request to the host asks for.
const PAGE: u32 = 1000;

/// How often [`Store::update`] tries before it gives up. Only one of those who write at once is successful, so this is
/// the number of them that it can be against.
const ATTEMPTS: usize = 100;

/// A store, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    name: String,
}

/// Why an operation was not done. Nothing was changed then.
///
/// It turns into an [`Error`] by `?`, so that the caller of an endpoint gets 409, 403, 413 or 503.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The value is at this version, 0 if there is none, and not at the one that was expected.
    Conflict(u64),
    /// The manifest does not allow this store.
    Denied(String),
    /// A key, a value or the store as a whole would be larger than it may be.
    TooLarge(String),
    /// The host could not do it.
    Unavailable(String),
}

/// How a value is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Put {
    ttl: Option<Duration>,
    if_version: Option<u64>,
}

impl Put {
    /// For good, whatever is there.
    pub fn new() -> Put {
        Put::default()
    }

    /// After so long the value is gone.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Put {
        self.ttl = Some(ttl);
        self
    }

    /// Only if the value is at this version still.
    #[must_use]
    pub fn if_version(mut self, version: u64) -> Put {
        self.if_version = Some(version);
        self
    }

    /// Only if there is no value yet.
    #[must_use]
    pub fn if_absent(self) -> Put {
        self.if_version(0)
    }

    pub(crate) fn options(self) -> contract::PutOptions {
        let milliseconds = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        contract::PutOptions { ttl: self.ttl.map(milliseconds), if_version: self.if_version }
    }
}

impl Store {
    /// The deployment's own store.
    pub fn own() -> Store {
        Store::open("")
    }

    /// A store that is shared with other deployments. Whether the manifest allows it is told by the first operation.
    pub fn open(name: impl Into<String>) -> Store {
        Store { name: name.into() }
    }

    /// The value at a key.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.entry(key)?.map(|entry| entry.value))
    }

    /// The value at a key, with its version.
    pub fn entry(&self, key: &str) -> Result<Option<Entry>, Failure> {
        Ok(backend::get(&self.name, key)?)
    }

    /// Puts a value and returns its version. It is on disk before this returns.
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) -> Result<u64, Failure> {
        self.put_with(key, value, Put::new())
    }

    /// Puts a value that is to go after a while, or that must not overwrite another.
    pub fn put_with(&self, key: &str, value: impl AsRef<[u8]>, put: Put) -> Result<u64, Failure> {
        Ok(backend::put(&self.name, key, value.as_ref(), put.options())?)
    }

    /// Removes a value; says whether there was one.
    pub fn delete(&self, key: &str) -> Result<bool, Failure> {
        Ok(backend::delete(&self.name, key)?)
    }

    /// All keys that begin with `prefix`, in order.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let page = self.keys_after(prefix, all.last().map_or("", String::as_str), PAGE)?;
            let is_last = page.len() < PAGE as usize;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Keys that begin with `prefix`, from the first one greater than `after`, at most `limit` of them. The host may give
    /// fewer.
    pub fn keys_after(&self, prefix: &str, after: &str, limit: u32) -> Result<Vec<String>, Failure> {
        Ok(backend::keys(&self.name, prefix, after, limit)?)
    }

    /// The value at a key, read as JSON.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        Ok(self.entry_json(key)?.map(|(value, _)| value))
    }

    /// The value at a key, read as JSON, with its version.
    pub fn entry_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, u64)>, Error> {
        let Some(entry) = self.entry(key)? else { return Ok(None) };
        let value = serde_json::from_slice(&entry.value)
            .map_err(|error| Error::internal(format!("what is stored at {key:?} is something else: {error}")))?;
        Ok(Some((value, entry.version)))
    }

    /// Puts a value as JSON and returns its version.
    pub fn put_json(&self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<u64, Error> {
        self.put_json_with(key, value, Put::new())
    }

    /// Like [`Store::put_with`], as JSON.
    pub fn put_json_with(&self, key: &str, value: &(impl Serialize + ?Sized), put: Put) -> Result<u64, Error> {
        Ok(self.put_with(key, to_json(key, value)?, put)?)
    }

    /// Begins a transaction: several changes of this store, and messages with them, in one step.
    pub fn transaction(&self) -> Transaction {
        Transaction::of(self.name.clone())
    }

    /// Makes a new value out of the old one, and puts it if nobody has put another meanwhile; else it does so again with
    /// that one. Returns the new value.
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        change: impl Fn(Option<T>) -> T,
    ) -> Result<T, Error> {
        for _ in 0..ATTEMPTS {
            let (old, version) = self.entry_json(key)?.map_or((None, 0), |(old, version)| (Some(old), version));
            let new = change(old);
            match self.put_json_with(key, &new, Put::new().if_version(version)) {
                Ok(_) => return Ok(new),
                Err(error) if error.code == CONFLICT => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!("{key:?} is being changed by too many at once")))
    }
}

pub(crate) fn to_json(key: &str, value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, Error> {
    let error = |error| Error::internal(format!("the value for {key:?} does not go into JSON: {error}"));
    serde_json::to_vec(value).map_err(error)
}

/// HTTP's code for it.
const CONFLICT: u16 = 409;

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Conflict(0) => out.write_str("there is no value any more"),
            Failure::Conflict(version) => write!(out, "the value is at version {version} already"),
            Failure::Denied(reason) | Failure::TooLarge(reason) | Failure::Unavailable(reason) => out.write_str(reason),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let code = match failure {
            Failure::Conflict(_) => CONFLICT,
            Failure::Denied(_) => 403,
            Failure::TooLarge(_) => 413,
            Failure::Unavailable(_) => 503,
        };
        Error::new(code, failure.to_string())
    }
}

impl From<contract::Failure> for Failure {
    fn from(failure: contract::Failure) -> Failure {
        match failure {
            contract::Failure::Conflict(version) => Failure::Conflict(version),
            contract::Failure::Denied(reason) => Failure::Denied(reason),
            contract::Failure::TooLarge(reason) => Failure::TooLarge(reason),
            contract::Failure::Unavailable(reason) => Failure::Unavailable(reason),
        }
    }
}

#[cfg(target_arch = "wasm32")]
use contract as backend;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::stores as backend;

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
