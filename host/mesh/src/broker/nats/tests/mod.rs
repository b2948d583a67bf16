//! Both backends against a real server.

mod faults;
mod gone;
mod members;
mod room;
mod server;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt;
use tokio::time::timeout;

use crate::broker::contract::{next, publish, text};
use crate::broker::{
    Broker, Group, Limits, Message, OpenOptions, Pattern, Position, PublishOptions, SubscribeOptions, Subscription,
    contract, nats, open,
};
use server::{PATIENCE, Server, Way};

async fn broker(kind: &str, server: &Server) -> Arc<dyn Broker> {
    open(kind, OpenOptions { address: Some(server.address()), ..OpenOptions::default() }).await.unwrap()
}

async fn broker_on(way: &Way) -> Arc<dyn Broker> {
    open(nats::JETSTREAM, OpenOptions { address: Some(way.address()), ..OpenOptions::default() }).await.unwrap()
}

async fn administrator(server: &Server) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(server.address()).await.unwrap())
}

/// What is sent to a subject from now on, as another program on the server sees it.
async fn overhear(server: &Server, subject: &'static str) -> Subscriber {
    let client = async_nats::connect(server.address()).await.unwrap();
    let subscriber = client.subscribe(subject).await.unwrap();
    // The server has read all that was sent before what it answers.
    let mut echo = client.subscribe("echo").await.unwrap();
    client.publish("echo", "".into()).await.unwrap();
    timeout(PATIENCE, echo.next()).await.unwrap().unwrap();
    subscriber
}

/// Lets time go on by so much.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// How many messages were overheard until now.
async fn count(server: &Server, words: &mut Subscriber, subject: &'static str) -> usize {
    let client = async_nats::connect(server.address()).await.unwrap();
    client.publish(subject, "the end".into()).await.unwrap();
    let mut count = 0;
    while timeout(PATIENCE, words.next()).await.unwrap().unwrap().payload != "the end" {
        count += 1;
    }
    count
}

async fn broker_with(server: &Server, limits: Limits, stream: Option<&str>) -> Arc<dyn Broker> {
    let stream = stream.map(str::to_owned);
    let options = OpenOptions { address: Some(server.address()), limits, stream, ..OpenOptions::default() };
    open(nats::JETSTREAM, options).await.unwrap()
}

fn patiently(patience: Duration) -> PublishOptions {
    PublishOptions { patience, ..PublishOptions::default() }
}

async fn subscribe(broker: &dyn Broker, pattern: &str, group: Option<Group>) -> Subscription {
    let options = SubscribeOptions { group, ..SubscribeOptions::default() };
    broker.subscribe(&Pattern::new(pattern).unwrap(), options).await.unwrap()
}

#[tokio::test]
async fn nats_keeps_the_contract() {
    let server = Server::start().await;
    contract::all(async || broker(nats::NAME, &server).await).await;
}

#[tokio::test]
async fn jetstream_keeps_the_contract() {
    let server = Server::start().await;
    contract::all(async || broker(nats::JETSTREAM, &server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_the_contract_on_many_threads() {
    let server = Server::start().await;
    contract::all(async || broker(nats::JETSTREAM, &server).await).await;
}

#[tokio::test]
async fn a_stream_that_allows_schedules_keeps_the_contract_and_takes_messages_for_later() {
    let server = Server::start().await;
    let client = async_nats::connect(server.address()).await.unwrap();
    let config = async_nats::jetstream::stream::Config {
        name: "timed".to_owned(),
        subjects: vec!["unused".to_owned()],
        allow_message_schedules: true,
        ..Default::default()
    };
    async_nats::jetstream::new(client).create_stream(config).await.unwrap();
    contract::all(async || {
        let broker = broker_with(&server, Limits::default(), Some("timed")).await;
        assert!(broker.abilities().delay);
        broker
    })
    .await;
}

#[tokio::test]
async fn the_servers_own_subjects_are_refused() {
    let server = Server::start().await;
    for kind in [nats::NAME, nats::JETSTREAM] {
        let broker = broker(kind, &server).await;
        for topic in ["$JS.API.STREAM.DELETE.micro", "$SYS.x", "_INBOX.x.y", "$KV.a.b"] {
            let refused = broker.publish(topic, Message::default(), PublishOptions::default()).await;
            assert!(refused.unwrap_err().to_string().contains("for itself"), "{kind}: {topic}");
            let refused = broker.subscribe(&Pattern::new(topic).unwrap(), SubscribeOptions::default()).await;
            assert!(refused.unwrap_err().to_string().contains("for itself"), "{kind}: {topic}");
        }
    }
}

#[tokio::test]
async fn what_begins_with_a_wildcard_sees_topics_and_nothing_of_the_servers() {
    let server = Server::start().await;
    for kind in [nats::NAME, nats::JETSTREAM] {
        let broker = broker(kind, &server).await;
        publish(&*broker, &format!("{kind}.first"), Message::new("known")).await;
        let mut all = subscribe(&*broker, ">", None).await;
        let mut dead = subscribe(&*broker, "$dead.>", Some(Group::durable("g"))).await;
        publish(&*broker, "$dead.x", Message::new("the host's own")).await;
        publish(&*broker, &format!("{kind}.first"), Message::new("1")).await;
        publish(&*broker, &format!("{kind}.new"), Message::new("2")).await;
        for expected in [("first", "1"), ("new", "2")] {
            let delivery = next(&mut all).await;
            assert_eq!((&*delivery.topic, &*text(&delivery)), (&*format!("{kind}.{}", expected.0), expected.1));
            delivery.ack();
        }
        assert_eq!(text(&next(&mut dead).await), "the host's own");
        broker.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_group_has_no_more_under_way_than_its_members_take_and_they_share_what_is_left() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let pattern = Pattern::new("work").unwrap();
    let options = SubscribeOptions { group: Some(Group::durable("g")), prefetch: 2, from: Position::Latest };
    let mut slow = broker.subscribe(&pattern, options.clone()).await.unwrap();
    let mut quick = broker.subscribe(&pattern, options).await.unwrap();
    for number in 0..20 {
        publish(&*broker, "work", Message::new(number.to_string())).await;
    }
    let held = [next(&mut slow).await, next(&mut slow).await];
    for _ in 0..18 {
        next(&mut quick).await.ack();
    }
    let is_known = async {
        while broker.groups("work").await.unwrap().iter().any(|group| (group.in_flight, group.members) != (2, 2)) {}
    };
    timeout(PATIENCE, is_known).await.expect("what is acknowledged is no more under way");
    assert!(slow.try_next().is_none());
    drop(held);
}
