//! What guests keep: stores of keys and values, one trait, a backend a file.
//!
//! The rules all backends keep, checked by [`contract`]:
//! - A store comes into being with the first put into it. Stores do not see each other's keys.
//! - Every put gives the value the next version of its store. No version is given twice in a store of one name, not
//!   after deletes, not after a restart, and not after the store was removed and made again.
//! - An entry whose time has passed is absent: for reads, for `if_version`, for limits and for the usage that is shown.
//! - Keys are in the order of their bytes.
//! - What is refused changes nothing, and what a backend on disk acknowledges is on disk. That holds for several changes
//!   that are committed together as it does for one.

pub mod check;
pub mod clock;
pub mod contract;
pub mod memory;
pub mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::sqlite::ReadError;

pub use check::{
    Limits, MAX_CHANGES, MAX_CHANGES_BYTES, MAX_KEY, MAX_STORE_BYTES, MAX_STORE_ENTRIES, MAX_STORE_NAME, MAX_VALUE,
};
pub use clock::Clock;

/// How the names of stores begin that are the host's own, and that no function opens.
pub const HOSTS_OWN: &str = "micro:";

/// The most keys that one listing gives; a larger limit is taken as this one.
pub const MAX_KEYS_LISTED: u32 = 1_000;

/// Where values are kept under keys, in stores that are named by whoever uses them.
#[async_trait]
pub trait Store: Send + Sync {
    /// The backend's name, as in `sqlite`.
    fn name(&self) -> &str;

    /// The value at a key, if there is one. Sees every put that was acknowledged before.
    async fn get(&self, store: &str, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Puts a value and gives its version.
    async fn put(&self, store: &str, key: &str, value: Bytes, options: PutOptions) -> Result<u64, StoreError>;

    /// Removes a value; says whether there was one.
    async fn delete(&self, store: &str, key: &str) -> Result<bool, StoreError>;

    /// Makes changes in one step, in their order: all of them, or none. Gives the version of each put, and 0 for each
    /// removal.
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<u64>, Refusal>;

    /// The keys that a query asks for, in order.
    async fn keys(&self, store: &str, query: KeyQuery) -> Result<Vec<String>, StoreError>;

    /// All stores that were put into and not removed, sorted by name.
    async fn stores(&self) -> Result<Vec<StoreUsage>, StoreError>;

    /// Removes a store with all that is in it; says whether there was one.
    async fn remove_store(&self, store: &str) -> Result<bool, StoreError>;

    /// Does what was asked before and stops. Whatever is asked later is [`StoreError::Unavailable`]; closing again is
    /// no error.
    async fn close(&self) -> Result<(), StoreError>;
}

/// A value with what its store knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies.
    pub key: String,
    /// What was put there.
    pub value: Bytes,
    /// The version that its put was given.
    pub version: u64,
}

/// How a value is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// After this time by the wall clock the value is gone, counted in whole milliseconds; `None` means never.
    pub ttl: Option<Duration>,
    /// Put only if the value is at this version still; 0 if there must be none yet.
    pub if_version: Option<u64>,
}

impl PutOptions {
    /// A value that is gone after `ttl`.
    pub fn with_ttl(ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..Self::default() }
    }

    /// A value that is put only if the one before it is at `version`, 0 meaning that there is none.
    pub fn if_version(version: u64) -> Self {
        Self { if_version: Some(version), ..Self::default() }
    }
}

/// One of several changes that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The store.
    pub store: String,
    /// The key in it.
    pub key: String,
    /// What is put there; none takes away what is.
    pub value: Option<(Bytes, PutOptions)>,
}

/// Why several changes were not made. None of them was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// Which of them stood in the way, counted from 0; none, if it was not a single one.
    pub change: Option<usize>,
    /// Why.
    pub error: StoreError,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self { change: None, error }
    }
}

/// Which keys are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuery {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys greater than this: the last one of the listing before, empty for the first listing.
    pub after: String,
    /// At most so many, and never more than [`MAX_KEYS_LISTED`].
    pub limit: u32,
}

impl Default for KeyQuery {
    fn default() -> Self {
        Self { prefix: String::new(), after: String::new(), limit: MAX_KEYS_LISTED }
    }
}

impl KeyQuery {
    /// The first keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// The limit that holds.
    pub(crate) fn bound(&self) -> u32 {
        self.limit.min(MAX_KEYS_LISTED)
    }
}

/// A store and the room it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUsage {
    /// The store's name.
    pub name: String,
    /// How many entries it has.
    pub entries: u64,
    /// The bytes of its keys and values.
    pub bytes: u64,
}

/// Why a store did not do what it was asked to. Nothing was changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The value is not at the version that the caller expects.
    #[error("the value is at version {version} (0: there is none), not at the expected one; get it and put again")]
    Conflict {
        /// The version it is at, 0 if there is none.
        version: u64,
    },
    /// A key, a value or the store would be larger than it may be.
    #[error("{0}")]
    TooLarge(String),
    /// No store can have this name.
    #[error("{0}")]
    BadName(String),
    /// No entry can have this key.
    #[error("{0}")]
    BadKey(String),
    /// The backend could not do it; asking again later may work.
    #[error("{0}")]
    Unavailable(String),
    /// A setting names no backend, or one that lacks what it needs.
    #[error("{0}")]
    Setting(String),
}

/// What [`open`] may need, depending on the backend.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The file of a backend that keeps one.
    pub path: Option<PathBuf>,
    /// How much each store may hold.
    pub limits: Limits,
    /// What time to live is measured by.
    pub clock: Clock,
}

/// The names [`open`] takes.
pub const KINDS: [&str; 2] = [memory::NAME, sqlite::NAME];

/// Opens the stores by their backend's name. Needs a tokio runtime.
///
/// # Errors
/// [`StoreError::Setting`] for a name that is none of [`KINDS`] or an option that is missing, and
/// [`StoreError::Unavailable`] when the backend's file cannot be used.
pub async fn open(kind: &str, options: OpenOptions) -> Result<Arc<dyn Store>, StoreError> {
    let OpenOptions { path, limits, clock } = options;
    match kind {
        memory::NAME => Ok(Arc::new(memory::Memory::new(limits, clock))),
        sqlite::NAME => {
            let path = path.ok_or_else(|| StoreError::Setting("Store sqlite needs the path of its file".to_owned()))?;
            Ok(Arc::new(sqlite::Sqlite::open(path, limits, clock).await?))
        }
        other => Err(StoreError::Setting(format!("Store {other} not found, known are: {}", KINDS.join(", ")))),
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => closed(),
            ReadError::Failed(detail) => Self::Unavailable(detail),
        }
    }
}

/// What every backend answers after [`Store::close`].
pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed: the host is about to stop, ask again when it is back".to_owned())
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
