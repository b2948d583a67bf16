//! A store in memory that keeps to the contract: versions, compare-and-swap, time to live.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::time::Duration;

use crate::bindings::micro::function::store::{Entry, Failure, PutOptions};

thread_local! {
    static STORES: RefCell<Option<Stores>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
struct Stores {
    stores: BTreeMap<String, Contents>,
    /// What the test has let pass.
    now: Duration,
    denied: BTreeSet<String>,
    unavailable: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Contents {
    entries: BTreeMap<String, Stored>,
    version: u64,
}

#[derive(Debug, Clone)]
struct Stored {
    value: Vec<u8>,
    version: u64,
    ends: Option<Duration>,
}

/// While this lives, the stores of this thread are in memory; they begin empty.
#[derive(Debug)]
#[must_use = "the stores are gone when this is dropped: let _store = …"]
pub struct MockedStore(PhantomData<*const ()>);

impl Drop for MockedStore {
    fn drop(&mut self) {
        STORES.set(None);
    }
}

/// Puts empty stores in memory in place of the host's, for this thread.
pub fn store() -> MockedStore {
    STORES.set(Some(Stores::default()));
    MockedStore(PhantomData)
}

impl MockedStore {
    /// Lets time pass, for values that have an end.
    pub fn advance(&self, time: Duration) {
        self.change(|stores| stores.now += time);
    }

    /// Denies a store, as a manifest does that does not allow it.
    pub fn deny(&self, name: &str) {
        self.change(|stores| {
            stores.denied.insert(name.to_owned());
        });
    }

    /// From now on nothing works, with this reason.
    pub fn fail(&self, reason: &str) {
        self.change(|stores| stores.unavailable = Some(reason.to_owned()));
    }

    #[expect(clippy::unused_self, reason = "that there is a guard says that there are stores")]
    fn change(&self, change: impl FnOnce(&mut Stores)) {
        STORES.with_borrow_mut(|stores| stores.as_mut().map(change));
    }
}

/// Undoes what changes did to the stores, should they fail.
pub(super) fn all_or_none<T, E>(changes: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let before = STORES.with_borrow(|stores| stores.as_ref().map(|stores| stores.stores.clone()));
    let done = changes();
    if let (Err(_), Some(before)) = (&done, before) {
        STORES.with_borrow_mut(|stores| stores.as_mut().map(|stores| stores.stores = before));
    }
    done
}

pub(crate) fn get(store: &str, key: &str) -> Result<Option<Entry>, Failure> {
    with(store, |contents, _| {
        Ok(contents.entries.get(key).map(|stored| Entry {
            key: key.to_owned(),
            value: stored.value.clone(),
            version: stored.version,
        }))
    })
}

pub(crate) fn put(store: &str, key: &str, value: &[u8], options: PutOptions) -> Result<u64, Failure> {
    with(store, |contents, now| {
        let version = contents.entries.get(key).map_or(0, |stored| stored.version);
        if options.if_version.is_some_and(|expected| expected != version) {
            return Err(Failure::Conflict(version));
        }
        contents.version += 1;
        let ends = options.ttl.map(|ttl| now.saturating_add(Duration::from_millis(ttl)));
        let stored = Stored { value: value.to_vec(), version: contents.version, ends };
        contents.entries.insert(key.to_owned(), stored);
        Ok(contents.version)
    })
}

pub(crate) fn delete(store: &str, key: &str) -> Result<bool, Failure> {
    with(store, |contents, _| Ok(contents.entries.remove(key).is_some()))
}

pub(crate) fn keys(store: &str, prefix: &str, after: &str, limit: u32) -> Result<Vec<String>, Failure> {
    with(store, |contents, _| {
        let keys = contents.entries.keys().filter(|key| key.starts_with(prefix) && key.as_str() > after);
        Ok(keys.take(limit as usize).cloned().collect())
    })
}

/// The contents of a store, without what has come to its end.
fn with<T>(store: &str, operation: impl FnOnce(&mut Contents, Duration) -> Result<T, Failure>) -> Result<T, Failure> {
    STORES.with_borrow_mut(|stores| {
        let Some(stores) = stores else {
            return Err(Failure::Unavailable(
                "the store was used outside of a host: put one in memory with `let _store = micro::testing::store();`"
                    .to_owned(),
            ));
        };
        if let Some(reason) = &stores.unavailable {
            return Err(Failure::Unavailable(reason.clone()));
        }
        if stores.denied.contains(store) {
            return Err(Failure::Denied(format!("the manifest does not allow the store {store:?}")));
        }
        let now = stores.now;
        let contents = stores.stores.entry(store.to_owned()).or_default();
        contents.entries.retain(|_, stored| stored.ends.is_none_or(|ends| ends > now));
        operation(contents, now)
    })
}
