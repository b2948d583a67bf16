use super::*;
use crate::registry::contract;

fn registry() -> Arc<dyn Registry> {
    Arc::new(Memory::new())
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract() {
    contract::all(async || registry()).await;
}

#[tokio::test(start_paused = true)]
async fn two_handles_share_one_registry() {
    contract::shared(async || {
        let registry = registry();
        (Arc::clone(&registry), registry)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_lasts_exactly_as_long_as_it_was_given_for() {
    let registry = Memory::new();
    let service = contract::service("demo.a", "1", &["n1"]);
    let options = RegisterOptions::with_ttl(Duration::from_secs(60));
    registry.register(&service, options).await.unwrap();
    tokio::time::advance(Duration::from_millis(59_999)).await;
    assert!(registry.get("demo.a").await.is_ok());
    registry.register(&service, options).await.unwrap();
    tokio::time::advance(Duration::from_millis(59_999)).await;
    assert!(registry.get("demo.a").await.is_ok());
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(matches!(registry.get("demo.a").await, Err(RegistryError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_registry_ends_its_watches_although_timers_run() {
    let registry = Memory::new();
    let options = RegisterOptions::with_ttl(Duration::from_secs(60));
    registry.register(&contract::service("demo.a", "1", &["n1"]), options).await.unwrap();
    let mut watcher = registry.watch(WatchOptions::default()).await.unwrap();
    drop(registry);
    assert_eq!(watcher.next().await, None);
}
