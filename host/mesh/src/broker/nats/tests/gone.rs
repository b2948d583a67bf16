//! Streams and consumers that somebody took away.

use super::*;
use crate::broker::BrokerError;

#[tokio::test]
async fn a_stream_that_is_deleted_is_made_again_and_its_groups_go_on() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let mut all = subscribe(&*broker, ">", None).await;
    for number in 0..3 {
        publish(&*broker, "t", Message::new(number.to_string())).await;
        next(&mut group).await.ack();
        next(&mut all).await.ack();
    }
    administrator(&server).await.delete_stream("micro").await.unwrap();
    broker.publish("t", Message::new("new"), PublishOptions::default()).await.unwrap();
    for subscription in [&mut group, &mut all] {
        let delivery = next(subscription).await;
        assert_eq!(text(&delivery), "new");
        delivery.ack();
    }
}

#[tokio::test]
async fn groups_miss_nothing_of_a_server_that_comes_back_with_an_empty_disk() {
    let mut server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let mut passing = subscribe(&*broker, "t", Some(Group::passing("p"))).await;
    let mut alone = subscribe(&*broker, "t", None).await;
    for number in 0..3 {
        publish(&*broker, "t", Message::new(number.to_string())).await;
        for subscription in [&mut group, &mut passing, &mut alone] {
            next(subscription).await.ack();
        }
    }
    publish(&*broker, "t", Message::new("held")).await;
    let held = next(&mut group).await;
    server.kill().await;
    server.lose_disk();
    server.start_again().await;
    // As many as there were before, so that the places of the old ones are taken again.
    for number in 10..16 {
        publish(&*broker, "t", Message::new(number.to_string())).await;
    }
    // Word of an old message is not word of the new one in its place.
    held.ack();
    for subscription in [&mut group, &mut passing, &mut alone] {
        let mut came = std::collections::BTreeSet::new();
        while !(10..16).all(|number: i32| came.contains(&number.to_string())) {
            let delivery = next(subscription).await;
            came.insert(text(&delivery));
            delivery.ack();
        }
    }
}

#[tokio::test]
async fn what_another_host_undid_is_seen_and_done_again_for_who_only_listens() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let mut listens = subscribe(&*broker, "orders.*", Some(Group::durable("g"))).await;
    let context = administrator(&server).await;
    let mut stream = context.get_stream("micro").await.unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    config.subjects.retain(|subject| subject != "orders.*");
    context.update_stream(config).await.unwrap();
    pass(Duration::from_secs(31)).await;
    let is_kept =
        async { while !stream.info().await.unwrap().config.subjects.iter().any(|subject| subject == "orders.*") {} };
    timeout(PATIENCE, is_kept).await.expect("it is extended again");
    // From a program that knows nothing of streams.
    let client = async_nats::connect(server.address()).await.unwrap();
    client.publish("orders.created", "hi".into()).await.unwrap();
    assert_eq!(text(&next(&mut listens).await), "hi");
}

const INFO: &str = "$JS.API.STREAM.INFO.micro";

#[tokio::test]
async fn the_stream_is_asked_after_once_for_a_subscription_and_not_again_for_a_known_topic() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    broker.publish("before", Message::new("1"), PublishOptions::default()).await.unwrap();
    let mut questions = overhear(&server, INFO).await;
    // However long ago it was seen to be kept.
    pass(Duration::from_secs(31)).await;
    broker.publish("before", Message::new("2"), PublishOptions::default()).await.unwrap();
    assert_eq!(count(&server, &mut questions, INFO).await, 0);
    let _group = subscribe(&*broker, "before", Some(Group::durable("g"))).await;
    assert_eq!(count(&server, &mut questions, INFO).await, 1);
}

/// Changes behind a broker's back what its stream keeps.
async fn keep_only(server: &Server, subjects: impl IntoIterator<Item = String>) -> async_nats::jetstream::Context {
    let context = administrator(server).await;
    let mut config = context.get_stream("micro").await.unwrap().info().await.unwrap().config.clone();
    config.subjects = subjects.into_iter().collect();
    context.update_stream(config).await.unwrap();
    context
}

#[tokio::test]
async fn a_message_that_another_stream_took_is_not_said_to_be_kept() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    publish(&*broker, "t", Message::new("1")).await;
    let context = keep_only(&server, ["other".to_owned()]).await;
    let theirs = async_nats::jetstream::stream::Config {
        name: "theirs".to_owned(),
        subjects: vec!["t".to_owned()],
        ..Default::default()
    };
    context.create_stream(theirs).await.unwrap();
    let error = broker.publish("t", Message::new("2"), patiently(PATIENCE)).await.unwrap_err();
    assert!(error.to_string().contains("another stream than micro"), "{error}");
    context.delete_stream("theirs").await.unwrap();
    publish(&*broker, "t", Message::new("3")).await;
    assert_eq!(broker.read("t", Position::Earliest, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_topic_that_the_stream_keeps_no_more_is_kept_again_though_others_listen() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    publish(&*broker, "t", Message::new("1")).await;
    keep_only(&server, ["other".to_owned()]).await;
    // So that the server does not say that nobody takes it.
    let mut listens = overhear(&server, "t").await;
    let published = broker.publish("t", Message::new("2"), patiently(Duration::MAX));
    let time = async {
        timeout(PATIENCE, listens.next()).await.unwrap().unwrap();
        pass(Duration::from_secs(6)).await;
    };
    timeout(PATIENCE, async { tokio::join!(published, time).0 }).await.expect("it is soon published").unwrap();
    assert_eq!(broker.read("t", Position::Earliest, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn more_topics_of_one_word_than_the_stream_can_have_are_refused() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    keep_only(&server, (0..1_000).map(|number| format!("topic{number}"))).await;
    let refused = broker.publish("new", Message::new("1"), PublishOptions::default()).await;
    assert!(matches!(&refused, Err(BrokerError::Full(text)) if text.contains("with a dot")), "{refused:?}");
    for topic in ["topic7", "new.topic"] {
        publish(&*broker, topic, Message::new("1")).await;
    }
}

#[tokio::test]
async fn hosts_that_extend_the_stream_at_the_same_time_lose_no_message() {
    let server = Server::start().await;
    let (one, other) = (broker(nats::JETSTREAM, &server).await, broker(nats::JETSTREAM, &server).await);
    let all = |broker: Arc<dyn Broker>, name: &'static str| async move {
        for number in 0..30 {
            let topics = [0, 1, 2].map(|part| format!("{name}{number}.{part}"));
            futures::future::join_all(topics.iter().map(|topic| publish(&*broker, topic, Message::new("1")))).await;
        }
    };
    tokio::join!(all(one.clone(), "one"), all(other.clone(), "other"));
    assert_eq!(one.topics().await.unwrap().len(), 180);
}

#[tokio::test]
async fn a_group_of_one_at_a_time_goes_on_when_it_gives_back_to_a_consumer_that_is_gone() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let pattern = Pattern::new("t").unwrap();
    let options = SubscribeOptions { group: Some(Group::durable("g")), prefetch: 1, from: Position::Latest };
    let mut group = broker.subscribe(&pattern, options).await.unwrap();
    publish(&*broker, "t", Message::new("1")).await;
    let held = next(&mut group).await;
    let stream = administrator(&server).await.get_stream("micro").await.unwrap();
    stream.delete_consumer("g:t").await.unwrap();
    drop(held);
    assert_eq!(text(&next(&mut group).await), "1");
}

#[tokio::test]
async fn a_message_that_looks_like_a_status_of_the_server_is_a_message() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let address = server.address();
    let mut raw = tokio::net::TcpStream::connect(address.trim_start_matches("nats://")).await.unwrap();
    let sent = "CONNECT {\"verbose\":false,\"headers\":true}\r\n\
                HPUB t 22 24\r\nNATS/1.0 503\r\nA: b\r\n\r\nhi\r\nPING\r\n";
    raw.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"PONG\r\n") {
        assert_ne!(raw.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
    let delivery = next(&mut group).await;
    assert_eq!((&*text(&delivery), delivery.message.header.get("a")), ("hi", Some("b")));
    delivery.ack();
    let is_done = async { while broker.groups("t").await.unwrap()[0].lag > 0 {} };
    timeout(PATIENCE, is_done).await.expect("it is acknowledged");
}
