//! What is too large, and what cannot be a name.

use super::super::{MAX_KEY, MAX_STORE_NAME, MAX_VALUE};
use super::*;

pub(super) async fn all(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Store>) {
    let limited = async |limits: Limits, hand: &Hand| {
        make(OpenOptions { limits, clock: hand.clock(), ..OpenOptions::default() }).await
    };
    let hand = Hand::default();
    keys_and_values_have_a_largest_size(&*make(OpenOptions::default()).await).await;
    what_is_no_name_is_refused(&*make(OpenOptions::default()).await).await;
    let entries = Limits { store_entries: 2, ..Limits::default() };
    a_store_has_only_so_many_entries(&*limited(entries, &hand).await).await;
    let bytes = Limits { store_bytes: 10, ..Limits::default() };
    a_store_has_only_so_many_bytes(&*limited(bytes, &hand).await).await;
    what_has_expired_takes_no_room(&*limited(entries, &hand).await, &hand).await;
}

async fn keys_and_values_have_a_largest_size(store: &dyn Store) {
    let longest = "ä".repeat(MAX_KEY / 2);
    put(store, "a", &longest, &vec![1; MAX_VALUE]).await;
    assert_eq!(keys(store, "a", "ä").await, [longest.as_str()]);
    let longer = format!("{longest}a");
    too_large(store.put("a", &longer, Bytes::new(), PutOptions::default()).await, "1025");
    too_large(store.get("a", &longer).await, "1024");
    too_large(store.delete("a", &longer).await, "1024");
    too_large(store.put("a", "key", vec![1; MAX_VALUE + 1].into(), PutOptions::default()).await, "1048577");
    assert_eq!(keys(store, "a", &longer).await, [""; 0], "a prefix that no key can have is no error");
}

async fn what_is_no_name_is_refused(store: &dyn Store) {
    put(store, &"n".repeat(MAX_STORE_NAME), "key", b"").await;
    for name in ["", "a b", "a/b", "ä", "a\0", "*", &"n".repeat(MAX_STORE_NAME + 1)] {
        let is_bad = |result: Result<(), StoreError>| {
            assert!(matches!(result, Err(StoreError::BadName(_))), "{name:?}: {result:?}");
        };
        is_bad(store.put(name, "key", Bytes::new(), PutOptions::default()).await.map(drop));
        is_bad(store.get(name, "key").await.map(drop));
        is_bad(store.delete(name, "key").await.map(drop));
        is_bad(store.keys(name, KeyQuery::default()).await.map(drop));
        is_bad(store.remove_store(name).await.map(drop));
    }
    let empty = store.put("a", "", Bytes::new(), PutOptions::default()).await;
    assert!(matches!(empty, Err(StoreError::BadKey(_))), "{empty:?}");
}

async fn a_store_has_only_so_many_entries(store: &dyn Store) {
    put(store, "a", "one", b"").await;
    put(store, "a", "two", b"").await;
    too_large(store.put("a", "three", Bytes::new(), PutOptions::default()).await, "store \"a\"");
    assert_eq!(keys(store, "a", "").await, ["one", "two"]);
    assert_eq!(put(store, "a", "two", b"longer").await, 3, "what is there may be replaced");
    put(store, "b", "three", b"").await;
    must("delete", store.delete("a", "one").await);
    assert_eq!(put(store, "a", "three", b"").await, 4);
}

async fn a_store_has_only_so_many_bytes(store: &dyn Store) {
    put(store, "a", "a", b"1234").await;
    put(store, "a", "b", b"1234").await;
    too_large(store.put("a", "c", Bytes::new(), PutOptions::default()).await, "11 bytes, and may have 10");
    too_large(store.put("a", "b", Bytes::from_static(b"12345"), PutOptions::default()).await, "11 bytes");
    let conflict = store.put("a", "b", Bytes::from_static(b"12345"), PutOptions::if_version(1)).await;
    assert_eq!(conflict, Err(StoreError::Conflict { version: 2 }), "the caller looks again first");
    assert_eq!(put(store, "a", "b", b"123").await, 3);
    assert_eq!(put(store, "a", "c", b"").await, 4);
    too_large(store.put("new", "key", Bytes::from_static(b"12345678"), PutOptions::default()).await, "store \"new\"");
    assert_eq!(usage(store).await, [("a".to_owned(), 3, 10)], "a refused put makes no store");
}

async fn what_has_expired_takes_no_room(store: &dyn Store, hand: &Hand) {
    let ttl = PutOptions::with_ttl(Duration::from_secs(1));
    must("put", store.put("a", "one", Bytes::new(), ttl).await);
    must("put", store.put("a", "two", Bytes::new(), ttl).await);
    too_large(store.put("a", "three", Bytes::new(), ttl).await, "3 entries, and may have 2");
    hand.advance(Duration::from_secs(1));
    must("put", store.put("a", "three", Bytes::new(), ttl).await);
    must("put", store.put("a", "two", Bytes::new(), ttl).await);
    too_large(store.put("a", "four", Bytes::new(), ttl).await, "store \"a\"");
    assert_eq!(keys(store, "a", "").await, ["three", "two"]);
}

fn too_large<T: Debug>(result: Result<T, StoreError>, says: &str) {
    match result {
        Err(StoreError::TooLarge(text)) => assert!(text.contains(says), "{text} should say {says}"),
        other => panic!("too large, and not refused as that: {other:?}"),
    }
}
