use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::timeout;

use super::*;
use crate::broker::contract::{next, text, text_of};
use crate::broker::{Group as Sharing, contract};
use crate::store::contract::Hand;

#[path = "sqlite_crash_tests.rs"]
mod crash;
#[path = "sqlite_group_tests.rs"]
mod groups;
#[path = "sqlite_room_tests.rs"]
mod room;

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that goes away with the broker in it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

async fn broker(path: &Path) -> Sqlite {
    Sqlite::open(path, Limits::default(), Clock::default()).await.unwrap()
}

async fn publish(broker: &Sqlite, topic: &str, text: &str) {
    broker.publish(topic, Message::new(text.to_owned()), PublishOptions::default()).await.unwrap();
}

async fn subscribe(broker: &Sqlite, pattern: &str, group: Option<Sharing>, from: Position) -> Subscription {
    let options = SubscribeOptions { group, from, prefetch: 8 };
    broker.subscribe(&Pattern::new(pattern).unwrap(), options).await.unwrap()
}

async fn lag(broker: &Sqlite, topic: &str) -> Vec<u64> {
    broker.groups(topic).await.unwrap().iter().map(|group| group.lag).collect()
}

async fn keep_the_contract() {
    let folder = folder();
    let path = folder.path().join("broker");
    contract::all(async || Arc::new(broker(&path).await) as Arc<dyn Broker>).await;
}

#[tokio::test]
async fn keeps_the_contract() {
    keep_the_contract().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_on_many_threads() {
    keep_the_contract().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_far_behind_reads_everything_in_order() {
    let folder = folder();
    let path = folder.path().join("broker");
    let first = broker(&path).await;
    drop(subscribe(&first, "log", Some(Sharing::durable("g")), Position::Latest).await);
    for number in 0..1_000 {
        publish(&first, "log", &number.to_string()).await;
    }
    first.close().await.unwrap();

    // Nothing is at hand after it was opened again, and more is published while the old messages are read.
    let second = broker(&path).await;
    let mut group = subscribe(&second, "log", Some(Sharing::durable("g")), Position::Latest).await;
    let (_, came) = tokio::join!(
        async {
            for number in 1_000..1_500 {
                publish(&second, "log", &number.to_string()).await;
            }
        },
        async {
            let mut came = Vec::new();
            while came.len() < 1_500 {
                came.push(text_of(&mut group).await.parse::<u64>().unwrap());
            }
            came
        }
    );
    assert!(came.into_iter().eq(0..1_500));
    assert_eq!(lag(&second, "log").await, [0]);
    assert!(group.try_next().is_none());
}

#[tokio::test]
async fn what_is_given_back_comes_before_what_is_later() {
    let folder = folder();
    let path = folder.path().join("broker");
    let first = broker(&path).await;
    let mut group = subscribe(&first, "a", Some(Sharing::durable("g")), Position::Latest).await;
    for number in 0..12 {
        publish(&first, "a", &number.to_string()).await;
    }
    let held = [next(&mut group).await, next(&mut group).await, next(&mut group).await, next(&mut group).await];
    let [zero, one, two, three] = held;
    one.ack();
    three.ack();
    drop((zero, two));
    drop(group);
    let mut group = subscribe(&first, "a", Some(Sharing::durable("g")), Position::Latest).await;
    let again = next(&mut group).await;
    assert_eq!(text(&again), "0");
    assert!(again.attempt >= 2, "{}", again.attempt);
    assert_eq!(text_of(&mut group).await, "2");
    assert_eq!(text_of(&mut group).await, "4");
    drop((again, group));
    first.close().await.unwrap();

    let second = broker(&path).await;
    assert_eq!(lag(&second, "a").await, [8]);
    let mut group = subscribe(&second, "a", Some(Sharing::durable("g")), Position::Latest).await;
    for number in [0, 5, 6, 7, 8, 9, 10, 11] {
        assert_eq!(text_of(&mut group).await, number.to_string());
    }
}

#[tokio::test]
async fn a_message_for_later_comes_once_and_also_after_a_restart() {
    let folder = folder();
    let path = folder.path().join("broker");
    let hand = Hand::default();
    let open = async || Sqlite::open(&path, Limits::default(), hand.clock()).await.unwrap();
    let first = open().await;
    let mut group = subscribe(&first, "later", Some(Sharing::durable("g")), Position::Latest).await;
    for (text, wait) in [("third", 90), ("first", 30), ("second", 60)] {
        let at = hand.clock().after(Duration::from_secs(wait));
        let options = PublishOptions { deliver_at: Some(at), ..PublishOptions::default() };
        first.publish("later", Message::new(text), options).await.unwrap();
    }
    hand.advance(Duration::from_secs(30));
    assert_eq!(text_of(&mut group).await, "first");
    assert!(first.read("later", Position::Offset(2), 9).await.unwrap().is_empty());
    drop(group);
    first.close().await.unwrap();
    hand.advance(Duration::from_secs(60));

    let second = open().await;
    let mut group = subscribe(&second, "later", Some(Sharing::durable("g")), Position::Latest).await;
    assert_eq!(text_of(&mut group).await, "second");
    assert_eq!(text_of(&mut group).await, "third");
    second.close().await.unwrap();
    let third = open().await;
    assert_eq!(third.read("later", Position::Earliest, 9).await.unwrap().len(), 3);
    assert_eq!(lag(&third, "later").await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_finds_many_topics_and_new_ones() {
    let folder = folder();
    let broker = broker(&folder.path().join("broker")).await;
    for number in 0..100 {
        publish(&broker, &format!("many.{number}"), "old").await;
    }
    let mut group = subscribe(&broker, "many.*", Some(Sharing::durable("g")), Position::Earliest).await;
    for number in 100..200 {
        publish(&broker, &format!("many.{number}"), "new").await;
        publish(&broker, &format!("other.{number}"), "other").await;
    }
    let mut found = BTreeSet::new();
    while found.len() < 200 {
        let delivery = next(&mut group).await;
        assert!(found.insert(delivery.topic.to_string()), "{} came twice", delivery.topic);
        delivery.ack();
    }
    assert!(found.iter().all(|topic| topic.starts_with("many.")));
    assert_eq!(broker.topics().await.unwrap().len(), 300);
}

#[tokio::test]
async fn a_place_can_be_a_time() {
    let folder = folder();
    let hand = Hand::default();
    let broker = Sqlite::open(folder.path().join("broker"), Limits::default(), hand.clock()).await.unwrap();
    let mut times = Vec::new();
    for number in 0..20 {
        times.push(hand.clock().now());
        publish(&broker, "time", &number.to_string()).await;
        hand.advance(Duration::from_secs(10));
    }
    broker.remove(Remove::Message("time", 8)).await.unwrap();
    for (at, expected) in [(times[5], 6), (times[5] + 1, 7), (times[7], 9), (0, 1), (times[19], 20)] {
        let stored = broker.read("time", Position::Time(at), 1).await.unwrap();
        assert_eq!(stored[0].offset, expected);
    }
    let group = Some(Sharing::durable("g"));
    let mut late = subscribe(&broker, "time", group, Position::Time(times[17])).await;
    assert_eq!(text_of(&mut late).await, "17");
    broker.seek(&Pattern::new("time").unwrap(), "g", Position::Time(times[10])).await.unwrap();
    while text_of(&mut late).await != "10" {}
    assert_eq!(text_of(&mut late).await, "11");
    let unknown = broker.seek(&Pattern::new("time").unwrap(), "nobody", Position::Latest).await;
    assert!(unknown.unwrap_err().to_string().contains("group nobody of pattern time not found"));
}

#[tokio::test]
async fn a_removed_topic_leaves_the_file_and_its_offsets_are_not_given_again() {
    let folder = folder();
    let path = folder.path().join("broker");
    let first = broker(&path).await;
    let mut group = subscribe(&first, "gone", Some(Sharing::durable("g")), Position::Latest).await;
    for number in 0..600 {
        publish(&first, "gone", &number.to_string()).await;
    }
    let held = next(&mut group).await;
    assert!(first.remove(Remove::Topic("gone")).await.unwrap());
    assert!(!first.remove(Remove::Topic("gone")).await.unwrap());
    held.ack();
    publish(&first, "gone", "new").await;
    while next(&mut group).await.offset != Some(601) {}
    first.close().await.unwrap();
    let second = broker(&path).await;
    let usage = second.topics().await.unwrap();
    assert_eq!((usage[0].messages, usage[0].bytes, usage[0].first, usage[0].next), (1, 3, 601, 602));
    let file = Connection::open(&path).unwrap();
    let rows = || file.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, u64>(0)).unwrap();
    timeout(PATIENCE, async {
        while rows() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the messages of the removed topic leave the file");
}

#[tokio::test]
async fn the_file_of_a_newer_program_or_of_something_else_is_refused() {
    let folder = folder();
    let refusal =
        async |path: &Path| Sqlite::open(path, Limits::default(), Clock::default()).await.err().unwrap().to_string();
    let path = folder.path().join("broker");
    broker(&path).await.close().await.unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refusal(&path).await;
    assert!(error.contains("layout 99, this program knows 1: use the newer program"), "{error}");
    assert!(error.contains(&path.display().to_string()), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let other = folder.path().join("other");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE other (id INTEGER)").unwrap();
    let error = refusal(&other).await;
    assert!(error.contains("a database of something else, choose another path"), "{error}");
    let error = refusal(&folder.path().join("missing/broker")).await;
    assert!(error.starts_with("open broker "), "{error}");
}

#[tokio::test]
async fn a_closed_broker_leaves_nothing_beside_its_file() {
    let folder = folder();
    let broker = broker(&folder.path().join("broker")).await;
    publish(&broker, "a", "1").await;
    broker.close().await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["broker"]);
}

#[tokio::test]
async fn a_passing_group_becomes_durable_with_the_first_who_wants_that() {
    let folder = folder();
    let path = folder.path().join("broker");
    let first = broker(&path).await;
    let mut passing = subscribe(&first, "a", Some(Sharing::passing("g")), Position::Latest).await;
    publish(&first, "a", "1").await;
    publish(&first, "a", "2").await;
    assert_eq!(text_of(&mut passing).await, "1");
    drop(subscribe(&first, "a", Some(Sharing::durable("g")), Position::Latest).await);
    drop(passing);
    first.close().await.unwrap();
    let second = broker(&path).await;
    let mut group = subscribe(&second, "a", Some(Sharing::durable("g")), Position::Latest).await;
    assert_eq!(text_of(&mut group).await, "2");
}
