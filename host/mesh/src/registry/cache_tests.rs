use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::*;
use crate::record::Node;
use crate::registry::contract::service;
use crate::registry::memory::Memory;
use crate::registry::{RegisterOptions, Registry};

/// A memory registry that can be made to fail, as one across a network does.
#[derive(Default)]
struct Flaky {
    memory: Memory,
    down: AtomicBool,
}

impl Flaky {
    fn up(&self) -> Result<&Memory, RegistryError> {
        if self.down.load(Ordering::Relaxed) {
            let source = "connection refused".into();
            return Err(RegistryError::Backend { registry: "flaky", doing: "ask".into(), source });
        }
        Ok(&self.memory)
    }
}

#[async_trait]
impl Registry for Flaky {
    fn name(&self) -> &str {
        "flaky"
    }

    async fn register(&self, s: &Service, options: RegisterOptions) -> Result<(), RegistryError> {
        self.up()?.register(s, options).await
    }

    async fn deregister(&self, service: &Service) -> Result<(), RegistryError> {
        self.up()?.deregister(service).await
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, RegistryError> {
        self.up()?.get(name).await
    }

    async fn list(&self) -> Result<Vec<Service>, RegistryError> {
        self.up()?.list().await
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher, RegistryError> {
        self.up()?.watch(options).await
    }
}

async fn register(registry: &dyn Registry, service: &Service) {
    registry.register(service, RegisterOptions::default()).await.unwrap();
}

async fn until(cache: &Cache, holds: impl Fn(&Cache) -> bool) {
    let mut changes = cache.changes();
    while !holds(cache) {
        changes.changed().await.unwrap();
    }
}

fn node_count(cache: &Cache, name: &str) -> usize {
    cache.get(name).map_or(0, |records| records.iter().map(|record| record.nodes.len()).sum())
}

#[tokio::test(start_paused = true)]
async fn starts_with_what_is_there() {
    let registry = Arc::new(Memory::new());
    register(&*registry, &service("demo.a", "2", &["n1"])).await;
    register(&*registry, &service("demo.a", "1", &["n1"])).await;
    let cache = Cache::open(registry).await;
    let mut expected = [service("demo.a", "1", &["n1"]), service("demo.a", "2", &["n1"])];
    // What people read of a record, the registry has.
    for endpoint in expected.iter_mut().flat_map(|record| &mut record.endpoints) {
        (endpoint.request, endpoint.response) = (None, None);
    }
    assert_eq!(&*cache.get("demo.a").unwrap(), expected);
    assert_eq!(cache.list(), expected);
    assert!(cache.get("demo.b").is_none());
}

#[tokio::test(start_paused = true)]
async fn follows_what_comes_and_goes() {
    let registry = Arc::new(Memory::new());
    let cache = Cache::open(registry.clone()).await;
    register(&*registry, &service("demo.a", "1", &["n1"])).await;
    until(&cache, |cache| node_count(cache, "demo.a") == 1).await;
    register(&*registry, &service("demo.a", "1", &["n2"])).await;
    until(&cache, |cache| node_count(cache, "demo.a") == 2).await;
    register(&*registry, &service("demo.a", "0", &["n2"])).await;
    until(&cache, |cache| node_count(cache, "demo.a") == 3).await;
    assert_eq!(cache.get("demo.a").unwrap()[0].version, "0");
    registry.deregister(&service("demo.a", "1", &["n1"])).await.unwrap();
    until(&cache, |cache| node_count(cache, "demo.a") == 2).await;
    registry.deregister(&service("demo.a", "1", &[])).await.unwrap();
    registry.deregister(&service("demo.a", "0", &[])).await.unwrap();
    until(&cache, |cache| cache.get("demo.a").is_none()).await;
    assert!(cache.snapshot().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_just_made_is_visible_after_refreshing_that_service() {
    let registry = Arc::new(Memory::new());
    let cache = Cache::open(registry.clone()).await;
    register(&*registry, &service("demo.a", "1", &["n1"])).await;
    cache.refresh_service("demo.a").await.unwrap();
    assert_eq!(node_count(&cache, "demo.a"), 1);
    registry.deregister(&service("demo.a", "1", &[])).await.unwrap();
    cache.refresh_service("demo.a").await.unwrap();
    assert!(cache.get("demo.a").is_none());
    cache.refresh_service("never.was").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn serves_the_last_known_records_while_the_backend_is_away() {
    let registry = Arc::new(Flaky::default());
    register(&*registry, &service("demo.a", "1", &["n1"])).await;
    let cache = Cache::open(registry.clone()).await;
    registry.down.store(true, Ordering::Relaxed);
    assert!(cache.refresh().await.is_err());
    assert!(cache.refresh_service("demo.a").await.is_err());
    assert_eq!(node_count(&cache, "demo.a"), 1);
}

#[tokio::test(start_paused = true)]
async fn starts_empty_and_fills_when_the_backend_comes_back() {
    let registry = Arc::new(Flaky::default());
    register(&registry.memory, &service("demo.a", "1", &["n1"])).await;
    registry.down.store(true, Ordering::Relaxed);
    let cache = Cache::open(registry.clone()).await;
    assert!(cache.get("demo.a").is_none());
    registry.down.store(false, Ordering::Relaxed);
    until(&cache, |cache| node_count(cache, "demo.a") == 1).await;
    register(&registry.memory, &service("demo.b", "1", &["n1"])).await;
    until(&cache, |cache| node_count(cache, "demo.b") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn catches_up_after_more_changes_than_a_watcher_can_hold() {
    let registry = Arc::new(Memory::new());
    let cache = Cache::open(registry.clone()).await;
    for number in 0..20_000 {
        register(&*registry, &service(&format!("demo.s{number}"), "1", &["n1"])).await;
    }
    until(&cache, |cache| cache.snapshot().size() == 20_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_makes_few_snapshots() {
    let registry = Arc::new(Memory::new());
    let cache = Cache::open(registry.clone()).await;
    let before = *cache.changes().borrow();
    for number in 0..1_000 {
        register(&*registry, &service(&format!("demo.s{number}"), "1", &["n1"])).await;
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    until(&cache, |cache| cache.snapshot().size() == 1_000).await;
    let snapshots = *cache.changes().borrow() - before;
    assert!(snapshots <= 2, "{snapshots}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_cache_stops_following() {
    let registry = Arc::new(Memory::new());
    let cache = Cache::open(registry.clone()).await;
    drop(cache);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&registry), 1);
}

#[test]
fn a_delete_without_nodes_means_the_whole_version() {
    let mut records = vec![service("demo.a", "1", &["n1", "n2"]), service("demo.a", "2", &["n1"])];
    let gone = Service { nodes: Vec::<Node>::new(), ..service("demo.a", "1", &[]) };
    follow_event(&mut records, &Event { action: Action::Delete, service: gone.into() });
    assert_eq!(records, [service("demo.a", "2", &["n1"])]);
}
