//! Streams that are full, and messages that are old.

use super::*;
use crate::broker::BrokerError;

const KIB: usize = 1_024;

/// How many messages are kept of a topic.
async fn kept(broker: &dyn Broker, topic: &str) -> usize {
    broker.read(topic, Position::Earliest, 1_000).await.unwrap().len()
}

#[tokio::test]
async fn what_all_groups_have_acknowledged_makes_room_for_new_messages() {
    let server = Server::start().await;
    let limits = Limits { max_bytes: 64 * 1_024, ..Limits::default() };
    let broker = broker_with(&server, limits, None).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    for number in 0..60 {
        publish(&*broker, "t", Message::new(vec![number; 4 * KIB])).await;
        let delivery = next(&mut group).await;
        assert_eq!(delivery.message.body[0], number);
        delivery.ack();
    }
    // What is larger than all that is taken away at a time finds room as well.
    publish(&*broker, "t", Message::new(vec![7; 32 * KIB])).await;
    assert_eq!(next(&mut group).await.message.body.len(), 32 * KIB);
    broker.close().await.unwrap();
}

#[tokio::test]
async fn a_full_stream_keeps_what_one_group_has_yet_to_acknowledge() {
    let server = Server::start().await;
    let limits = Limits { max_bytes: 64 * 1_024, ..Limits::default() };
    let broker = broker_with(&server, limits, None).await;
    let mut quick = subscribe(&*broker, ">", Some(Group::durable("quick"))).await;
    drop(subscribe(&*broker, "slow", Some(Group::durable("away"))).await);
    // The one that is away waits for what comes in the middle, and for nothing before it.
    for topic in ["t", "t", "t", "t", "slow", "t", "slow"] {
        publish(&*broker, topic, Message::new(vec![1; 4 * KIB])).await;
        next(&mut quick).await.ack();
    }
    let mut count = 0;
    let full = loop {
        match broker.publish("t", Message::new(vec![2; 4 * KIB]), patiently(Duration::from_millis(500))).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        next(&mut quick).await.ack();
    };
    assert!(matches!(full, BrokerError::Full(_)), "{full:?}");
    assert_eq!((kept(&*broker, "slow").await, kept(&*broker, "t").await), (2, count + 1), "four were taken away");
    let mut away = subscribe(&*broker, "slow", Some(Group::durable("away"))).await;
    next(&mut away).await.ack();
    next(&mut away).await.ack();
    publish(&*broker, "t", Message::new(vec![3; 4 * KIB])).await;
}

#[tokio::test]
async fn a_stream_of_somebody_else_is_left_as_it_is_when_it_is_full() {
    let server = Server::start().await;
    let client = async_nats::connect(server.address()).await.unwrap();
    let config = async_nats::jetstream::stream::Config {
        name: "theirs".to_owned(),
        subjects: vec!["t".to_owned()],
        max_messages: 2,
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    };
    async_nats::jetstream::new(client).create_stream(config).await.unwrap();
    let broker = broker_with(&server, Limits::default(), Some("theirs")).await;
    publish(&*broker, "t", Message::new("1")).await;
    publish(&*broker, "t", Message::new("2")).await;
    let full = broker.publish("t", Message::new("3"), PublishOptions::default()).await;
    assert!(matches!(full, Err(BrokerError::Full(_))), "{full:?}");
    assert_eq!(kept(&*broker, "t").await, 2);
}

#[tokio::test]
async fn old_messages_go_but_none_that_a_durable_group_has_yet_to_acknowledge() {
    let server = Server::start().await;
    let limits = Limits { max_age: Duration::from_secs(1), ..Limits::default() };
    let broker = broker_with(&server, limits, None).await;
    drop(subscribe(&*broker, "waits", Some(Group::durable("away"))).await);
    publish(&*broker, "t", Message::new("nobody waits for it")).await;
    publish(&*broker, "waits", Message::new("waits")).await;
    publish(&*broker, "t", Message::new("behind")).await;
    let one_is_gone = async { while kept(&*broker, "t").await > 1 {} };
    timeout(PATIENCE, one_is_gone).await.expect("what is old is taken away");
    assert_eq!(kept(&*broker, "waits").await, 1);
    let mut away = subscribe(&*broker, "waits", Some(Group::durable("away"))).await;
    let delivery = next(&mut away).await;
    assert_eq!(text(&delivery), "waits");
    delivery.ack();
    let all_are_gone = async { while kept(&*broker, "t").await + kept(&*broker, "waits").await > 0 {} };
    timeout(PATIENCE, all_are_gone).await.expect("what was acknowledged is taken away");
}
