//! What other programs on the same server see and send.

use async_nats::HeaderMap;
use bytes::Bytes;

use super::*;

async fn program(server: &Server) -> async_nats::Client {
    async_nats::connect(server.address()).await.unwrap()
}

async fn received(subscriber: &mut Subscriber) -> Bytes {
    timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap().payload
}

#[tokio::test]
async fn a_program_with_go_micro_reads_what_a_function_publishes_byte_for_byte() {
    let server = Server::start().await;
    let mut sees = overhear(&server, "orders.created").await;
    for kind in [nats::NAME, nats::JETSTREAM] {
        let broker = broker(kind, &server).await;
        let message = Message::new(r#"{"id":7}"#).with("Micro-Topic", "orders.created").with("Content-Type", "a/<b>");
        broker.publish("orders.created", message, patiently(PATIENCE)).await.unwrap();
        assert_eq!(
            received(&mut sees).await,
            r#"{"Header":{"Content-Type":"a/\u003cb\u003e","Micro-Topic":"orders.created"},"Body":"eyJpZCI6N30="}"#
        );
    }
}

#[tokio::test]
async fn a_function_reads_what_a_program_with_go_micro_publishes() {
    let server = Server::start().await;
    let program = program(&server).await;
    for kind in [nats::NAME, nats::JETSTREAM] {
        let broker = broker(kind, &server).await;
        let mut sees = subscribe(&*broker, "orders.*", Some(Group::durable("g"))).await;
        let sent =
            r#"{"Header":{"Content-Type":"application/json","Micro-Topic":"orders.created"},"Body":"eyJpZCI6N30="}"#;
        program.publish("orders.created", sent.into()).await.unwrap();
        let delivery = next(&mut sees).await;
        assert_eq!((&*delivery.topic, &*text(&delivery)), ("orders.created", r#"{"id":7}"#));
        assert_eq!(delivery.message.header.get("content-type"), Some("application/json"));
        delivery.ack();
        broker.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_in_go_micros_shape_comes_as_it_is() {
    let server = Server::start().await;
    let program = program(&server).await;
    for kind in [nats::NAME, nats::JETSTREAM] {
        let broker = broker(kind, &server).await;
        let mut sees = subscribe(&*broker, "raw", None).await;
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "text/plain");
        program.publish_with_headers("raw", headers, Bytes::from_static(b"\xff\x00 {")).await.unwrap();
        let delivery = next(&mut sees).await;
        assert_eq!(&delivery.message.body[..], b"\xff\x00 {");
        assert_eq!(delivery.message.header.get("content-type"), Some("text/plain"));
        delivery.ack();
        broker.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_message_with_an_id_is_kept_once_in_each_topic() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    for topic in ["a", "a", "b"] {
        let message = Message::new("once").with(crate::broker::MESSAGE_ID, "7");
        broker.publish(topic, message, patiently(PATIENCE)).await.unwrap();
    }
    for topic in ["a", "b"] {
        assert_eq!(broker.read(topic, Position::Earliest, 10).await.unwrap().len(), 1, "{topic}");
    }
}

#[tokio::test]
async fn who_asks_on_nats_gets_no_answer_from_the_stream() {
    let server = Server::start().await;
    let program = program(&server).await;
    let broker = broker(nats::JETSTREAM, &server).await;
    publish(&*broker, "greeter.said", Message::new("hello")).await;
    let asked = program.request("greeter.hello", "".into()).await;
    assert!(asked.is_err(), "nobody is there to answer: {asked:?}");
}

#[tokio::test]
async fn the_account_of_an_address_is_used() {
    let server = Server::start_with(&["--user", "me", "--pass", "p@ss"]).await;
    let address = |account: &str| Some(server.address().replace("//", &format!("//{account}")));
    for (account, is_let_in) in [("me:p%40ss@", true), ("me:wrong@", false), ("", false)] {
        let options = OpenOptions { address: address(account), ..OpenOptions::default() };
        let opened = open(nats::NAME, options).await.map(drop);
        assert_eq!(opened.is_ok(), is_let_in, "{account}: {opened:?}");
        assert!(!format!("{opened:?}").contains("wrong"), "{opened:?}");
    }
    let server = Server::start_with(&["--auth", "s3cret"]).await;
    let address = Some(server.address().replace("//", "//s3cret@"));
    open(nats::NAME, OpenOptions { address, ..OpenOptions::default() }).await.unwrap();
}
