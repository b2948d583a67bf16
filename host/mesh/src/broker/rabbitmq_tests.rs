use std::cell::Cell;
use std::collections::BTreeSet;

use futures::FutureExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::AMQPValue;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;

use super::*;
use crate::broker::contract::{subscribe, text};
use crate::broker::servers::{RabbitServer, free_port};
use crate::broker::{Delivery, Group, OpenOptions, contract, open};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn broker(server: &RabbitServer) -> Arc<dyn Broker> {
    open(NAME, OpenOptions { address: Some(server.address()), ..OpenOptions::default() }).await.unwrap()
}

async fn publish(broker: &dyn Broker, topic: &str, text: &str) {
    let options = PublishOptions { patience: PATIENCE, ..PublishOptions::default() };
    broker.publish(topic, Message::new(text.to_owned()), options).await.unwrap();
}

async fn next(subscription: &mut Subscription) -> Delivery {
    timeout(PATIENCE, subscription.next()).await.expect("a message comes").expect("it goes on")
}

/// One server for all that need not end it: it takes seconds to start.
#[tokio::test]
async fn rabbitmq_keeps_the_contract_and_the_shape_of_go_micro() {
    let server = RabbitServer::start().await;
    a_program_of_go_micro_understands_and_is_understood(&server).await;
    contract::all(async || broker(&server).await).await;
    a_group_can_be_removed(&server).await;
    attempts_are_counted_where_the_queue_does(&server).await;
    closing_waits_for_publishers_and_none_publishes_twice(&server).await;
    a_late_publisher_of_a_channel_that_is_gone_leaves_the_new_one_alone(&server).await;
    publishers_that_leave_get_the_next_ones_another_channel(&server).await;
    tls_tests::messages_pass_through_tls(&server).await;
}

async fn a_late_publisher_of_a_channel_that_is_gone_leaves_the_new_one_alone(server: &RabbitServer) {
    let link = Link::new(server.address().parse().unwrap(), None);
    let (gone, _) = link.publisher().await.unwrap();
    link.close().await;
    let (new, was_there) = link.publisher().await.unwrap();
    assert_eq!((new.channel.id(), was_there), (gone.channel.id(), false), "ids begin anew");
    link.forget_publisher(&gone).await;
    assert!(link.publisher().await.unwrap().1, "it is there still");
    link.forget_publisher(&new).await;
    assert!(!link.publisher().await.unwrap().1, "it is forgotten when one of its own says so");
    link.close().await;
}

async fn publishers_that_leave_get_the_next_ones_another_channel(server: &RabbitServer) {
    let broker = RabbitMq::open(&server.address(), Clock::default()).await.unwrap();
    let publish = || broker.publish("cut", Message::new("x"), PublishOptions::default());
    let (first, _) = broker.publishing.publisher().await.unwrap();
    let cut = || assert!(unconstrained(publish()).now_or_never().is_none(), "the server has not answered yet");
    (1..link::MAX_CUTS).for_each(|_| cut());
    publish().await.unwrap();
    assert!(broker.publishing.publisher().await.unwrap().1, "there may be one more");
    cut();
    let (other, was_there) = broker.publishing.publisher().await.unwrap();
    assert!(!was_there && other.channel.id() != first.channel.id());
    publish().await.unwrap();
    assert!(broker.publishing.publisher().await.unwrap().1, "who is answered costs nothing");
    broker.close().await.unwrap();
}

async fn closing_waits_for_publishers_and_none_publishes_twice(server: &RabbitServer) {
    let (publishing, reading) = (broker(server).await, broker(server).await);
    let mut group = subscribe(&*reading, "closing", Some(Group::durable("g")), 300).await;
    let publishers = (0..200).map(async |number: u32| publish(&*publishing, "closing", &number.to_string()).await);
    let (_, closed) = tokio::join!(futures::future::join_all(publishers), publishing.close());
    closed.unwrap();
    publish(&*reading, "closing", "mark").await;
    let mut came = Vec::new();
    loop {
        let delivery = next(&mut group).await;
        if text(&delivery) == "mark" {
            break;
        }
        came.push(text(&delivery).parse::<u32>().unwrap());
        delivery.ack();
    }
    came.sort_unstable();
    assert_eq!(came, (0..200).collect::<Vec<_>>());
}

async fn a_program_of_go_micro_understands_and_is_understood(server: &RabbitServer) {
    // As its plugin does: an exchange that does not survive, a queue that is gone with its reader.
    let connection = Connection::connect(&server.address(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let (options, none) = (ExchangeDeclareOptions::default(), FieldTable::default());
    channel.exchange_declare("micro".into(), ExchangeKind::Topic, options, none.clone()).await.unwrap();
    let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("theirs".into(), options, none.clone()).await.unwrap();
    let bind = QueueBindOptions::default();
    channel.queue_bind("theirs".into(), "micro".into(), "go.topic".into(), bind, none.clone()).await.unwrap();
    let consume = BasicConsumeOptions::default();
    let mut theirs = channel.basic_consume("theirs".into(), "".into(), consume, none).await.unwrap();

    let broker = broker(server).await;
    let mut ours = subscribe(&*broker, "go.>", Some(Group::passing("ours")), 8).await;
    let mut table = FieldTable::default();
    table.insert("Content-Type".into(), AMQPValue::LongString("application/json".into()));
    table.insert("Micro-Topic".into(), AMQPValue::LongString("go.topic".into()));
    let properties = BasicProperties::default().with_headers(table.clone());
    let options = BasicPublishOptions::default();
    channel.basic_publish("micro".into(), "go.topic".into(), options, b"{\"a\":1}", properties).await.unwrap();
    let delivery = next(&mut ours).await;
    assert_eq!((&*delivery.topic, text(&delivery), delivery.attempt), ("go.topic", "{\"a\":1}".to_owned(), 1));
    assert_eq!(delivery.message.header.get("content-type"), Some("application/json"));
    delivery.ack();
    let received = timeout(PATIENCE, theirs.next()).await.unwrap().unwrap().unwrap();
    received.acker.ack(BasicAckOptions::default()).await.unwrap();

    let message = Message::new("{\"b\":2}").with("Content-Type", "application/json").with("Micro-Topic", "go.topic");
    broker.publish("go.topic", message, PublishOptions::default()).await.unwrap();
    let received = timeout(PATIENCE, theirs.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((received.routing_key.as_str(), &received.data[..]), ("go.topic", &b"{\"b\":2}"[..]));
    assert_eq!(received.properties.headers().as_ref(), Some(&table));
    broker.close().await.unwrap();
}

async fn a_group_can_be_removed(server: &RabbitServer) {
    let broker = broker(server).await;
    drop(subscribe(&*broker, "removed", Some(Group::durable("g")), 1).await);
    let pattern = Pattern::new("removed").unwrap();
    assert_eq!(broker.remove(Remove::Group(&pattern, "g")).await, Ok(true));
    assert_eq!(broker.remove(Remove::Group(&pattern, "g")).await, Ok(false));
    let long = Pattern::new("x".repeat(200)).unwrap();
    let refused = broker.remove(Remove::Group(&long, &"g".repeat(100))).await;
    assert!(matches!(refused, Err(BrokerError::BadName(_))), "{refused:?}");
}

async fn attempts_are_counted_where_the_queue_does(server: &RabbitServer) {
    let connection = Connection::connect(&server.address(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("g:counted.>".into(), options, quorum).await.unwrap();
    let broker = broker(server).await;
    for (pattern, topic, most) in [("counted.>", "counted.a", 5), ("plain.>", "plain.a", 2)] {
        let mut group = subscribe(&*broker, pattern, Some(Group::durable("g")), 1).await;
        publish(&*broker, pattern.trim_end_matches(".>"), "not for this pattern").await;
        publish(&*broker, topic, "1").await;
        for attempt in 1..=5 {
            let delivery = next(&mut group).await;
            assert_eq!((text(&delivery), delivery.attempt), ("1".to_owned(), attempt.min(most)));
        }
    }
}

#[tokio::test]
async fn a_server_that_comes_back_has_lost_nothing() {
    let mut server = RabbitServer::start().await;
    let broker = broker(&server).await;
    let mut group = subscribe(&*broker, "orders.>", Some(Group::durable("g")), 4).await;
    let mut alone = subscribe(&*broker, "orders.>", None, 64).await;
    for number in 0..10 {
        publish(&*broker, "orders.a", &number.to_string()).await;
    }
    next(&mut group).await.ack();
    // The acknowledgement has come when the server hands out one more than fits.
    let held = [next(&mut group).await, next(&mut group).await, next(&mut group).await, next(&mut group).await];
    server.kill().await;
    let refused = broker.publish("orders.a", Message::new("lost"), PublishOptions::default()).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    let patient = publish(&*broker, "orders.b", "10");
    let ((), ()) = tokio::join!(patient, server.start_again());
    drop(held);
    let mut came = BTreeSet::new();
    // The first one may come again: a server that is killed forgets acknowledgements that it had not written down.
    while !came.is_superset(&(1..=10).collect()) {
        let delivery = next(&mut group).await;
        came.insert(text(&delivery).parse::<u32>().unwrap());
        delivery.ack();
    }
    while text(&next(&mut alone).await) != "9" {}

    // Who is patient with a server that is gone is not left behind by closing.
    let lone = self::broker(&server).await;
    server.kill().await;
    let is_over = Cell::new(false);
    let publisher = async {
        let options = PublishOptions { patience: PATIENCE, ..PublishOptions::default() };
        let refused = lone.publish("orders.a", Message::new("late"), options).await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
        is_over.set(true);
    };
    let closing = async {
        lone.close().await.unwrap();
        assert!(is_over.get(), "closing waits for publishers");
    };
    tokio::join!(publisher, closing);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let address = Some(format!("amqp://user:secret@127.0.0.1:{}", free_port()));
    let error = open(NAME, OpenOptions { address, ..OpenOptions::default() }).await.err().unwrap();
    assert!(matches!(&error, BrokerError::Unavailable(text) if !text.contains("secret")), "{error:?}");
}

#[tokio::test]
async fn what_is_no_address_is_refused_without_its_password() {
    for address in ["http://user:secret@here", "user:secret@127.0.0.1:1", "amqp://user:secret@here:port"] {
        let options = OpenOptions { address: Some(address.to_owned()), ..OpenOptions::default() };
        let error = open(NAME, options).await.err().unwrap();
        assert!(matches!(&error, BrokerError::Setting(text) if !text.contains("secret")), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_messages_says_so_at_once() {
    let server = RabbitServer::start_without_room().await;
    let broker = broker(&server).await;
    for _ in 0..2 {
        let refused = broker.publish("a", Message::new("x"), PublishOptions::default());
        let refused = timeout(ANSWER_TIME / 2, refused).await.expect("it is told at once");
        assert!(matches!(refused, Err(BrokerError::Full(_))), "{refused:?}");
    }
    timeout(ANSWER_TIME / 2, broker.close()).await.expect("closing does not wait for it").unwrap();
}

#[tokio::test(start_paused = true)]
async fn publishers_and_subscribers_do_not_wait_for_each_other_for_long() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let link = Link::new(format!("amqp://{}", silent.local_addr().unwrap()).parse().unwrap(), None);
    let begun = Instant::now();
    let publishers = futures::future::join_all((0..10).map(|_| link.publisher())).await;
    assert!(publishers.iter().all(|channel| matches!(channel, Err(LinkError::Late(_)))));
    assert!(begun.elapsed() < ANSWER_TIME * 2, "{:?}", begun.elapsed());
    let begun = Instant::now();
    let subscribers = futures::future::join_all((0..10).map(|_| link.channel())).await;
    assert!(subscribers.iter().all(|channel| matches!(channel, Err(LinkError::Late(_)))));
    assert!(begun.elapsed() < ANSWER_TIME * 2, "{:?}", begun.elapsed());
    link.close().await;
}
