use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::registry::memory::Memory;
use crate::registry::{Event, contract};

async fn registry(path: &Path) -> Arc<dyn Registry> {
    Arc::new(Sqlite::open(path).await.unwrap())
}

/// A folder that goes away with the registry in it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn keeps_the_contract() {
    let folder = folder();
    let made = Cell::new(0);
    contract::all(async || {
        made.set(made.get() + 1);
        let path = folder.path().join(format!("registry-{}", made.get()));
        registry(&path).await
    })
    .await;
}

#[tokio::test]
async fn two_connections_share_one_registry() {
    let folder = folder();
    let made = Cell::new(0);
    contract::shared(async || {
        made.set(made.get() + 1);
        let path = folder.path().join(format!("registry-{}", made.get()));
        (registry(&path).await, registry(&path).await)
    })
    .await;
}

#[tokio::test]
async fn what_was_registered_survives_a_restart() {
    let folder = folder();
    let path = folder.path().join("registry");
    let record = contract::service("demo.a", "1", &["n1"]);
    let first = registry(&path).await;
    first.register(&record, RegisterOptions::default()).await.unwrap();
    drop(first);
    assert_eq!(registry(&path).await.get("demo.a").await.unwrap(), [record]);
}

#[tokio::test]
async fn a_node_whose_time_passed_while_nothing_ran_is_gone_at_the_next_start() {
    let folder = folder();
    let path = folder.path().join("registry");
    let first = registry(&path).await;
    let ttl = RegisterOptions::with_ttl(Duration::from_millis(1));
    first.register(&contract::service("demo.a", "1", &["n1"]), ttl).await.unwrap();
    drop(first);
    let started = now();
    while now().since(started) < 2 {
        tokio::task::yield_now().await;
    }
    let second = registry(&path).await;
    assert!(matches!(second.get("demo.a").await, Err(RegistryError::NotFound(_))));
    assert_eq!(second.list().await.unwrap(), []);
}

#[tokio::test]
async fn many_processes_may_create_the_same_file_at_once() {
    let folder = folder();
    let path = folder.path().join("registry");
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            tokio::spawn(async move { Sqlite::open(path).await })
        })
        .collect();
    let mut open = Vec::new();
    for opening in opening {
        open.push(opening.await.unwrap().unwrap());
    }
    let mut watcher = open[0].watch(WatchOptions::default()).await.unwrap();
    for (number, registry) in open.iter().enumerate() {
        let record = contract::service("demo.a", "1", &[&format!("n{number}")]);
        registry.register(&record, RegisterOptions::default()).await.unwrap();
    }
    for number in 0..8 {
        let event = watcher.next().await.unwrap();
        assert_eq!(event.service.nodes[0].id, format!("n{number}"));
    }
}

#[tokio::test]
async fn an_own_change_is_told_before_the_call_returns() {
    let folder = folder();
    let registry = registry(&folder.path().join("registry")).await;
    let mut watcher = registry.watch(WatchOptions::default()).await.unwrap();
    let record = contract::service("demo.a", "1", &["n1"]);
    registry.register(&record, RegisterOptions::default()).await.unwrap();
    assert_eq!(watcher.try_next().unwrap().service.name, "demo.a");
}

#[tokio::test]
async fn a_watcher_that_starts_later_hears_nothing_of_before() {
    let folder = folder();
    let registry = registry(&folder.path().join("registry")).await;
    let [a, b, c] = ["demo.a", "demo.b", "demo.c"].map(|n| contract::service(n, "1", &["n1"]));
    drop(registry.watch(WatchOptions::default()).await.unwrap());
    registry.register(&a, RegisterOptions::default()).await.unwrap();
    registry.register(&b, RegisterOptions::default()).await.unwrap();
    let mut watcher = registry.watch(WatchOptions::default()).await.unwrap();
    registry.register(&c, RegisterOptions::default()).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().service.name, "demo.c");
}

#[tokio::test]
async fn a_steady_stream_of_renewals_does_not_hide_what_other_processes_do() {
    let folder = folder();
    let path = folder.path().join("registry");
    let (one, other) = (registry(&path).await, registry(&path).await);
    let renewed = contract::service("demo.a", "1", &["n1"]);
    one.register(&renewed, RegisterOptions::default()).await.unwrap();
    let mut watcher = one.watch(WatchOptions::default()).await.unwrap();
    let record = contract::service("demo.b", "1", &["n1"]);
    other.register(&record, RegisterOptions::default()).await.unwrap();
    let event = loop {
        one.register(&renewed, RegisterOptions::default()).await.unwrap();
        if let Some(event) = watcher.try_next() {
            break event;
        }
    };
    assert_eq!(event.service.name, "demo.b");
}

#[tokio::test]
async fn dropping_the_registry_ends_its_watches() {
    let folder = folder();
    let registry = registry(&folder.path().join("registry")).await;
    let mut watcher = registry.watch(WatchOptions::default()).await.unwrap();
    drop(registry);
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn a_watch_ends_when_changes_were_removed_before_they_were_seen() {
    let folder = folder();
    let path = folder.path().join("registry");
    let registry = registry(&path).await;
    let record = contract::service("demo.a", "1", &["n1"]);
    let mut watcher = registry.watch(WatchOptions::default()).await.unwrap();
    // What a process does that makes more changes between two looks than are kept.
    let other = rusqlite::Connection::open(&path).unwrap();
    let body = serde_json::to_string(&record).unwrap();
    other.execute("INSERT INTO change (number, action, body) VALUES (90000, 'create', ?1)", [body]).unwrap();
    assert_eq!(watcher.next().await, None);

    let mut again = registry.watch(WatchOptions::default()).await.unwrap();
    registry.register(&record, RegisterOptions::default()).await.unwrap();
    assert_eq!(again.next().await.unwrap().service.name, "demo.a");
}

#[tokio::test]
async fn old_changes_are_removed() {
    let folder = folder();
    let path = folder.path().join("registry");
    let registry = registry(&path).await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("INSERT INTO change VALUES (1, 'create', '{}'), (1048575, 'create', '{}')").unwrap();
    let record = contract::service("demo.a", "1", &["n1"]);
    registry.register(&record, RegisterOptions::default()).await.unwrap();
    let left: i64 = other.query_row("SELECT count(*) FROM change", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 2);
}

async fn refusal(path: &Path) -> String {
    let error = Sqlite::open(path).await.err().unwrap();
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text} names the file");
    text
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let folder = folder();
    let path = folder.path().join("registry");
    drop(registry(&path).await);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", 7).unwrap();
    drop(other);
    let text = refusal(&path).await;
    assert!(text.contains("layout 7") && text.contains("newer program"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_something_else_is_refused_and_left_alone() {
    let folder = folder();
    let text_file = folder.path().join("notes.txt");
    let written = "certainly no database at all\n".repeat(100);
    std::fs::write(&text_file, &written).unwrap();
    assert!(refusal(&text_file).await.contains("not a database"));
    assert_eq!(std::fs::read_to_string(&text_file).unwrap(), written);

    let database = folder.path().join("other");
    let other = rusqlite::Connection::open(&database).unwrap();
    other.execute_batch("CREATE TABLE thing (x)").unwrap();
    assert!(refusal(&database).await.contains("something else"));
    // The mode would stay with the file.
    let mode: String = other.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    refusal(&folder.path().join("missing").join("registry")).await;
}

#[tokio::test]
async fn a_record_that_was_damaged_is_an_error_and_no_panic() {
    let folder = folder();
    let path = folder.path().join("registry");
    let registry = registry(&path).await;
    let record = contract::service("demo.a", "1", &["n1"]);
    registry.register(&record, RegisterOptions::default()).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("UPDATE record SET body = '{broken'", []).unwrap();
    let error = registry.get("demo.a").await.unwrap_err().to_string();
    assert!(error.starts_with("sqlite registry: get demo.a: a record in the file"), "{error}");
}

/// The bound is far above what it takes (about 0.7 s), to hold on a busy machine; it catches a sync
/// to disk per registration, which takes minutes.
#[tokio::test]
async fn ten_thousand_services_register_quickly() {
    let folder = folder();
    let registry = registry(&folder.path().join("registry")).await;
    let mut watcher = registry.watch(WatchOptions::default()).await.unwrap();
    let started = Instant::now();
    for number in 0..10_000 {
        let record = contract::service(&format!("demo.s{number}"), "1", &["n1"]);
        registry.register(&record, RegisterOptions::default()).await.unwrap();
    }
    let took = started.elapsed();
    println!("10,000 registrations: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(registry.list().await.unwrap().len(), 10_000);
    let told = std::iter::from_fn(|| watcher.try_next()).count();
    assert_eq!(told, 10_000);
}

#[derive(Clone, Debug)]
enum Step {
    Register { name: usize, version: usize, nodes: Vec<(usize, u16)>, label: bool },
    Deregister { name: usize, version: usize, nodes: Vec<usize> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..3_usize;
    let register = (0..2_usize, 0..2_usize, prop::collection::vec((node(), 1..3_u16), 1..3), any::<bool>())
        .prop_map(|(name, version, nodes, label)| Step::Register { name, version, nodes, label });
    let deregister = (0..2_usize, 0..2_usize, prop::collection::vec(node(), 0..3))
        .prop_map(|(name, version, nodes)| Step::Deregister { name, version, nodes });
    prop::collection::vec(prop_oneof![register, deregister], 1..25)
}

impl Step {
    async fn take(&self, registry: &dyn Registry) {
        match self {
            Self::Register { name, version, nodes, label } => {
                let ids: Vec<_> = nodes.iter().map(|(id, _)| format!("n{id}")).collect();
                let ids: Vec<_> = ids.iter().map(String::as_str).collect();
                let mut record = contract::service(&format!("s{name}"), &format!("{version}"), &ids);
                for (node, (_, port)) in record.nodes.iter_mut().zip(nodes) {
                    node.address = format!("127.0.0.1:{port}");
                }
                record.metadata = BTreeMap::from([("label".into(), label.to_string())]);
                registry.register(&record, RegisterOptions::default()).await.unwrap();
            }
            Self::Deregister { name, version, nodes } => {
                let ids: Vec<_> = nodes.iter().map(|id| format!("n{id}")).collect();
                let ids: Vec<_> = ids.iter().map(String::as_str).collect();
                let record = contract::service(&format!("s{name}"), &format!("{version}"), &ids);
                registry.deregister(&record).await.unwrap();
            }
        }
    }
}

async fn outcome(registry: &dyn Registry, steps: &[Step]) -> (Vec<Service>, Vec<Event>) {
    let mut watcher = registry.watch(WatchOptions::default()).await.unwrap();
    for step in steps {
        step.take(registry).await;
    }
    let events = std::iter::from_fn(|| watcher.try_next()).collect();
    (registry.list().await.unwrap(), events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_whatever_the_memory_registry_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let folder = folder();
            let memory = outcome(&Memory::new(), &steps).await;
            let sqlite = outcome(&*registry(&folder.path().join("registry")).await, &steps).await;
            assert_eq!(memory, sqlite);
        });
    }
}
