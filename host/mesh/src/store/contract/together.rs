//! Several changes in one step.

use super::super::{MAX_CHANGES, MAX_CHANGES_BYTES, MAX_VALUE};
use super::*;

pub(super) async fn all(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Store>) {
    let fresh = async || make(OpenOptions::default()).await;
    changes_are_made_in_their_order(&*fresh().await).await;
    one_that_is_refused_undoes_all(&*fresh().await).await;
    there_may_be_only_so_many(&*fresh().await).await;
    of_those_who_race_one_is_first(fresh().await).await;
    let entries = Limits { store_entries: 2, ..Limits::default() };
    what_does_not_fit_undoes_all(&*make(OpenOptions { limits: entries, ..OpenOptions::default() }).await).await;
    let hand = Hand::default();
    what_was_undone_expires_as_before(
        &*make(OpenOptions { clock: hand.clock(), ..OpenOptions::default() }).await,
        &hand,
    )
    .await;
}

async fn changes_are_made_in_their_order(store: &dyn Store) {
    put(store, "a", "gone", b"1").await;
    let changes = vec![
        putting("a", "one", None),
        putting("b", "one", None),
        removing("a", "gone"),
        putting("a", "one", Some(2)),
        removing("a", "never was"),
    ];
    assert_eq!(store.commit(changes).await, Ok(vec![2, 1, 0, 3, 0]));
    assert_eq!(keys(store, "a", "").await, ["one"]);
    assert_eq!(keys(store, "b", "").await, ["one"]);
    assert_eq!(store.commit(Vec::new()).await, Ok(Vec::new()));
}

async fn one_that_is_refused_undoes_all(store: &dyn Store) {
    put(store, "a", "old", b"old").await;
    let before = usage(store).await;
    let changes = vec![
        putting("a", "old", None),
        putting("a", "new", None),
        removing("a", "old"),
        putting("new", "key", None),
        putting("new", "other", None),
        putting("a", "new", Some(7)),
        putting("a", "after", None),
    ];
    let Err(refusal) = store.commit(changes).await else { panic!("one of them expects another version") };
    assert_eq!(refusal.change, Some(5));
    assert!(matches!(refusal.error, StoreError::Conflict { .. }), "{refusal}");
    assert_eq!(get(store, "a", "old").await.map(|entry| (entry.value, entry.version)), Some(("old".into(), 1)));
    assert_eq!(usage(store).await, before, "no other key, and no other store");
}

async fn what_does_not_fit_undoes_all(store: &dyn Store) {
    put(store, "a", "one", b"1").await;
    let changes = vec![putting("a", "two", None), putting("a", "three", None)];
    let Err(Refusal { change: Some(1), error: StoreError::TooLarge(_) }) = store.commit(changes).await else {
        panic!("the store has room for two")
    };
    assert_eq!(keys(store, "a", "").await, ["one"]);
    let changes = vec![removing("a", "one"), putting("a", "two", None), putting("a", "three", None)];
    assert!(store.commit(changes).await.is_ok(), "what goes makes room for what comes");
    assert_eq!(keys(store, "a", "").await, ["three", "two"]);
}

async fn what_was_undone_expires_as_before(store: &dyn Store, hand: &Hand) {
    let ttl = Duration::from_secs(60);
    must("put", store.put("a", "key", Bytes::new(), PutOptions::with_ttl(ttl)).await);
    let changes = vec![putting("a", "key", None), putting("a", "other", Some(9))];
    assert!(store.commit(changes).await.is_err());
    hand.advance(ttl);
    assert_eq!(keys(store, "a", "").await, [""; 0]);
}

async fn there_may_be_only_so_many(store: &dyn Store) {
    let many = |count: usize| (0..count).map(|number| putting("a", &number.to_string(), None)).collect();
    assert!(store.commit(many(MAX_CHANGES)).await.is_ok());
    let is_too_large = |refused: Result<Vec<u64>, Refusal>, at: Option<usize>| {
        let Err(Refusal { change, error: StoreError::TooLarge(_) }) = refused else { panic!("{refused:?}") };
        assert_eq!(change, at);
    };
    is_too_large(store.commit(many(MAX_CHANGES + 1)).await, None);
    let large =
        |size: usize| Change { value: Some((vec![0; size].into(), PutOptions::default())), ..removing("b", "key") };
    is_too_large(store.commit(vec![large(MAX_VALUE); MAX_CHANGES_BYTES / MAX_VALUE + 1]).await, None);
    is_too_large(store.commit(vec![putting("b", "key", None), large(MAX_VALUE + 1)]).await, Some(1));
    let Err(Refusal { change: Some(1), .. }) = store.commit(vec![removing("b", "key"), removing("*", "key")]).await
    else {
        panic!("no store has such a name")
    };
    assert_eq!(usage(store).await.len(), 1, "nothing was put into the other store");
}

async fn of_those_who_race_one_is_first(store: Arc<dyn Store>) {
    let commits = (0..16).map(|number| {
        let store = Arc::clone(&store);
        let changes = vec![putting("b", &number.to_string(), None), putting("a", "first", Some(0))];
        tokio::spawn(async move { store.commit(changes).await.is_ok() })
    });
    let mut first = 0;
    for commit in commits.collect::<Vec<_>>() {
        first += usize::from(must("join", commit.await));
    }
    assert_eq!((first, keys(&*store, "b", "").await.len()), (1, 1));
}

fn putting(store: &str, key: &str, if_version: Option<u64>) -> Change {
    let value = Some((Bytes::from_static(b"1"), PutOptions { if_version, ..PutOptions::default() }));
    Change { value, ..removing(store, key) }
}

fn removing(store: &str, key: &str) -> Change {
    Change { store: store.to_owned(), key: key.to_owned(), value: None }
}
