//! Servers that go away, and streams that are full.

use super::*;
use crate::broker::BrokerError;

#[tokio::test]
async fn a_publisher_waits_for_a_server_that_is_away_for_as_long_as_it_says() {
    let mut server = Server::start().await;
    for kind in [nats::NAME, nats::JETSTREAM] {
        let broker = broker(kind, &server).await;
        publish(&*broker, "t", Message::new("before")).await;
        server.kill().await;
        let soon = broker.publish("t", Message::new("lost"), patiently(Duration::from_millis(300))).await;
        assert!(matches!(soon, Err(BrokerError::Unavailable(_))), "{kind}: {soon:?}");
        let waits = broker.publish("t", Message::new("waits"), patiently(PATIENCE));
        let (published, ()) = tokio::join!(waits, server.start_again());
        published.unwrap();
    }
}

#[tokio::test]
async fn who_waits_for_a_server_waits_no_longer_when_the_broker_is_closed() {
    let mut server = Server::start().await;
    for kind in [nats::NAME, nats::JETSTREAM] {
        let broker = broker(kind, &server).await;
        server.kill().await;
        let soon = broker.publish("t", Message::new("lost"), patiently(Duration::from_millis(300))).await;
        assert!(matches!(soon, Err(BrokerError::Unavailable(_))), "{kind}: {soon:?}");
        let waits = timeout(PATIENCE / 4, broker.publish("t", Message::new("waits"), patiently(PATIENCE)));
        let (refused, closed) = tokio::join!(waits, broker.close());
        closed.unwrap();
        let error = refused.expect("it ends before its patience").unwrap_err();
        assert!(error.to_string().contains("is closed"), "{kind}: {error}");
        server.start_again().await;
    }
}

#[tokio::test]
async fn a_subscription_to_nats_goes_on_when_the_server_is_back() {
    let mut server = Server::start().await;
    let broker = broker(nats::NAME, &server).await;
    let mut sees = subscribe(&*broker, "t", None).await;
    publish(&*broker, "t", Message::new("1")).await;
    assert_eq!(text(&next(&mut sees).await), "1");
    server.kill().await;
    server.start_again().await;
    publish(&*broker, "t", Message::new("2")).await;
    assert_eq!(text(&next(&mut sees).await), "2");
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_when_the_server_is_killed() {
    let mut server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let mut passing = subscribe(&*broker, "t", Some(Group::passing("p"))).await;
    let mut alone = subscribe(&*broker, "t", None).await;
    let mut kept = Vec::new();
    for number in 0..50 {
        publish(&*broker, "t", Message::new(number.to_string())).await;
        kept.push(number.to_string());
    }
    // Ten are done with, and ten are held over the crash.
    for _ in 0..10 {
        next(&mut group).await.ack();
    }
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(next(&mut group).await);
    }
    // The acknowledgements have reached the server.
    let acknowledged = async {
        while broker.groups("t").await.unwrap().iter().any(|group| group.name == "g" && group.lag != 40) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, acknowledged).await.unwrap();
    server.kill().await;
    let during = broker.publish("t", Message::new("50"), patiently(PATIENCE));
    let (published, ()) = tokio::join!(during, server.start_again());
    published.unwrap();
    kept.push("50".to_owned());
    let stored = broker.read("t", Position::Earliest, 100).await.unwrap();
    let stored: Vec<_> =
        stored.iter().map(|stored| String::from_utf8_lossy(&stored.message.body).into_owned()).collect();
    assert_eq!(stored, kept, "all that the server said it has, and once");
    drop(held);
    let mut came = std::collections::BTreeSet::new();
    // A server that is killed may have forgotten the last acknowledgements, and then brings those messages again.
    while !(10..=50).all(|number: i32| came.contains(&number.to_string())) {
        let delivery = next(&mut group).await;
        came.insert(text(&delivery));
        delivery.ack();
    }
    for subscription in [&mut passing, &mut alone] {
        let mut came = std::collections::BTreeSet::new();
        while came.len() < 51 {
            let delivery = next(subscription).await;
            came.insert(text(&delivery));
            delivery.ack();
        }
    }
}

#[tokio::test]
async fn a_full_stream_is_an_error_to_publishers_and_loses_nothing() {
    let server = Server::start().await;
    let limits = Limits { max_bytes: 64 * 1_024, ..Limits::default() };
    let broker = broker_with(&server, limits, None).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let message = Message::new(vec![7; 4_096]);
    let mut count = 0;
    let full = loop {
        match broker.publish("t", message.clone(), patiently(Duration::from_millis(100))).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, BrokerError::Full(_)), "{full:?}");
    assert!(full.to_string().contains("stream micro"), "{full}");
    assert_eq!(broker.read("t", Position::Earliest, 100).await.unwrap().len(), count);
    for _ in 0..count {
        next(&mut group).await.ack();
    }
    // There is room again when some are taken away.
    assert!(broker.remove(crate::broker::Remove::Topic("t")).await.unwrap());
    publish(&*broker, "t", Message::new("room")).await;
}

#[tokio::test]
async fn a_stream_that_somebody_took_away_comes_back_with_the_next_message() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    publish(&*broker, "t", Message::new("1")).await;
    let client = async_nats::connect(server.address()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let mut stream = context.get_stream("micro").await.unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    config.subjects = vec!["other".to_owned()];
    context.update_stream(config).await.unwrap();
    publish(&*broker, "t", Message::new("2")).await;
    assert_eq!(broker.read("t", Position::Earliest, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_message_that_nats_does_not_take_is_refused_and_the_connection_stays() {
    let server = Server::start().await;
    for kind in [nats::NAME, nats::JETSTREAM] {
        let broker = broker(kind, &server).await;
        let refused = broker.publish("t", Message::new(vec![0; 1_024 * 1_024]), patiently(PATIENCE)).await;
        assert!(matches!(&refused, Err(BrokerError::TooLarge(text)) if text.contains("max_payload")), "{refused:?}");
        publish(&*broker, "t", Message::new("small")).await;
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_with_its_headers_only_is_refused_at_once() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    // In JSON and Base64 one byte less than the server takes.
    let refused = timeout(PATIENCE, broker.publish("t", Message::new(vec![0; 786_414]), patiently(PATIENCE * 2))).await;
    assert!(matches!(&refused, Ok(Err(BrokerError::TooLarge(text))) if text.contains("has 1048575")), "{refused:?}");
}

#[tokio::test]
async fn no_server_and_no_jetstream_are_said() {
    let address = Some("nats://127.0.0.1:1".to_owned());
    let error = open(nats::NAME, OpenOptions { address, ..OpenOptions::default() }).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("nats at 127.0.0.1:1 cannot be reached"), "{error}");
}
