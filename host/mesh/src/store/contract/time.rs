//! Times to live.

use super::*;

/// A time to live.
const TTL: Duration = Duration::from_secs(60);
/// The smallest part of it.
const TICK: Duration = Duration::from_millis(1);

pub(super) async fn all(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Store>) {
    let fresh = async || {
        let hand = Hand::default();
        let options = OpenOptions { clock: hand.clock(), ..OpenOptions::default() };
        (make(options).await, hand)
    };
    let (store, hand) = fresh().await;
    a_value_lasts_exactly_as_long_as_it_was_put_for(&*store, &hand).await;
    let (store, hand) = fresh().await;
    what_has_expired_is_absent_everywhere(&*store, &hand).await;
    let (store, hand) = fresh().await;
    the_latest_put_decides_how_long_a_value_lasts(&*store, &hand).await;
    let (store, hand) = fresh().await;
    odd_times_are_times(&*store, &hand).await;
    let (store, hand) = fresh().await;
    many_expire_at_once(store, &hand).await;
}

async fn a_value_lasts_exactly_as_long_as_it_was_put_for(store: &dyn Store, hand: &Hand) {
    put_for(store, "key", TTL).await;
    hand.advance(TTL - TICK);
    assert_eq!(version(store, "a", "key").await, Some(1));
    hand.advance(TICK);
    assert_eq!(version(store, "a", "key").await, None);
}

async fn what_has_expired_is_absent_everywhere(store: &dyn Store, hand: &Hand) {
    put_for(store, "one", TTL).await;
    put_for(store, "two", TTL).await;
    put_for(store, "three", TTL).await;
    put(store, "a", "kept", b"").await;
    hand.advance(TTL);
    assert_eq!(keys(store, "a", "").await, ["kept"]);
    assert_eq!(usage(store).await, [("a".to_owned(), 1, 4)]);
    assert!(!must("delete", store.delete("a", "one").await), "there was none any more");
    assert_eq!(put_if(store, "two", 2).await, Err(StoreError::Conflict { version: 0 }));
    assert_eq!(put_if(store, "three", 0).await, Ok(5));
    assert_eq!(usage(store).await, [("a".to_owned(), 2, 9)]);
}

async fn the_latest_put_decides_how_long_a_value_lasts(store: &dyn Store, hand: &Hand) {
    put_for(store, "for-ever", TTL).await;
    put_for(store, "longer", TTL).await;
    put(store, "a", "shorter", b"").await;
    hand.advance(TTL / 2);
    put(store, "a", "for-ever", b"").await;
    put_for(store, "longer", TTL).await;
    put_for(store, "shorter", TICK).await;
    hand.advance(TTL / 2);
    assert_eq!(keys(store, "a", "").await, ["for-ever", "longer"]);
    hand.advance(TTL / 2);
    assert_eq!(keys(store, "a", "").await, ["for-ever"]);
}

async fn odd_times_are_times(store: &dyn Store, hand: &Hand) {
    put(store, "a", "none", b"").await;
    put_for(store, "none", Duration::ZERO).await;
    put_for(store, "part", Duration::from_nanos(1)).await;
    put_for(store, "longest", Duration::MAX).await;
    assert_eq!(keys(store, "a", "").await, ["longest", "part"], "no time at all is over at once");
    hand.advance(TICK);
    assert_eq!(keys(store, "a", "").await, ["longest"], "part of a millisecond is one");
    hand.advance(Duration::from_secs(3_600 * 24 * 365 * 1_000));
    assert_eq!(keys(store, "a", "").await, ["longest"]);
}

async fn many_expire_at_once(store: Arc<dyn Store>, hand: &Hand) {
    let puts = (0..700).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { put_for(&*store, &format!("key-{number}"), TTL).await })
    });
    for put in puts.collect::<Vec<_>>() {
        must("join", put.await);
    }
    hand.advance(TTL);
    assert_eq!(usage(&*store).await, [("a".to_owned(), 0, 0)]);
    put(&*store, "a", "new", b"1").await;
    assert_eq!(usage(&*store).await, [("a".to_owned(), 1, 4)]);
    assert_eq!(keys(&*store, "a", "").await, ["new"]);
}

async fn put_for(store: &dyn Store, key: &str, ttl: Duration) {
    must("put", store.put("a", key, Bytes::new(), PutOptions::with_ttl(ttl)).await);
}
