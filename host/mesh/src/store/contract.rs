//! What every store backend must do, as checks a test runs against it.
//!
//! A backend's test hands over a way to open an empty backend with given options and calls [`all`]. The checks panic
//! with what went wrong, and never sleep: they set the [clock](Hand) that the backend is opened with.
#![expect(clippy::panic, reason = "checks for tests, whose way to fail is to panic")]

mod limits;
mod races;
mod time;
mod together;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{
    Change, Clock, Entry, KeyQuery, Limits, MAX_KEYS_LISTED, OpenOptions, PutOptions, Refusal, Store, StoreError,
    StoreUsage,
};

/// Runs every check, each on an empty backend of its own.
pub async fn all(make: impl AsyncFn(OpenOptions) -> Arc<dyn Store>) {
    let fresh = async || make(OpenOptions::default()).await;
    what_is_not_there_is_no_error(&*fresh().await).await;
    a_value_comes_back_as_it_was_put(&*fresh().await).await;
    versions_count_up_in_each_store(&*fresh().await).await;
    a_version_is_never_given_twice(&*fresh().await).await;
    a_put_may_ask_for_the_version_before_it(&*fresh().await).await;
    what_is_refused_changes_nothing(&*fresh().await).await;
    what_is_deleted_is_gone(&*fresh().await).await;
    keys_are_found_by_their_bytes(&*fresh().await).await;
    keys_are_listed_page_by_page(&*fresh().await).await;
    a_listing_is_bounded(fresh().await).await;
    stores_do_not_see_each_other(&*fresh().await).await;
    the_usage_is_that_of_keys_and_values(&*fresh().await).await;
    a_removed_store_is_gone(&*fresh().await).await;
    a_closed_store_does_nothing(&*fresh().await).await;
    time::all(&make).await;
    limits::all(&make).await;
    races::all(&make).await;
    together::all(&make).await;
}

/// A clock that stands still until it is set.
#[derive(Clone, Debug)]
pub struct Hand(Arc<AtomicU64>);

impl Default for Hand {
    /// A moment in 2025.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1_750_000_000_000)))
    }
}

impl Hand {
    /// Moves it on.
    pub fn advance(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    /// What a backend is opened with.
    pub fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::of(move || time.load(Ordering::SeqCst))
    }
}

async fn what_is_not_there_is_no_error(store: &dyn Store) {
    assert_eq!(get(store, "a", "key").await, None);
    assert_eq!(keys(store, "a", "").await, [""; 0]);
    assert!(!must("delete", store.delete("a", "key").await));
    assert!(!must("remove", store.remove_store("a").await));
    assert_eq!(must("stores", store.stores().await), [], "asking makes no store");
}

async fn a_value_comes_back_as_it_was_put(store: &dyn Store) {
    let values = [Vec::new(), b"text".to_vec(), vec![0; 3], (0..=255).collect(), vec![7; super::MAX_VALUE]];
    for (number, value) in values.into_iter().enumerate() {
        let key = format!("key-{number}");
        let version = put(store, "a", &key, &value).await;
        let entry = Entry { key: key.clone(), value: value.into(), version };
        assert_eq!(get(store, "a", &key).await, Some(entry), "{key}");
    }
}

async fn versions_count_up_in_each_store(store: &dyn Store) {
    assert_eq!(put(store, "a", "one", b"1").await, 1);
    assert_eq!(put(store, "a", "two", b"2").await, 2, "another key of the store");
    assert_eq!(put(store, "a", "one", b"1").await, 3, "the same value again");
    assert_eq!(put(store, "b", "one", b"1").await, 1, "another store");
    assert_eq!(version(store, "a", "two").await, Some(2), "a value keeps its version");
}

async fn a_version_is_never_given_twice(store: &dyn Store) {
    assert_eq!(put(store, "a", "key", b"1").await, 1);
    must("delete", store.delete("a", "key").await);
    assert_eq!(put(store, "a", "key", b"1").await, 2, "after it was deleted");
    must("put", store.put("a", "key", Bytes::new(), PutOptions::with_ttl(Duration::ZERO)).await);
    assert_eq!(put(store, "a", "key", b"1").await, 4, "after it has expired");
    must("remove", store.remove_store("a").await);
    assert_eq!(put(store, "a", "key", b"1").await, 5, "after the store was removed");
}

async fn a_put_may_ask_for_the_version_before_it(store: &dyn Store) {
    assert_eq!(put_if(store, "key", 0).await, Ok(1), "there is none yet");
    assert_eq!(put_if(store, "key", 0).await, Err(StoreError::Conflict { version: 1 }));
    assert_eq!(put_if(store, "key", 1).await, Ok(2));
    assert_eq!(put_if(store, "key", 1).await, Err(StoreError::Conflict { version: 2 }));
    assert_eq!(put_if(store, "other", 2).await, Err(StoreError::Conflict { version: 0 }), "of another key");
    assert_eq!(put_if(store, "key", u64::MAX).await, Err(StoreError::Conflict { version: 2 }));
    must("delete", store.delete("a", "key").await);
    assert_eq!(put_if(store, "key", 2).await, Err(StoreError::Conflict { version: 0 }), "it was deleted");
    assert_eq!(put_if(store, "key", 0).await, Ok(3));
}

async fn what_is_refused_changes_nothing(store: &dyn Store) {
    assert_eq!(put_if(store, "key", 5).await, Err(StoreError::Conflict { version: 0 }));
    assert_eq!(must("stores", store.stores().await), [], "a refused put makes no store");
    put(store, "a", "key", b"kept").await;
    assert_eq!(put_if(store, "key", 5).await, Err(StoreError::Conflict { version: 1 }));
    assert_eq!(get(store, "a", "key").await.map(|entry| entry.value), Some(Bytes::from_static(b"kept")));
    assert_eq!(put(store, "a", "key", b"next").await, 2, "a refused put takes no version");
}

async fn what_is_deleted_is_gone(store: &dyn Store) {
    put(store, "a", "one", b"1").await;
    put(store, "a", "two", b"2").await;
    assert!(must("delete", store.delete("a", "one").await));
    assert!(!must("delete", store.delete("a", "one").await), "it is gone already");
    assert_eq!(get(store, "a", "one").await, None);
    assert_eq!(keys(store, "a", "").await, ["two"]);
    must("delete", store.delete("a", "two").await);
    assert_eq!(usage(store).await, [("a".to_owned(), 0, 0)], "the store stays until it is removed");
}

/// Keys that something between a caller and the bytes could take for something else, in the order of their bytes.
const ODD: [&str; 19] = [
    "\0",
    "\0\0",
    "\n",
    " ",
    "%",
    "%%",
    "'; DROP TABLE entry; --",
    "*",
    "A",
    "_",
    "a",
    "a%",
    "a%b",
    "a/b",
    "a_b",
    "aXb",
    "ä",
    "\u{ffff}",
    "\u{10ffff}",
];

async fn keys_are_found_by_their_bytes(store: &dyn Store) {
    for key in ODD.iter().rev() {
        put(store, "a", key, key.as_bytes()).await;
    }
    let mut sorted = ODD;
    sorted.sort_unstable();
    assert_eq!(keys(store, "a", "").await, sorted, "in the order of their bytes");
    for prefix in ODD.iter().chain(&["a_", "A%", "\u{10fffe}", "none"]) {
        let expected: Vec<&str> = sorted.into_iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(keys(store, "a", prefix).await, expected, "that begin with {prefix:?}");
    }
    for key in ODD {
        assert_eq!(get(store, "a", key).await.map(|entry| entry.value), Some(Bytes::from_static(key.as_bytes())));
    }
}

async fn keys_are_listed_page_by_page(store: &dyn Store) {
    for key in ["a", "b/", "b/1", "b/2", "b/3", "c"] {
        put(store, "a", key, b"").await;
    }
    let list = async |prefix: &str, after: &str, limit: u32| {
        let query = KeyQuery { prefix: prefix.to_owned(), after: after.to_owned(), limit };
        must("keys", store.keys("a", query).await)
    };
    assert_eq!(list("b/", "", 2).await, ["b/", "b/1"]);
    assert_eq!(list("b/", "b/1", 2).await, ["b/2", "b/3"], "from the first one greater than the last");
    assert_eq!(list("b/", "b/3", 2).await, [""; 0], "what comes after has another prefix");
    assert_eq!(list("b/", "b/15", 9).await, ["b/2", "b/3"], "after need not be a key");
    assert_eq!(list("b/", "a", 9).await, ["b/", "b/1", "b/2", "b/3"], "after may lie before the prefix");
    assert_eq!(list("b/", "b/", 9).await, ["b/1", "b/2", "b/3"], "or be it");
    assert_eq!(list("b/", "c", 9).await, [""; 0], "or lie behind it");
    assert_eq!(list("", "b/2", 9).await, ["b/3", "c"]);
    assert_eq!(list("", "", 0).await, [""; 0]);
}

async fn a_listing_is_bounded(store: Arc<dyn Store>) {
    let all = MAX_KEYS_LISTED + 5;
    let puts = (0..all).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put("a", &format!("{number:05}"), Bytes::new(), PutOptions::default()).await })
    });
    for put in puts.collect::<Vec<_>>() {
        must("put", must("join", put.await));
    }
    let mut query = KeyQuery { limit: u32::MAX, ..KeyQuery::default() };
    let first = must("keys", store.keys("a", query.clone()).await);
    assert_eq!(first.len(), MAX_KEYS_LISTED as usize);
    query.after = first.last().cloned().unwrap_or_default();
    assert_eq!(must("keys", store.keys("a", query).await).len(), 5);
}

async fn stores_do_not_see_each_other(store: &dyn Store) {
    for name in ["a", "A", "shared:a", "a.b-c_d"] {
        put(store, name, "key", name.as_bytes()).await;
    }
    must("delete", store.delete("A", "key").await);
    assert_eq!(get(store, "A", "key").await, None);
    for name in ["a", "shared:a", "a.b-c_d"] {
        assert_eq!(get(store, name, "key").await.map(|entry| entry.value), Some(name.to_owned().into()), "{name}");
        assert_eq!(keys(store, name, "").await, ["key"]);
    }
}

async fn the_usage_is_that_of_keys_and_values(store: &dyn Store) {
    put(store, "b", "key", b"12345").await;
    put(store, "a", "ä", b"1").await;
    put(store, "b", "other", b"").await;
    assert_eq!(usage(store).await, [("a".to_owned(), 1, 3), ("b".to_owned(), 2, 13)], "sorted by name");
    put(store, "b", "key", b"12").await;
    must("delete", store.delete("a", "ä").await);
    assert_eq!(usage(store).await, [("a".to_owned(), 0, 0), ("b".to_owned(), 2, 10)]);
}

async fn a_removed_store_is_gone(store: &dyn Store) {
    put(store, "a", "key", b"1").await;
    put(store, "b", "key", b"1").await;
    assert!(must("remove", store.remove_store("a").await));
    assert!(!must("remove", store.remove_store("a").await), "it is gone already");
    assert_eq!(get(store, "a", "key").await, None);
    assert_eq!(keys(store, "a", "").await, [""; 0]);
    assert_eq!(usage(store).await, [("b".to_owned(), 1, 4)]);
    put(store, "a", "other", b"").await;
    assert_eq!(keys(store, "a", "").await, ["other"], "what is made again begins empty");
    assert_eq!(usage(store).await, [("a".to_owned(), 1, 5), ("b".to_owned(), 1, 4)]);
}

async fn a_closed_store_does_nothing(store: &dyn Store) {
    put(store, "a", "key", b"1").await;
    must("close", store.close().await);
    must("close again", store.close().await);
    let is_refused = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Unavailable(_)));
    assert!(is_refused(store.get("a", "key").await.map(drop)));
    assert!(is_refused(store.put("a", "key", Bytes::new(), PutOptions::default()).await.map(drop)));
    assert!(is_refused(store.delete("a", "key").await.map(drop)));
    assert!(is_refused(store.keys("a", KeyQuery::default()).await.map(drop)));
    assert!(is_refused(store.stores().await.map(drop)));
    assert!(is_refused(store.remove_store("a").await.map(drop)));
}

async fn put(store: &dyn Store, name: &str, key: &str, value: &[u8]) -> u64 {
    must("put", store.put(name, key, Bytes::copy_from_slice(value), PutOptions::default()).await)
}

/// Puts into the store `a` if the key is at that version.
async fn put_if(store: &dyn Store, key: &str, version: u64) -> Result<u64, StoreError> {
    store.put("a", key, Bytes::new(), PutOptions::if_version(version)).await
}

async fn get(store: &dyn Store, name: &str, key: &str) -> Option<Entry> {
    must("get", store.get(name, key).await)
}

async fn version(store: &dyn Store, name: &str, key: &str) -> Option<u64> {
    get(store, name, key).await.map(|entry| entry.version)
}

async fn keys(store: &dyn Store, name: &str, prefix: &str) -> Vec<String> {
    must("keys", store.keys(name, KeyQuery::prefix(prefix)).await)
}

async fn usage(store: &dyn Store) -> Vec<(String, u64, u64)> {
    let stores = must("stores", store.stores().await);
    stores.into_iter().map(|StoreUsage { name, entries, bytes }| (name, entries, bytes)).collect()
}

fn must<T, E: Debug>(doing: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{doing}: {error:?}"))
}
