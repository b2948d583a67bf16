use std::collections::{BTreeMap, BTreeSet};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::*;
use crate::broker::contract::{next, publish, subscribe, text, text_of};
use crate::broker::servers::{KafkaServer, free_port};
use crate::broker::{Delivery, Group, KEY, MAX_MESSAGE, OpenOptions, Position, contract, open};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn broker(server: &KafkaServer) -> Arc<dyn Broker> {
    open(NAME, OpenOptions { address: Some(server.address()), ..OpenOptions::default() }).await.unwrap()
}

fn raw(server: &KafkaServer) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.address()).set("group.id", "raw");
    config
}

/// One server for all of it: it takes seconds to start.
#[tokio::test]
async fn kafka_keeps_the_contract_and_the_shape_of_go_micro() {
    let mut server = KafkaServer::start().await;
    a_program_of_go_micro_understands_and_is_understood(&server).await;
    contract::all(async || broker(&server).await).await;
    patterns_find_topics_that_come_later(&server).await;
    keys_keep_their_order_while_members_come_and_go(&server).await;
    who_subscribes_begins_where_he_says(&server).await;
    the_slow_and_the_large_are_bounded(&server).await;
    groups_end_and_begin_anew(&server).await;
    a_server_that_comes_back_has_lost_nothing(&mut server).await;
}

async fn a_program_of_go_micro_understands_and_is_understood(server: &KafkaServer) {
    let broker = broker(server).await;
    let mut ours = subscribe(&*broker, "go.topic", Some(Group::durable("g")), 8).await;
    let theirs: FutureProducer = raw(server).create().unwrap();
    let value = r#"{"Header":{"Content-Type":"application/json"},"Body":"eyJhIjoxfQ=="}"#;
    theirs.send(FutureRecord::<str, str>::to("go.topic").payload(value), PATIENCE).await.unwrap();
    let delivery = next(&mut ours).await;
    assert_eq!((&*delivery.topic, text(&delivery), delivery.attempt), ("go.topic", "{\"a\":1}".to_owned(), 1));
    assert_eq!((delivery.message.header.get("content-type"), delivery.offset), (Some("application/json"), Some(0)));
    assert!(delivery.published.is_some());
    delivery.ack();
    // Who publishes without go-micro has headers of his own.
    let headers = OwnedHeaders::new().insert(Header { key: "x", value: Some("1") });
    let record = FutureRecord::<str, [u8]>::to("go.topic").payload(b"\xff").key("k").headers(headers);
    theirs.send(record, PATIENCE).await.unwrap();
    let delivery = next(&mut ours).await;
    assert_eq!((&delivery.message.body[..], delivery.message.key()), (&b"\xff"[..], Some("k")));
    assert_eq!(delivery.message.header.get("x"), Some("1"));
    delivery.ack();

    let message = Message::new("{\"b\":2}").with("Content-Type", "application/json").with(KEY, "k");
    publish(&*broker, "go.topic", message).await;
    let consumer: StreamConsumer = raw(server).create().unwrap();
    let mut place = TopicPartitionList::new();
    place.add_partition_offset("go.topic", 0, Offset::Offset(2)).unwrap();
    consumer.assign(&place).unwrap();
    let record = timeout(PATIENCE, consumer.recv()).await.unwrap().unwrap();
    let expected = r#"{"Header":{"Content-Type":"application/json","micro-key":"k"},"Body":"eyJiIjoyfQ=="}"#;
    assert_eq!(str::from_utf8(record.payload().unwrap()).unwrap(), expected);
    assert_eq!((record.key(), record.headers().map_or(0, Headers::count)), (Some(&b"k"[..]), 0));
    broker.close().await.unwrap();
}

async fn patterns_find_topics_that_come_later(server: &KafkaServer) {
    let broker = broker(server).await;
    let mut group = subscribe(&*broker, "later.>", Some(Group::durable("g")), 8).await;
    let mut lone = subscribe(&*broker, "later.*", None, 8).await;
    let mut hosts = subscribe(&*broker, "$dead.>", Some(Group::durable("g")), 8).await;
    for topic in ["later.a", "$dead.later", "later.b"] {
        for number in 0..3 {
            publish(&*broker, topic, Message::new(format!("{topic} {number}"))).await;
        }
    }
    for found in [&mut group, &mut lone] {
        let mut came = BTreeSet::new();
        while came.len() < 6 {
            came.insert(text_of(found).await);
        }
        assert!(came.iter().all(|text| text.starts_with("later.")), "{came:?}");
    }
    assert_eq!(text_of(&mut hosts).await, "$dead.later 0");
    let topics = broker.topics().await.unwrap();
    let dead = topics.iter().find(|topic| topic.name == "$dead.later").unwrap();
    assert_eq!((dead.messages, dead.first, dead.next), (3, 0, 3));
    assert!(topics.iter().all(|topic| !topic.name.contains("offsets") && !topic.name.contains("groups")), "{topics:?}");
    // A group that is known has what came while nobody was in it.
    drop(group);
    publish(&*broker, "later.c", Message::new("meanwhile")).await;
    let mut group = subscribe(&*broker, "later.>", Some(Group::durable("g")), 8).await;
    assert_eq!(text_of(&mut group).await, "meanwhile");
    broker.close().await.unwrap();
}

async fn keys_keep_their_order_while_members_come_and_go(server: &KafkaServer) {
    let admin: AdminClient<DefaultClientContext> = raw(server).create().unwrap();
    let topic = NewTopic::new("keys", 4, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    let broker = broker(server).await;
    let mut one = subscribe(&*broker, "keys", Some(Group::durable("g")), 8).await;
    let mut other = None;
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    let mut places = BTreeSet::new();
    let count = 200;
    let send = async {
        for number in 0..count {
            let message = Message::new(number.to_string()).with(KEY, format!("k{}", number % 10));
            publish(&*broker, "keys", message).await;
        }
    };
    let mut take = |delivery: Delivery| {
        let number: u32 = text(&delivery).parse().unwrap();
        let key = delivery.message.key().unwrap().to_owned();
        let before = last.insert(key.clone(), number);
        // What comes again after a partition moved begins where its key was left, or before that.
        assert!(before.is_none_or(|before| number <= before + 10), "{key}: {number} after {before:?}");
        places.insert(delivery.offset.unwrap());
        delivery.ack();
        places.len()
    };
    let receive = async {
        let mut came = 0;
        while came < count as usize {
            let delivery = match &mut other {
                None => next(&mut one).await,
                Some(other) => timeout(PATIENCE, async {
                    tokio::select! { delivery = one.next() => delivery, delivery = Subscription::next(other) => delivery }
                })
                .await
                .expect("a message comes")
                .unwrap(),
            };
            came = take(delivery);
            // Another one comes, and goes again.
            if came == 50 {
                other = Some(subscribe(&*broker, "keys", Some(Group::durable("g")), 8).await);
            } else if came == 150 {
                other = None;
            }
        }
    };
    let ((), ()) = tokio::join!(send, receive);
    assert_eq!(places.len(), count as usize);
    assert!(places.iter().any(|place| *place >= 1 << 48), "several partitions were used");
    let mut partitions = BTreeMap::new();
    let mut again = Vec::new();
    let options = SubscribeOptions { from: Position::Earliest, prefetch: 500, group: None };
    let mut all = broker.subscribe(&Pattern::new("keys").unwrap(), options).await.unwrap();
    for _ in 0..count {
        let delivery = next(&mut all).await;
        let partition = names::split(delivery.offset.unwrap()).0;
        let known = partitions.entry(delivery.message.key().unwrap().to_owned()).or_insert(partition);
        assert_eq!(*known, partition, "a key stays in its partition");
        again.push(delivery);
    }
    broker.close().await.unwrap();
}

async fn who_subscribes_begins_where_he_says(server: &KafkaServer) {
    let broker = broker(server).await;
    for number in 0..3 {
        publish(&*broker, "begin.a", Message::new(number.to_string())).await;
    }
    let mut all = begin(&*broker, None, Position::Earliest).await;
    let mut published = Vec::new();
    for number in 0..3 {
        let delivery = next(&mut all).await;
        assert_eq!(text(&delivery), number.to_string());
        published.push(delivery.published.unwrap());
        delivery.ack();
    }
    let last = published[2];
    let first_of_last = published.iter().position(|at| *at == last).unwrap().to_string();
    for (name, from, first) in [
        ("offset", Position::Offset(1), Some("1")),
        ("beyond", Position::Offset(1_000), None),
        ("always", Position::Time(0), Some("0")),
        ("then", Position::Time(last), Some(&*first_of_last)),
        ("never", Position::Time(last + 600_000), None),
        ("earliest", Position::Earliest, Some("0")),
        ("latest", Position::Latest, None),
    ] {
        let mut lone = begin(&*broker, None, from).await;
        let mut member = begin(&*broker, Some(Group::durable(name)), from).await;
        publish(&*broker, "begin.a", Message::new(name)).await;
        for subscription in [&mut lone, &mut member] {
            assert_eq!(text_of(subscription).await, first.unwrap_or(name), "{from:?}");
        }
    }
    broker.close().await.unwrap();
}

async fn begin(broker: &dyn Broker, group: Option<Group>, from: Position) -> Subscription {
    let options = SubscribeOptions { group, from, prefetch: 8 };
    broker.subscribe(&Pattern::new("begin.>").unwrap(), options).await.unwrap()
}

async fn the_slow_and_the_large_are_bounded(server: &KafkaServer) {
    let broker = broker(server).await;
    let mut slow = subscribe(&*broker, "slow", Some(Group::durable("g")), 2).await;
    for number in 0..700 {
        publish(&*broker, "slow", Message::new(number.to_string())).await;
    }
    for number in 0..700 {
        let delivery = next(&mut slow).await;
        assert_eq!(text(&delivery), number.to_string());
        if number % 100 == 0 && delivery.attempt == 1 {
            drop(delivery);
            let delivery = next(&mut slow).await;
            // The next one may have been handed out already, and comes before it.
            let delivery = if text(&delivery) == number.to_string() {
                delivery
            } else {
                let first = next(&mut slow).await;
                drop(delivery);
                first
            };
            assert_eq!((text(&delivery), delivery.attempt), (number.to_string(), 2));
            delivery.ack();
        } else {
            delivery.ack();
        }
    }
    let escaped = "\u{1}".repeat(60_000);
    let large = Message::new(vec![7; MAX_MESSAGE - 60_001]).with("x", escaped);
    publish(&*broker, "slow", large.clone()).await;
    assert_eq!(next(&mut slow).await.message, large);
    // Two that Kafka would write to the same folder.
    publish(&*broker, "differ.a", Message::default()).await;
    let refused = broker.publish("differ_a", Message::default(), PublishOptions::default()).await;
    assert!(matches!(&refused, Err(BrokerError::BadName(text)) if text.contains(". and _")), "{refused:?}");
    let refused = broker.publish("__consumer_offsets", Message::default(), PublishOptions::default()).await;
    assert!(matches!(refused, Err(BrokerError::BadName(_))), "{refused:?}");
    broker.close().await.unwrap();
}

async fn groups_end_and_begin_anew(server: &KafkaServer) {
    let broker = broker(server).await;
    let pattern = Pattern::new("ends").unwrap();
    let member = subscribe(&*broker, "ends", Some(Group::durable("g")), 1).await;
    publish(&*broker, "ends", Message::new("1")).await;
    assert_eq!(broker.groups("ends").await.unwrap().len(), 1);
    drop(member);
    assert_eq!(broker.remove(Remove::Group(&pattern, "g")).await, Ok(true));
    assert_eq!(broker.remove(Remove::Group(&pattern, "g")).await, Ok(false));
    // One that does not last is gone with its last member, and begins where it is said when somebody comes back.
    for text in ["2", "3"] {
        let mut member = subscribe(&*broker, "ends", Some(Group::passing("p")), 1).await;
        publish(&*broker, "ends", Message::new(text)).await;
        assert_eq!(text_of(&mut member).await, text);
        drop(member);
        publish(&*broker, "ends", Message::new("missed")).await;
    }
    let gone = async { while !broker.groups("ends").await.unwrap().is_empty() {} };
    timeout(PATIENCE, gone).await.expect("the group goes");
    assert_eq!(broker.remove(Remove::Topic("ends")).await, Ok(true));
    assert_eq!(broker.remove(Remove::Topic("ends")).await, Ok(false));
    // It may be there again at once.
    publish(&*broker, "ends", Message::new("again")).await;
    // What somebody else takes away is made again by who subscribes.
    let other = self::broker(server).await;
    assert_eq!(other.remove(Remove::Topic("ends")).await, Ok(true));
    let mut member = subscribe(&*broker, "ends", Some(Group::durable("anew")), 1).await;
    publish(&*other, "ends", Message::new("anew")).await;
    assert_eq!(text_of(&mut member).await, "anew");
    other.close().await.unwrap();
    broker.close().await.unwrap();
}

async fn a_server_that_comes_back_has_lost_nothing(server: &mut KafkaServer) {
    let broker = broker(server).await;
    let mut group = subscribe(&*broker, "crash.>", Some(Group::durable("g")), 4).await;
    let mut lone = subscribe(&*broker, "crash.a", None, 4).await;
    for number in 0..10 {
        publish(&*broker, "crash.a", Message::new(number.to_string())).await;
    }
    next(&mut group).await.ack();
    let held = next(&mut group).await;
    assert_eq!(text_of(&mut lone).await, "0");
    // An acknowledgement that is still on its way goes with the server.
    let known = async { while !broker.groups("crash.a").await.unwrap().iter().any(|group| group.lag == 9) {} };
    timeout(PATIENCE, known).await.expect("the server knows of the acknowledgement");
    server.kill().await;
    let refused = broker.publish("crash.a", Message::new("lost"), PublishOptions::default()).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    let patient = publish_patiently(&*broker, "crash.b", "10");
    let ((), ()) = tokio::join!(patient, server.start_again());
    held.ack();
    let mut came = BTreeSet::new();
    while came.len() < 9 {
        let delivery = timeout(PATIENCE, group.next()).await.expect("a message comes").unwrap();
        came.insert(text(&delivery).parse::<u32>().unwrap());
        delivery.ack();
    }
    assert_eq!(came, (2..=10).collect(), "what was acknowledged does not come again");
    for number in 1..10 {
        assert_eq!(text_of(&mut lone).await, number.to_string());
    }
    let done = async { while broker.groups("crash.a").await.unwrap().iter().any(|group| group.lag > 0) {} };
    timeout(PATIENCE, done).await.expect("the server knows what is acknowledged");
    broker.close().await.unwrap();
}

async fn publish_patiently(broker: &dyn Broker, topic: &str, text: &str) {
    let options = PublishOptions { patience: PATIENCE, ..PublishOptions::default() };
    broker.publish(topic, Message::new(text.to_owned()), options).await.unwrap();
}

#[tokio::test]
async fn a_client_that_can_publish_no_more_is_made_anew() {
    let link = Link::new(ADDRESS).unwrap();
    let producer = link.producer().unwrap();
    let code = rdkafka::bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: the client lives, and the reason is a text that ends with a zero.
    unsafe { rdkafka::bindings::rd_kafka_test_fatal_error(producer.client().native_ptr(), code, c"a test".as_ptr()) };
    assert!(producer.client().fatal_error().is_some());
    assert!(link.producer().unwrap().client().fatal_error().is_none());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    for (address, is_setting) in [(format!("127.0.0.1:{}", free_port()), false), ("http://here".to_owned(), true)] {
        let options = OpenOptions { address: Some(address.clone()), ..OpenOptions::default() };
        match open(NAME, options).await.err().unwrap() {
            BrokerError::Setting(_) => assert!(is_setting, "{address}"),
            BrokerError::Unavailable(text) => assert!(!is_setting && text.contains(&address), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}
