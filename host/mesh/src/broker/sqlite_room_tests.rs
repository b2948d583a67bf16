//! What is kept, and what is not when there is no room.

use super::*;

fn limits(max_bytes: u64) -> Limits {
    Limits { max_bytes, max_age: Duration::from_secs(60) }
}

async fn refused(broker: &Sqlite, topic: &str, size: usize, patience: Duration) -> String {
    let options = PublishOptions { patience, ..PublishOptions::default() };
    match broker.publish(topic, Message::new(vec![0; size]), options).await {
        Err(BrokerError::Full(text)) => text,
        other => panic!("there is no room: {other:?}"),
    }
}

async fn kept(broker: &Sqlite, topic: &str) -> Vec<u64> {
    let stored = broker.read(topic, Position::Earliest, 10_000).await.unwrap();
    stored.iter().map(|stored| stored.offset).collect()
}

#[tokio::test]
async fn old_messages_go_when_all_groups_have_them() {
    let folder = folder();
    let hand = Hand::default();
    let broker = Sqlite::open(folder.path().join("broker"), limits(1 << 20), hand.clock()).await.unwrap();
    let mut group = subscribe(&broker, "a", Some(Sharing::durable("g")), Position::Latest).await;
    for number in 0..6 {
        publish(&broker, "a", &number.to_string()).await;
        publish(&broker, "nobodys", &number.to_string()).await;
    }
    for _ in 0..4 {
        text_of(&mut group).await;
    }
    hand.advance(Duration::from_secs(61));
    publish(&broker, "a", "new").await;
    publish(&broker, "nobodys", "new").await;
    timeout(PATIENCE, async {
        while kept(&broker, "a").await != [5, 6, 7] || kept(&broker, "nobodys").await != [7] {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("what is old and acknowledged goes, and the rest stays");
    let usage = broker.topics().await.unwrap();
    assert_eq!((usage[0].first, usage[0].messages, usage[0].bytes), (5, 3, 5));
    assert_eq!(lag(&broker, "a").await, [3]);
}

#[tokio::test]
async fn what_is_acknowledged_makes_room_and_nothing_else_does() {
    let folder = folder();
    let path = folder.path().join("broker");
    let broker = Sqlite::open(&path, limits(10_000), Clock::default()).await.unwrap();
    let mut group = subscribe(&broker, "a", Some(Sharing::durable("slow")), Position::Latest).await;
    publish(&broker, "free", &"x".repeat(4_000)).await;
    for _ in 0..10 {
        publish(&broker, "a", &"x".repeat(900)).await;
    }
    assert!(kept(&broker, "free").await.is_empty(), "what nobody wants goes first");
    let text = refused(&broker, "a", 2_000, Duration::ZERO).await;
    assert!(text.contains("topic a: no room for a message of 2000 bytes"), "{text}");
    assert!(text.contains("group slow has yet to acknowledge 10 messages of topic a"), "{text}");
    refused(&broker, "a", 2_000, Duration::from_millis(20)).await;
    let options = PublishOptions { patience: PATIENCE, ..PublishOptions::default() };
    let (published, ()) = tokio::join!(broker.publish("a", Message::new(vec![0; 2_000]), options), async {
        text_of(&mut group).await;
        text_of(&mut group).await;
    });
    published.unwrap();
    assert!(!kept(&broker, "a").await.contains(&1));
    assert!(kept(&broker, "a").await.contains(&3), "what is not acknowledged stays");
    drop(group);
    broker.remove(Remove::Group(&Pattern::new("a").unwrap(), "slow")).await.unwrap();
    publish(&broker, "a", &"x".repeat(9_000)).await;
    let text = refused(&broker, "a", 20_000, Duration::ZERO).await;
    assert!(text.contains("let the broker keep more"), "{text}");
}

#[tokio::test]
async fn who_waits_for_room_is_told_when_the_broker_closes() {
    let folder = folder();
    let broker = Sqlite::open(folder.path().join("broker"), limits(1_000), Clock::default()).await.unwrap();
    let options = PublishOptions { patience: PATIENCE * 100, ..PublishOptions::default() };
    let publish = broker.publish("a", Message::new(vec![0; 2_000]), options);
    let (published, closed) = tokio::join!(timeout(PATIENCE, publish), async {
        // Answered after what was published before, for which there is no room.
        broker.seek(&Pattern::new("a").unwrap(), "g", Position::Latest).await.unwrap_err();
        broker.close().await
    });
    closed.unwrap();
    assert!(matches!(published, Ok(Err(BrokerError::Unavailable(_)))), "{published:?}");
}

#[tokio::test]
async fn the_file_does_not_grow_for_ever() {
    let folder = folder();
    let path = folder.path().join("broker");
    let broker = Sqlite::open(&path, limits(100_000), Clock::default()).await.unwrap();
    let mut group = subscribe(&broker, "a", Some(Sharing::durable("g")), Position::Latest).await;
    for _ in 0..1_500 {
        publish(&broker, "a", &"x".repeat(1_000)).await;
        text_of(&mut group).await;
    }
    drop(group);
    broker.close().await.unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 600_000, "1.5 MB went through, 100 kB may stay: {size}");
}

/// A writer without its thread.
fn writer(path: &Path, clock: Clock) -> Writer {
    let connection = tables::open(path).unwrap();
    let shared = Arc::new(Shared::new(Readers::open("broker", path, READERS).unwrap(), Handle::current()));
    Writer::new(connection, shared, Limits::default(), clock).unwrap()
}

/// A message for topic `a` as the writer gets it.
fn request(size: usize, due: Option<u64>) -> (Request, oneshot::Receiver<Result<(), BrokerError>>) {
    let (answer, answered) = oneshot::channel();
    let body = Bytes::from(vec![1; size]);
    (Request::Publish(Publish { topic: "a".into(), header: Bytes::new(), body, due, answer }), answered)
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_loses_nothing() {
    let folder = folder();
    let path = folder.path().join("broker");
    let mut writer = writer(&path, Clock::default());
    let pages: u64 = writer.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    writer.connection.pragma_update(None, "max_page_count", pages + 20).unwrap();
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    for size in [1_000, 500_000, 1_000] {
        let (request, answered) = request(size, None);
        requests.push(request);
        answers.push(answered);
    }
    assert!(writer.work(&mut requests).is_none());
    let [first, large, last] = <[_; 3]>::try_from(answers).unwrap();
    assert_eq!(first.await.unwrap(), Ok(()));
    let Err(BrokerError::Unavailable(text)) = large.await.unwrap() else { panic!("there is no room for it") };
    assert!(text.contains("full") && text.contains("free room"), "{text}");
    assert_eq!(last.await.unwrap(), Ok(()));
    drop(writer);
    assert_eq!(kept(&broker(&path).await, "a").await, [1, 2]);
}

#[tokio::test]
async fn due_messages_that_cannot_be_written_keep_no_others_out() {
    let folder = folder();
    let path = folder.path().join("broker");
    let hand = Hand::default();
    let mut writer = writer(&path, hand.clock());
    let (later, put_down) = request(10_000, Some(hand.clock().after(Duration::from_secs(1))));
    assert!(writer.work(&mut vec![later]).is_none());
    put_down.await.unwrap().unwrap();
    // As if the disk had no room for the large one.
    let full = "CREATE TRIGGER full BEFORE INSERT ON message WHEN length(new.body) > 9000
                BEGIN SELECT raise(ABORT, 'no room'); END";
    writer.connection.execute_batch(full).unwrap();
    hand.advance(Duration::from_secs(1));
    for _ in 0..2 {
        let (one, answered) = request(10, None);
        assert!(writer.work(&mut vec![one]).is_none());
        assert_eq!(answered.await.unwrap(), Ok(()), "one alone");
        let ((one, first), (other, second)) = (request(10, None), request(10, None));
        assert!(writer.work(&mut vec![one, other]).is_none());
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())), "two together");
    }
    drop(writer);
    Connection::open(&path).unwrap().execute_batch("DROP TRIGGER full").unwrap();
    let broker = Sqlite::open(&path, Limits::default(), hand.clock()).await.unwrap();
    let mut group = subscribe(&broker, "a", None, Position::Offset(7)).await;
    assert_eq!(next(&mut group).await.message.body.len(), 10_000, "it comes when there is room");
}

#[tokio::test]
async fn large_messages_that_are_due_at_once_are_no_larger_transaction_than_others() {
    let folder = folder();
    let path = folder.path().join("broker");
    let hand = Hand::default();
    let mut writer = writer(&path, hand.clock());
    let at = hand.clock().after(Duration::from_secs(1));
    let requests = (0..9).map(|_| request(1_024 * 1_024, Some(at)));
    let (mut requests, answers): (Vec<_>, Vec<_>) = requests.unzip();
    assert!(writer.work(&mut requests).is_none());
    for answered in answers {
        answered.await.unwrap().unwrap();
    }
    hand.advance(Duration::from_secs(1));
    let mut came = Vec::new();
    while writer.next_due.is_some() {
        assert!(writer.work(&mut Vec::new()).is_none());
        came.push(writer.shared.topic("a").unwrap().usage().messages);
    }
    assert_eq!(came, [4, 8, 9]);
}

#[tokio::test]
async fn a_broker_that_could_not_write_everything_at_its_end_goes_away_nevertheless() {
    let folder = folder();
    let mut writer = writer(&folder.path().join("broker"), Clock::default());
    let shared = Arc::downgrade(&writer.shared);
    let (deliveries, mut received) = mpsc::channel(1);
    let (pattern, group) = (Pattern::new("a").unwrap(), Some(Sharing::durable("g")));
    let join = Join { pattern, group, prefetch: 1, from: Position::Latest, deliveries };
    let place = writer.subscribe(join).unwrap();
    assert!(writer.work(&mut vec![request(10, None).0]).is_none());
    received.try_recv().unwrap().ack();
    drop((place, received));
    writer.connection.pragma_update(None, "query_only", true).unwrap();
    writer.shared.queue.close();
    writer.serve();
    assert!(shared.upgrade().is_none());
}
