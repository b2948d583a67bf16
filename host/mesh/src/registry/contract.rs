//! What every registry backend must do, as checks a test runs against it.
//!
//! A backend's test hands over a way to make an empty registry and calls [`all`]; one that several processes can
//! share also calls [`shared`]. The checks panic with what went wrong, and never sleep: where time has to pass
//! they wait for the event that it brings, so a paused clock makes them instant.
#![expect(clippy::panic, reason = "checks for tests, whose way to fail is to panic")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Action, Event, RegisterOptions, Registry, RegistryError, WatchOptions, Watcher};
use crate::record::{Endpoint, Metadata, Node, Service, Value};

/// How long a check waits for an event before it says that none came.
const PATIENCE: Duration = Duration::from_secs(20);
/// A time to live that passes within a test. Backends with whole seconds may round it up.
const SHORT: Duration = Duration::from_millis(300);
/// One that does not.
const LONG: Duration = Duration::from_secs(3_600);

/// Runs every check, each on an empty registry of its own.
pub async fn all(make: impl AsyncFn() -> Arc<dyn Registry>) {
    an_empty_registry_has_nothing(&*make().await).await;
    a_record_comes_back_as_it_was_registered(&*make().await).await;
    nodes_of_one_version_are_merged_by_id(&*make().await).await;
    many_are_registered_as_one_after_the_other(&*make().await).await;
    versions_are_records_of_their_own(&*make().await).await;
    the_list_is_complete_and_sorted(&*make().await).await;
    a_record_goes_with_its_last_node(&*make().await).await;
    deregistering_without_nodes_removes_the_version(&*make().await).await;
    deregistering_what_is_not_there_is_no_error(&*make().await).await;
    a_record_that_cannot_be_held_is_refused(&*make().await).await;
    odd_names_are_names(&*make().await).await;
    events_say_what_happened_in_order(&*make().await).await;
    a_registration_that_changes_nothing_is_no_event(&*make().await).await;
    a_watch_of_one_service_hears_of_no_other(&*make().await).await;
    every_watcher_hears_everything(&*make().await).await;
    a_node_goes_when_its_time_passes(&*make().await).await;
    registering_again_prolongs_a_life(&*make().await).await;
    registering_without_a_time_makes_it_permanent(&*make().await).await;
    a_node_that_left_does_not_expire_again(&*make().await).await;
    many_at_once_lose_nothing(make().await).await;
}

/// Runs the checks for a backend that several hosts use at once: two handles onto one empty registry.
pub async fn shared(make: impl AsyncFn() -> (Arc<dyn Registry>, Arc<dyn Registry>)) {
    let (one, other) = make().await;
    what_one_registers_the_other_finds(&*one, &*other).await;
    let (one, other) = make().await;
    what_one_does_the_other_hears(&*one, &*other).await;
    let (one, other) = make().await;
    what_expires_is_told_once_to_each(&*one, &*other).await;
}

/// A record with one endpoint, full enough that losing a part of it shows.
pub fn service(name: &str, version: &str, nodes: &[&str]) -> Service {
    let field = Value { name: "name".into(), kind: "string".into(), values: Vec::new() };
    let message = |name: &str, values| Value { name: name.into(), kind: name.into(), values };
    Service {
        name: name.into(),
        version: version.into(),
        metadata: Metadata::from([("team".into(), "blau, \"grün\"\n".into())]),
        endpoints: vec![Endpoint {
            name: "Say.Hello".into(),
            request: Some(message("Request", vec![field])),
            response: Some(message("Response", Vec::new())),
            metadata: Metadata::from([("stream".into(), "true".into())]),
        }],
        nodes: nodes.iter().map(|id| node(id)).collect(),
    }
}

fn node(id: &str) -> Node {
    Node {
        id: id.into(),
        address: "127.0.0.1:4040".into(),
        metadata: Metadata::from([("transport".into(), "grpc".into())]),
    }
}

async fn an_empty_registry_has_nothing(registry: &dyn Registry) {
    assert_eq!(listed(registry).await, []);
    absent(registry, "demo.a").await;
    assert!(!registry.name().is_empty(), "a registry has a name");
}

async fn a_record_comes_back_as_it_was_registered(registry: &dyn Registry) {
    let record = service("demo.a", "1.0.0", &["n1", "n2"]);
    registered(registry, &record).await;
    assert_eq!(listed(registry).await, found(registry, "demo.a").await);
    assert_eq!(found(registry, "demo.a").await, [record]);
    absent(registry, "demo").await;
    absent(registry, "demo.a.b").await;
    absent(registry, "DEMO.A").await;
}

async fn nodes_of_one_version_are_merged_by_id(registry: &dyn Registry) {
    registered(registry, &service("demo.a", "1", &["n1"])).await;
    registered(registry, &service("demo.a", "1", &["n2"])).await;
    let mut moved = service("demo.a", "1", &["n1"]);
    moved.nodes[0].address = "127.0.0.1:5050".into();
    moved.metadata.insert("team".into(), "rot".into());
    moved.endpoints.clear();
    registered(registry, &moved).await;

    let [record] = &found(registry, "demo.a").await[..] else { panic!("one version, one record") };
    assert_eq!(node_ids(record), BTreeSet::from(["n1", "n2"]));
    assert_eq!(record.node("n1"), moved.nodes.first(), "the latest registration of a node counts");
    assert_eq!(record.metadata, moved.metadata, "the latest metadata counts");
    assert_eq!(record.endpoints, [], "the latest endpoints count");
}

async fn many_are_registered_as_one_after_the_other(registry: &dyn Registry) {
    let mut events = watch(registry, WatchOptions::default()).await;
    let (one, other) = (service("many.a", "1", &["n1"]), service("many.b", "1", &["n1"]));
    let more = service("many.a", "1", &["n2"]);
    let all = [one.clone(), other.clone(), more.clone()];
    must("register all", registry.register_all(&all, RegisterOptions::default()).await);
    assert_eq!(found(registry, "many.a").await[0].nodes.len(), 2);
    assert_eq!(found(registry, "many.b").await.first(), Some(&other));
    for (action, service) in [(Action::Create, one), (Action::Create, other), (Action::Update, more)] {
        assert_eq!(next(&mut events).await, Event { action, service: service.into() });
    }
    let wrong = registry.register_all(&[service("many.c", "1", &[])], RegisterOptions::default()).await;
    assert!(matches!(wrong, Err(RegistryError::Invalid { .. })), "{wrong:?}");
    must("register none", registry.register_all(&[], RegisterOptions::default()).await);
}

async fn versions_are_records_of_their_own(registry: &dyn Registry) {
    registered(registry, &service("demo.a", "2", &["n1"])).await;
    registered(registry, &service("demo.a", "1", &["n1"])).await;
    let records = found(registry, "demo.a").await;
    assert_eq!(versions(&records), ["1", "2"], "sorted by version");
    deregistered(registry, &service("demo.a", "1", &["n1"])).await;
    assert_eq!(versions(&found(registry, "demo.a").await), ["2"]);
}

async fn the_list_is_complete_and_sorted(registry: &dyn Registry) {
    for (name, version) in [("c", "1"), ("a", "2"), ("b", "1"), ("a", "1")] {
        registered(registry, &service(name, version, &["n1"])).await;
    }
    let listed = listed(registry).await;
    let names: Vec<_> = listed.iter().map(|s| (s.name.as_str(), s.version.as_str())).collect();
    assert_eq!(names, [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")]);
    assert_eq!(listed[0], service("a", "1", &["n1"]), "the list holds full records");
}

async fn a_record_goes_with_its_last_node(registry: &dyn Registry) {
    registered(registry, &service("demo.a", "1", &["n1", "n2"])).await;
    deregistered(registry, &service("demo.a", "1", &["n1"])).await;
    let [record] = &found(registry, "demo.a").await[..] else { panic!("one node is left") };
    assert_eq!(node_ids(record), BTreeSet::from(["n2"]));
    deregistered(registry, &service("demo.a", "1", &["n2"])).await;
    absent(registry, "demo.a").await;
    assert_eq!(listed(registry).await, []);
}

async fn deregistering_without_nodes_removes_the_version(registry: &dyn Registry) {
    registered(registry, &service("demo.a", "1", &["n1", "n2"])).await;
    registered(registry, &service("demo.a", "2", &["n1"])).await;
    deregistered(registry, &service("demo.a", "1", &[])).await;
    assert_eq!(versions(&found(registry, "demo.a").await), ["2"]);
}

async fn deregistering_what_is_not_there_is_no_error(registry: &dyn Registry) {
    deregistered(registry, &service("demo.a", "1", &["n1"])).await;
    registered(registry, &service("demo.a", "1", &["n1"])).await;
    deregistered(registry, &service("demo.a", "1", &["n2"])).await;
    deregistered(registry, &service("demo.a", "2", &["n1"])).await;
    assert_eq!(found(registry, "demo.a").await.len(), 1);
}

async fn a_record_that_cannot_be_held_is_refused(registry: &dyn Registry) {
    let broken = [
        (service("", "1", &["n1"]), "the name is empty"),
        (service("demo.a", "1", &[]), "no nodes"),
        (service("demo.a", "1", &["n1", ""]), "no id"),
    ];
    for (record, reason) in broken {
        match registry.register(&record, RegisterOptions::default()).await {
            Err(error @ RegistryError::Invalid { .. }) => {
                assert!(error.to_string().contains(reason), "{error} should say: {reason}");
            }
            other => panic!("{reason}: {other:?}"),
        }
    }
    assert_eq!(listed(registry).await, []);
}

async fn odd_names_are_names(registry: &dyn Registry) {
    for name in ["a/b", "größe", "it's", "100%", "a b", "x_y", "'; DROP TABLE record; --"] {
        registered(registry, &service(name, "", &["n/1"])).await;
        assert_eq!(found(registry, name).await, [service(name, "", &["n/1"])]);
        deregistered(registry, &service(name, "", &["n/1"])).await;
        absent(registry, name).await;
    }
}

async fn events_say_what_happened_in_order(registry: &dyn Registry) {
    let mut watcher = watch(registry, WatchOptions::default()).await;
    registered(registry, &service("demo.a", "1", &["n1"])).await;
    registered(registry, &service("demo.a", "1", &["n2"])).await;
    registered(registry, &service("demo.a", "2", &["n3"])).await;
    deregistered(registry, &service("demo.a", "1", &["n1"])).await;
    deregistered(registry, &service("demo.a", "1", &["n2"])).await;
    for (action, version, node) in [
        (Action::Create, "1", "n1"),
        (Action::Update, "1", "n2"),
        (Action::Create, "2", "n3"),
        (Action::Delete, "1", "n1"),
        (Action::Delete, "1", "n2"),
    ] {
        let event = next(&mut watcher).await;
        assert_eq!((event.action, event.service.version.as_str()), (action, version));
        assert_eq!(event.service.name, "demo.a");
        assert!(event.service.node(node).is_some(), "{action:?} of {node}: {:?}", event.service);
    }
}

async fn a_registration_that_changes_nothing_is_no_event(registry: &dyn Registry) {
    registered(registry, &service("demo.a", "1", &["n1"])).await;
    let mut watcher = watch(registry, WatchOptions::default()).await;
    registered(registry, &service("demo.a", "1", &["n1"])).await;
    registered_for(registry, &service("demo.a", "1", &["n1"]), LONG).await;
    deregistered(registry, &service("demo.a", "1", &["other"])).await;
    let mut changed = service("demo.a", "1", &["n1"]);
    changed.nodes[0].metadata.insert("zone".into(), "b".into());
    registered(registry, &changed).await;
    let event = next(&mut watcher).await;
    assert_eq!((event.action, event.service.node("n1")), (Action::Update, changed.nodes.first()));
}

async fn a_watch_of_one_service_hears_of_no_other(registry: &dyn Registry) {
    let mut watcher = watch(registry, WatchOptions::service("demo.b")).await;
    for name in ["demo.a", "demo.bb", "demo.b"] {
        registered(registry, &service(name, "1", &["n1"])).await;
    }
    assert_eq!(next(&mut watcher).await.service.name, "demo.b");
}

async fn every_watcher_hears_everything(registry: &dyn Registry) {
    let mut first = watch(registry, WatchOptions::default()).await;
    registered(registry, &service("demo.a", "1", &["n1"])).await;
    let mut second = watch(registry, WatchOptions::default()).await;
    drop(watch(registry, WatchOptions::default()).await);
    registered(registry, &service("demo.b", "1", &["n1"])).await;
    assert_eq!(next(&mut first).await.service.name, "demo.a");
    assert_eq!(next(&mut first).await.service.name, "demo.b");
    assert_eq!(next(&mut second).await.service.name, "demo.b", "nothing from before the watch");
}

async fn a_node_goes_when_its_time_passes(registry: &dyn Registry) {
    registered(registry, &service("demo.a", "1", &["stays"])).await;
    let mut watcher = watch(registry, WatchOptions::default()).await;
    registered_for(registry, &service("demo.a", "1", &["goes"]), SHORT).await;
    assert_eq!(next(&mut watcher).await.action, Action::Update);
    let event = next(&mut watcher).await;
    assert_eq!((event.action, node_ids(&event.service)), (Action::Delete, BTreeSet::from(["goes"])));
    let [record] = &found(registry, "demo.a").await[..] else { panic!("one node stays") };
    assert_eq!(node_ids(record), BTreeSet::from(["stays"]));

    registered_for(registry, &service("demo.b", "1", &["n1"]), SHORT).await;
    assert_eq!(next(&mut watcher).await.action, Action::Create);
    assert_eq!(next(&mut watcher).await.action, Action::Delete);
    absent(registry, "demo.b").await;
}

/// The renewed node must outlive one that was registered later for the same short time.
async fn registering_again_prolongs_a_life(registry: &dyn Registry) {
    let mut watcher = watch(registry, WatchOptions::default()).await;
    registered_for(registry, &service("demo.a", "1", &["renewed"]), SHORT).await;
    registered_for(registry, &service("demo.a", "1", &["renewed"]), LONG).await;
    registered_for(registry, &service("demo.b", "1", &["not-renewed"]), SHORT).await;
    for action in [Action::Create, Action::Create, Action::Delete] {
        let event = next(&mut watcher).await;
        assert_eq!(event.action, action);
        assert!(action != Action::Delete || event.service.name == "demo.b");
    }
    assert_eq!(found(registry, "demo.a").await.len(), 1);
}

async fn registering_without_a_time_makes_it_permanent(registry: &dyn Registry) {
    let mut watcher = watch(registry, WatchOptions::default()).await;
    registered_for(registry, &service("demo.a", "1", &["n1"]), SHORT).await;
    registered_for(registry, &service("demo.a", "1", &["n1"]), Duration::ZERO).await;
    registered_for(registry, &service("demo.b", "1", &["n1"]), SHORT).await;
    for name in ["demo.a", "demo.b", "demo.b"] {
        assert_eq!(next(&mut watcher).await.service.name, name);
    }
    assert_eq!(found(registry, "demo.a").await.len(), 1);
}

/// A node that was deregistered and came back for good must not fall to its old time.
async fn a_node_that_left_does_not_expire_again(registry: &dyn Registry) {
    let mut watcher = watch(registry, WatchOptions::default()).await;
    registered_for(registry, &service("demo.a", "1", &["n1"]), SHORT).await;
    deregistered(registry, &service("demo.a", "1", &["n1"])).await;
    registered(registry, &service("demo.a", "1", &["n1"])).await;
    registered_for(registry, &service("demo.b", "1", &["n1"]), SHORT).await;
    for (action, name) in [
        (Action::Create, "demo.a"),
        (Action::Delete, "demo.a"),
        (Action::Create, "demo.a"),
        (Action::Create, "demo.b"),
        (Action::Delete, "demo.b"),
    ] {
        let event = next(&mut watcher).await;
        assert_eq!((event.action, event.service.name.as_str()), (action, name));
    }
    assert_eq!(found(registry, "demo.a").await.len(), 1);
}

async fn many_at_once_lose_nothing(registry: Arc<dyn Registry>) {
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let registry = Arc::clone(&registry);
            let record = service("demo.a", "1", &[&format!("n{number}")]);
            tokio::spawn(async move { registered(&*registry, &record).await })
        })
        .collect();
    for task in tasks {
        must("registering from many tasks", task.await);
    }
    let [record] = &found(&*registry, "demo.a").await[..] else { panic!("one version, one record") };
    assert_eq!(record.nodes.len(), 32);
}

async fn what_one_registers_the_other_finds(one: &dyn Registry, other: &dyn Registry) {
    let mut watcher = watch(other, WatchOptions::default()).await;
    registered(one, &service("demo.a", "1", &["n1"])).await;
    next(&mut watcher).await;
    assert_eq!(found(other, "demo.a").await, [service("demo.a", "1", &["n1"])]);
    registered(other, &service("demo.a", "1", &["n2"])).await;
    next(&mut watcher).await;
    let mut back = watch(one, WatchOptions::default()).await;
    deregistered(other, &service("demo.a", "1", &["n1"])).await;
    while next(&mut back).await.action != Action::Delete {}
    let [record] = &found(one, "demo.a").await[..] else { panic!("one version, one record") };
    assert_eq!(node_ids(record), BTreeSet::from(["n2"]));
}

async fn what_one_does_the_other_hears(one: &dyn Registry, other: &dyn Registry) {
    let mut watcher = watch(other, WatchOptions::default()).await;
    registered(one, &service("demo.a", "1", &["n1"])).await;
    registered(other, &service("demo.a", "1", &["n2"])).await;
    deregistered(one, &service("demo.a", "1", &["n2"])).await;
    for action in [Action::Create, Action::Update, Action::Delete] {
        assert_eq!(next(&mut watcher).await.action, action);
    }
}

async fn what_expires_is_told_once_to_each(one: &dyn Registry, other: &dyn Registry) {
    let mut watchers = [watch(one, WatchOptions::default()).await, watch(other, WatchOptions::default()).await];
    registered_for(one, &service("demo.a", "1", &["n1"]), SHORT).await;
    for watcher in &mut watchers {
        assert_eq!(next(watcher).await.action, Action::Create);
        assert_eq!(next(watcher).await.action, Action::Delete);
    }
    registered(one, &service("demo.b", "1", &["n1"])).await;
    for watcher in &mut watchers {
        assert_eq!(next(watcher).await.service.name, "demo.b");
    }
}

async fn registered(registry: &dyn Registry, service: &Service) {
    must("register", registry.register(service, RegisterOptions::default()).await);
}

async fn registered_for(registry: &dyn Registry, service: &Service, ttl: Duration) {
    must("register", registry.register(service, RegisterOptions::with_ttl(ttl)).await);
}

async fn deregistered(registry: &dyn Registry, service: &Service) {
    must("deregister", registry.deregister(service).await);
}

async fn found(registry: &dyn Registry, name: &str) -> Vec<Service> {
    must("get", registry.get(name).await)
}

async fn listed(registry: &dyn Registry) -> Vec<Service> {
    must("list", registry.list().await)
}

async fn absent(registry: &dyn Registry, name: &str) {
    match registry.get(name).await {
        Err(RegistryError::NotFound(missing)) => assert_eq!(missing, name),
        other => panic!("{name} should not be found: {other:?}"),
    }
}

async fn watch(registry: &dyn Registry, options: WatchOptions) -> Watcher {
    must("watch", registry.watch(options).await)
}

async fn next(watcher: &mut Watcher) -> Event {
    match timeout(PATIENCE, watcher.next()).await {
        Ok(Some(event)) => event,
        Ok(None) => panic!("the watch ended"),
        Err(_) => panic!("no event within {PATIENCE:?}"),
    }
}

fn must<T, E: Debug>(doing: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{doing}: {error:?}"))
}

fn node_ids(service: &Service) -> BTreeSet<&str> {
    service.nodes.iter().map(|node| node.id.as_str()).collect()
}

fn versions(services: &[Service]) -> Vec<&str> {
    services.iter().map(|service| service.version.as_str()).collect()
}
