//! What many callers do at once.

use std::collections::BTreeSet;

use super::*;

pub(super) async fn all(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Store>) {
    let fresh = async || make(OpenOptions::default()).await;
    many_puts_at_once_get_a_version_each(fresh().await).await;
    a_version_has_one_winner(fresh().await).await;
    counting_up_together_loses_nothing(fresh().await).await;
    what_was_acknowledged_is_seen(fresh().await).await;
}

async fn many_puts_at_once_get_a_version_each(store: Arc<dyn Store>) {
    let given = together(300, |number| {
        let store = Arc::clone(&store);
        async move { put(&*store, "a", &format!("key-{}", number % 100), &[1]).await }
    });
    let given: BTreeSet<u64> = given.await.into_iter().collect();
    assert!(given.into_iter().eq(1..=300), "each version is given once");
    assert_eq!(usage(&*store).await.first().map(|(_, entries, _)| *entries), Some(100));
}

async fn a_version_has_one_winner(store: Arc<dyn Store>) {
    let mut current = 0;
    for _ in 0..10 {
        let outcomes = together(32, |_| {
            let store = Arc::clone(&store);
            async move { put_if(&*store, "key", current).await }
        });
        let outcomes = outcomes.await;
        let [winner] = outcomes.iter().flatten().collect::<Vec<_>>()[..] else {
            panic!("one of them wins: {outcomes:?}");
        };
        current = *winner;
        let told = StoreError::Conflict { version: current };
        assert!(outcomes.iter().all(|outcome| *outcome == Ok(current) || *outcome == Err(told.clone())));
    }
    assert_eq!(current, 10, "who loses takes no version");
}

async fn counting_up_together_loses_nothing(store: Arc<dyn Store>) {
    together(16, |_| count_up(Arc::clone(&store), 8)).await;
    assert_eq!(get(&*store, "a", "count").await.map(|entry| entry.value), Some(128_u64.to_string().into()));
}

/// Adds one so many times, as callers do it that only have `if_version`.
async fn count_up(store: Arc<dyn Store>, times: u32) {
    for _ in 0..times {
        loop {
            let entry = get(&*store, "a", "count").await;
            let (version, count) = entry.map_or((0, 0), |entry| {
                let text = String::from_utf8_lossy(&entry.value).into_owned();
                (entry.version, must("parse", text.parse::<u64>()))
            });
            let next = Bytes::from((count + 1).to_string());
            match store.put("a", "count", next, PutOptions::if_version(version)).await {
                Ok(_) => break,
                Err(StoreError::Conflict { version: now }) => assert!(now > version, "versions only grow"),
                Err(error) => panic!("count up: {error}"),
            }
        }
    }
}

async fn what_was_acknowledged_is_seen(store: Arc<dyn Store>) {
    together(16, |number| {
        let store = Arc::clone(&store);
        async move {
            let key = format!("key-{number}");
            for _ in 0..8 {
                let put = put(&*store, "a", &key, b"").await;
                assert_eq!(version(&*store, "a", &key).await, Some(put));
            }
            must("delete", store.delete("a", &key).await);
            assert_eq!(version(&*store, "a", &key).await, None);
        }
    })
    .await;
}

/// Runs so many of them at the same time, and gives what they gave.
async fn together<T: Send + 'static, F>(count: u32, task: impl Fn(u32) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = (0..count).map(|number| tokio::spawn(task(number))).collect();
    let mut outcomes = Vec::new();
    for task in running {
        outcomes.push(must("join", task.await));
    }
    outcomes
}
