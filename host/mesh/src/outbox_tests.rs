use async_trait::async_trait;

use super::*;
use crate::broker::{Abilities, Pattern, SubscribeOptions, Subscription};
use crate::store::{Limits, OpenOptions, contract, open};

/// A broker that takes messages or does not, as a test wants it.
#[derive(Default)]
struct Switch {
    is_away: AtomicBool,
    taken: std::sync::Mutex<Vec<(String, Message)>>,
    came: Notify,
}

#[async_trait]
impl Broker for Switch {
    fn name(&self) -> &str {
        "switch"
    }

    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    async fn publish(&self, topic: &str, message: Message, _: PublishOptions) -> Result<(), BrokerError> {
        if self.is_away.load(Ordering::SeqCst) {
            self.came.notify_one();
            return Err(BrokerError::Unavailable("it is away".to_owned()));
        }
        if topic == "never" {
            return Err(BrokerError::TooLarge("it is too large here".to_owned()));
        }
        self.taken.lock().unwrap().push((topic.to_owned(), message));
        self.came.notify_one();
        Ok(())
    }

    async fn subscribe(&self, _: &Pattern, _: SubscribeOptions) -> Result<Subscription, BrokerError> {
        Err(unsupported("switch", "subscribe"))
    }

    async fn close(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}

impl Switch {
    fn texts(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|(_, message)| String::from_utf8(message.body.to_vec()).unwrap()).collect()
    }
}

struct Bench {
    store: Arc<dyn Store>,
    broker: Arc<Switch>,
    outbox: Arc<Outbox>,
}

impl Bench {
    async fn new(limits: Limits) -> Bench {
        let store = open("memory", OpenOptions { limits, ..OpenOptions::default() }).await.unwrap();
        let broker = Arc::new(Switch::default());
        let outbox = Arc::new(Outbox::open(store.clone(), broker.clone(), Clock::default()).await.unwrap());
        Bench { store, broker, outbox }
    }

    /// The same after a restart.
    async fn reopened(self, clock: Clock) -> Bench {
        let outbox = Outbox::open(self.store.clone(), self.broker.clone(), clock).await.unwrap();
        Bench { outbox: Arc::new(outbox), ..self }
    }

    /// Relays until all is published, and closes.
    async fn relay(&self) {
        let outbox = self.outbox.clone();
        let relay = tokio::spawn(async move { outbox.relay().await });
        while self.outbox.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        self.outbox.close().await;
        relay.await.unwrap();
    }

    async fn keys(&self) -> Vec<String> {
        self.store.keys(STORE, KeyQuery::default()).await.unwrap()
    }
}

fn putting(key: &str, if_version: Option<u64>) -> Change {
    let options = PutOptions { if_version, ..PutOptions::default() };
    Change { store: "orders".to_owned(), key: key.to_owned(), value: Some((Bytes::from_static(b"1"), options)) }
}

fn saying(topic: &str, text: &str) -> Outgoing {
    Outgoing { topic: topic.to_owned(), message: Message::new(text.to_owned()).with("a", "ä\n\""), deliver_at: None }
}

#[tokio::test]
async fn both_or_neither() {
    let bench = Bench::new(Limits::default()).await;
    let committed = bench.outbox.commit(vec![putting("1", Some(0))], vec![saying("t", "first\nline")]).await;
    assert_eq!(committed, Ok(vec![1]));
    let refused = bench.outbox.commit(vec![putting("2", None), putting("1", Some(0))], vec![saying("t", "no")]).await;
    assert_eq!(refused, Err(Refusal { change: Some(1), error: StoreError::Conflict { version: 1 } }));
    assert_eq!(bench.store.get("orders", "2").await.unwrap(), None);
    bench.relay().await;
    let (topic, message) = bench.broker.taken.lock().unwrap().pop().unwrap();
    assert_eq!((&*topic, &*message.body, message.header.get("a")), ("t", &b"first\nline"[..], Some("ä\n\"")));
    assert!(message.header.get(MESSAGE_ID).is_some_and(|id| id.len() == 32), "{message:?}");
    assert_eq!(bench.broker.texts(), [""; 0], "and nothing else");
    assert_eq!(bench.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_broker_that_is_away_did_not_take_is_published_in_order_when_it_is_back() {
    let bench = Bench::new(Limits::default()).await;
    bench.broker.is_away.store(true, Ordering::SeqCst);
    let outbox = bench.outbox.clone();
    let relay = tokio::spawn(async move { outbox.relay().await });
    for number in 0..200 {
        bench.outbox.commit(Vec::new(), vec![saying("t", &number.to_string())]).await.unwrap();
    }
    for _ in 0..3 {
        bench.broker.came.notified().await;
    }
    assert_eq!(bench.outbox.waiting(), 200);
    bench.outbox.close().await;
    relay.await.unwrap();

    let bench = bench.reopened(Clock::of(|| 0)).await;
    assert_eq!(bench.outbox.waiting(), 200, "what waits is there after a restart");
    bench.outbox.commit(Vec::new(), vec![saying("t", "200")]).await.unwrap();
    bench.broker.is_away.store(false, Ordering::SeqCst);
    bench.relay().await;
    assert_eq!(bench.broker.texts(), (0..=200).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(bench.keys().await, [""; 0]);
}

#[tokio::test]
async fn what_no_broker_takes_is_put_aside() {
    let bench = Bench::new(Limits::default()).await;
    bench.store.put(STORE, "waiting/0", Bytes::from_static(b"no message"), PutOptions::default()).await.unwrap();
    let bench = bench.reopened(Clock::default()).await;
    bench.outbox.commit(Vec::new(), vec![saying("never", "1"), saying("t", "2")]).await.unwrap();
    bench.relay().await;
    assert_eq!(bench.broker.texts(), ["2"]);
    let keys = bench.keys().await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert_eq!(keys[0], "refused/0");
    let kept = bench.store.get(STORE, &keys[1]).await.unwrap().unwrap();
    assert_eq!(read(&kept.value).map(|outgoing| outgoing.topic).as_deref(), Some("never"));
}

#[tokio::test]
async fn many_that_no_broker_takes_are_put_aside_although_they_are_large_and_the_store_is_full() {
    let bench = Bench::new(Limits { store_entries: 20, ..Limits::default() }).await;
    let large = "x".repeat(MAX_VALUE - 1_000);
    for _ in 0..20 {
        bench.outbox.commit(Vec::new(), vec![saying("never", &large)]).await.unwrap();
    }
    bench.relay().await;
    let keys = bench.keys().await;
    assert!(keys.len() == 20 && keys.iter().all(|key| key.starts_with(REFUSED)), "{keys:?}");
}

#[tokio::test]
async fn what_was_begun_is_published_though_its_caller_went() {
    let bench = Bench::new(Limits::default()).await;
    let commit = bench.outbox.commit(Vec::new(), vec![saying("t", "1")]);
    assert!(futures::poll!(Box::pin(commit)).is_pending());
    while bench.outbox.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    bench.relay().await;
    assert_eq!((bench.broker.texts(), bench.outbox.waiting()), (vec!["1".to_owned()], 0));
}

#[tokio::test]
async fn nothing_is_published_after_closing() {
    let bench = Bench::new(Limits::default()).await;
    bench.outbox.commit(Vec::new(), vec![saying("t", "1")]).await.unwrap();
    bench.outbox.close().await;
    assert_eq!(bench.outbox.publish_some().await, Ok(0));
    assert_eq!(bench.broker.texts(), [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_before_anything_changes() {
    let bench = Bench::new(Limits { store_entries: 2, ..Limits::default() }).await;
    let later = Outgoing { deliver_at: Some(1), ..saying("t", "1") };
    let large = Outgoing { message: Message::new(vec![0; MAX_VALUE - 10]), ..saying("t", "") };
    for (outgoing, says) in [
        (later, "broker switch cannot deliver messages later"),
        (large, "in the outbox"),
        (saying("no topic", ""), "no topic"),
    ] {
        let refusal = bench.outbox.commit(vec![putting("1", None)], vec![outgoing]).await.unwrap_err();
        assert!(refusal.change.is_none() && refusal.to_string().contains(says), "{refusal}");
    }
    let many = vec![saying("t", "1"), saying("t", "2"), saying("t", "3")];
    let refusal = bench.outbox.commit(vec![putting("1", None)], many).await.unwrap_err();
    assert!(refusal.change.is_none() && refusal.to_string().contains("outbox is full"), "{refusal}");
    assert_eq!(bench.store.stores().await.unwrap(), []);
    assert_eq!(bench.outbox.waiting(), 0);
}

#[tokio::test]
async fn numbers_rise_when_the_clock_does_not() {
    let hand = contract::Hand::default();
    let bench = Bench::new(Limits::default()).await;
    let outbox = Outbox::open(bench.store.clone(), bench.broker.clone(), hand.clock()).await.unwrap();
    let first = outbox.number();
    assert_eq!(outbox.number(), first + 1);
    hand.advance(Duration::from_millis(1));
    assert_eq!(outbox.number(), first + 1_000);
}
