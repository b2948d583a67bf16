use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use tokio::sync::oneshot::Receiver;

use super::*;
use crate::store::memory::Memory;
use crate::store::{OpenOptions, contract};

/// A folder that goes away with the store in it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

async fn store(path: &Path) -> Sqlite {
    Sqlite::open(path, Limits::default(), Clock::default()).await.unwrap()
}

async fn put(store: &dyn Store, name: &str, key: &str) -> u64 {
    store.put(name, key, Bytes::from_static(b"value"), PutOptions::default()).await.unwrap()
}

async fn refusal(path: &Path) -> String {
    Sqlite::open(path, Limits::default(), Clock::default()).await.err().unwrap().to_string()
}

async fn keep_the_contract() {
    let folder = folder();
    let made = Cell::new(0);
    contract::all(async |options: OpenOptions| {
        made.set(made.get() + 1);
        let path = folder.path().join(format!("store-{}", made.get()));
        Arc::new(Sqlite::open(path, options.limits, options.clock).await.unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn keeps_the_contract() {
    keep_the_contract().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_on_many_threads() {
    keep_the_contract().await;
}

#[tokio::test]
async fn a_reopened_store_has_everything() {
    let folder = folder();
    let path = folder.path().join("store");
    let hand = contract::Hand::default();
    let open = async || Sqlite::open(&path, Limits::default(), hand.clock()).await.unwrap();
    let first = open().await;
    put(&first, "a", "kept").await;
    put(&first, "a", "deleted").await;
    put(&first, "removed", "key").await;
    put(&first, "removed", "key").await;
    let brief = PutOptions::with_ttl(Duration::from_secs(60));
    first.put("a", "brief", Bytes::new(), brief).await.unwrap();
    first.delete("a", "deleted").await.unwrap();
    first.remove_store("removed").await.unwrap();
    first.close().await.unwrap();

    let second = open().await;
    let kept = Entry { key: "kept".to_owned(), value: Bytes::from_static(b"value"), version: 1 };
    assert_eq!(second.get("a", "kept").await.unwrap(), Some(kept));
    assert_eq!(second.keys("a", KeyQuery::default()).await.unwrap(), ["brief", "kept"]);
    assert_eq!(put(&second, "a", "deleted").await, 4);
    assert_eq!(put(&second, "removed", "key").await, 3);
    hand.advance(Duration::from_secs(60));
    drop(second);

    let third = open().await;
    assert_eq!(third.keys("a", KeyQuery::default()).await.unwrap(), ["deleted", "kept"]);
    let usage: Vec<_> = third.stores().await.unwrap().into_iter().map(|usage| (usage.name, usage.bytes)).collect();
    assert_eq!(usage, [("a".to_owned(), 21), ("removed".to_owned(), 8)]);
}

#[tokio::test]
async fn a_closed_store_leaves_nothing_beside_its_file() {
    let folder = folder();
    let store = store(&folder.path().join("store")).await;
    put(&store, "a", "key").await;
    store.close().await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["store"]);
}

#[tokio::test]
async fn what_was_acknowledged_is_on_disk_when_the_process_dies() {
    let folder = folder();
    let store = store(&folder.path().join("store")).await;
    for number in 0..50 {
        put(&store, "a", &format!("{number:02}")).await;
    }
    // What lies on the disk at this moment is all that a killed process leaves.
    for suffix in ["", "-wal"] {
        let [from, to] = ["store", "copy"].map(|name| folder.path().join(format!("{name}{suffix}")));
        std::fs::copy(from, to).unwrap();
    }
    let copy = self::store(&folder.path().join("copy")).await;
    assert_eq!(copy.keys("a", KeyQuery::default()).await.unwrap().len(), 50);
    assert_eq!(put(&copy, "a", "next").await, 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_dropped_under_load_keeps_what_it_acknowledged() {
    let folder = folder();
    let path = folder.path().join("store");
    let first = Arc::new(store(&path).await);
    let (acknowledged, mut keys) = mpsc::channel(8);
    let putters: Vec<_> = (0..16)
        .map(|putter| {
            let (store, acknowledged) = (Arc::clone(&first), acknowledged.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    let key = format!("{putter}-{number}");
                    put(&*store, "a", &key).await;
                    acknowledged.send(key).await.unwrap();
                }
            })
        })
        .collect();
    let mut kept = Vec::new();
    while kept.len() < 200 {
        kept.push(keys.recv().await.unwrap());
    }
    putters.iter().for_each(tokio::task::JoinHandle::abort);
    drop((first, acknowledged));
    while let Some(key) = keys.recv().await {
        kept.push(key);
    }
    let second = store(&path).await;
    for key in kept {
        assert!(second.get("a", &key).await.unwrap().is_some(), "{key}");
    }
}

#[tokio::test]
async fn the_file_of_a_newer_program_is_refused_and_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join("store");
    store(&path).await.close().await.unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let text = refusal(&path).await;
    assert!(text.contains("layout 99, this program knows 1: use the newer program"), "{text}");
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_something_else_is_refused() {
    let folder = folder();
    let path = folder.path().join("other");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (id INTEGER)").unwrap();
    let text = refusal(&path).await;
    assert!(text.contains("a database of something else, choose another path"), "{text}");
    let path = folder.path().join("text");
    std::fs::write(&path, "no database at all, and long enough to be looked at".repeat(100)).unwrap();
    let text = refusal(&path).await;
    assert!(text.contains("not a database"), "{text}");
    let text = refusal(&folder.path().join("missing/store")).await;
    assert!(text.starts_with("open store "), "{text}");
}

/// A writer without its thread.
fn writer(path: &Path, clock: Clock) -> Writer {
    Writer::new(Tables::open(path).unwrap(), Limits::default(), clock)
}

fn change<T>(job: impl FnOnce(Answer<T>) -> Job) -> (Job, Receiver<Result<T, StoreError>>) {
    let (asker, answer) = oneshot::channel();
    (job(Answer::new(asker)), answer)
}

fn putting(key: &str, size: usize, if_version: Option<u64>) -> (Job, Receiver<Result<u64, StoreError>>) {
    let value = Bytes::from(vec![1; size]);
    let at = Place { store: "a".to_owned(), key: key.to_owned() };
    change(|answer| Job::Put(Put { at, value, expires: None, if_version }, answer))
}

#[tokio::test]
async fn a_conflict_does_not_undo_what_shares_its_transaction() {
    let folder = folder();
    let mut writer = writer(&folder.path().join("store"), Clock::default());
    let (first, first_answer) = putting("one", 1, Some(0));
    let (second, second_answer) = putting("one", 1, Some(0));
    let (third, third_answer) = putting("one", 1, Some(1));
    writer.settle(vec![first, second, third]);
    assert_eq!(first_answer.await.unwrap(), Ok(1));
    assert_eq!(second_answer.await.unwrap(), Err(StoreError::Conflict { version: 1 }));
    assert_eq!(third_answer.await.unwrap(), Ok(2));
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_loses_nothing() {
    let folder = folder();
    let path = folder.path().join("store");
    let mut writer = writer(&path, Clock::default());
    writer.tables.connection.pragma_update(None, "max_page_count", 64).unwrap();
    let (first, first_answer) = putting("first", 1_000, None);
    writer.settle(vec![first]);
    assert_eq!(first_answer.await.unwrap(), Ok(1));

    let (before, before_answer) = putting("before", 1_000, None);
    let (large, large_answer) = putting("large", 500_000, None);
    let (after, after_answer) = putting("after", 1_000, None);
    writer.settle(vec![before, large, after]);
    assert_eq!(before_answer.await.unwrap(), Ok(2));
    let Err(StoreError::Unavailable(text)) = large_answer.await.unwrap() else { panic!("there is no room for it") };
    assert!(text.contains("full") && text.contains("free room"), "{text}");
    assert_eq!(after_answer.await.unwrap(), Ok(3));

    drop(writer);
    let store = store(&path).await;
    assert_eq!(store.keys("a", KeyQuery::default()).await.unwrap(), ["after", "before", "first"]);
}

#[tokio::test]
async fn what_is_absent_leaves_the_file_bit_by_bit() {
    let folder = folder();
    let hand = contract::Hand::default();
    let mut writer = writer(&folder.path().join("store"), hand.clock());
    let expires = hand.clock().after(Duration::from_secs(1));
    let name = |number: u32| if number.is_multiple_of(2) { "expiring" } else { "removed" };
    let puts = (0..1_200).map(|number| {
        let at = Place { store: name(number).to_owned(), key: number.to_string() };
        let expires = number.is_multiple_of(2).then_some(expires);
        change(|answer| Job::Put(Put { at, value: Bytes::from_static(b"1"), expires, if_version: None }, answer)).0
    });
    writer.settle(puts.collect());
    let (remove, removed) = change(|answer| Job::RemoveStore { store: "removed".to_owned(), answer });
    writer.settle(vec![remove]);
    assert_eq!(removed.await.unwrap(), Ok(true));
    hand.advance(Duration::from_secs(1));
    let mut sweeps = 0;
    while writer.sweep().unwrap() {
        sweeps += 1;
    }
    assert!(sweeps >= 2, "no sweep takes all");
    let count = |sql: &str| writer.tables.connection.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM entry"), 0);
    assert_eq!(count("SELECT count(*) FROM store"), 1, "the one that was not removed");
    assert_eq!(count("SELECT sum(entries + bytes) FROM store"), 0);
}

/// What a caller may do, over few enough names that it meets itself.
#[derive(Clone, Debug)]
enum Step {
    Put { store: &'static str, key: String, size: usize, ttl: Option<u64>, if_version: Option<u64> },
    Delete { store: &'static str, key: String },
    List { store: &'static str, query: KeyQuery },
    Remove(&'static str),
    Wait(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let store = || prop::sample::select(vec!["a", "b"]);
    let key = || prop::sample::select(vec!["a", "a\0", "a%", "ab", "ä", "b"]).prop_map(str::to_owned);
    let text = || prop_oneof![Just(String::new()), key(), "[a-bä%]{0,2}"];
    let ttl = || prop::option::of(0..4_u64);
    let put = (store(), key(), 0..12_usize, ttl(), prop::option::weighted(0.3, 0..8_u64))
        .prop_map(|(store, key, size, ttl, if_version)| Step::Put { store, key, size, ttl, if_version });
    let list = (store(), text(), text(), 0..5_u32)
        .prop_map(|(store, prefix, after, limit)| Step::List { store, query: KeyQuery { prefix, after, limit } });
    prop_oneof![
        12 => put,
        4 => (store(), key()).prop_map(|(store, key)| Step::Delete { store, key }),
        6 => list,
        1 => store().prop_map(Step::Remove),
        4 => (1..3_u64).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ]
}

/// What is seen of a step, as text that can be compared.
async fn outcome(store: &dyn Store, step: &Step) -> String {
    match step.clone() {
        Step::Put { store: name, key, size, ttl, if_version } => {
            let options = PutOptions { ttl: ttl.map(Duration::from_millis), if_version };
            format!("{:?}", store.put(name, &key, vec![b'x'; size].into(), options).await)
        }
        Step::Delete { store: name, key } => format!("{:?}", store.delete(name, &key).await),
        Step::List { store: name, query } => format!("{:?}", store.keys(name, query).await),
        Step::Remove(name) => format!("{:?}", store.remove_store(name).await),
        Step::Wait(_) | Step::Reopen => String::new(),
    }
}

/// Everything that can be read.
async fn content(store: &dyn Store) -> Vec<String> {
    let mut content = vec![format!("{:?}", store.stores().await)];
    for name in ["a", "b"] {
        for key in store.keys(name, KeyQuery::default()).await.unwrap() {
            content.push(format!("{name} {:?}", store.get(name, &key).await));
        }
    }
    content
}

async fn behaves_as_memory(steps: Vec<Step>) {
    let folder = folder();
    let path = folder.path().join("store");
    let hand = contract::Hand::default();
    let limits = Limits { store_bytes: 40, store_entries: 4 };
    let open = async || Sqlite::open(&path, limits, hand.clock()).await.unwrap();
    let memory = Memory::new(limits, hand.clock());
    let mut sqlite = open().await;
    for step in steps {
        match step {
            Step::Wait(millis) => hand.advance(Duration::from_millis(millis)),
            Step::Reopen => sqlite = open().await,
            _ => assert_eq!(outcome(&sqlite, &step).await, outcome(&memory, &step).await, "{step:?}"),
        }
        assert_eq!(content(&sqlite).await, content(&memory).await, "after {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn does_what_memory_does(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(behaves_as_memory(steps));
    }
}
