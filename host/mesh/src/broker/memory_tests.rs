use super::*;
use crate::broker::{Group, contract};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    contract::all(async || Arc::new(Memory::new()) as Arc<dyn Broker>).await;
}

#[tokio::test]
async fn a_publisher_waits_for_slow_subscribers_as_long_as_it_likes() {
    let broker = Memory::new();
    let pattern = Pattern::new("a").unwrap();
    let options = SubscribeOptions { prefetch: 1, ..SubscribeOptions::default() };
    let mut slow = broker.subscribe(&pattern, options).await.unwrap();
    let group = SubscribeOptions { group: Some(Group::passing("g")), ..SubscribeOptions::default() };
    let mut other = broker.subscribe(&pattern, group).await.unwrap();
    broker.publish("a", Message::new("1"), PublishOptions::default()).await.unwrap();
    let error = broker.publish("a", Message::new("2"), PublishOptions::default()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Full(_)), "{error:?}");
    let patient = PublishOptions { patience: Duration::from_secs(60), ..PublishOptions::default() };
    let (published, _) = tokio::join!(broker.publish("a", Message::new("3"), patient), async {
        tokio::task::yield_now().await;
        slow.next().await.unwrap().ack();
    });
    published.unwrap();
    assert_eq!(slow.next().await.unwrap().message.body, "3");
    assert_eq!(other.next().await.unwrap().message.body, "1");
    assert_eq!(other.next().await.unwrap().message.body, "3", "what was refused came to nobody");
}

#[tokio::test]
async fn who_waits_for_a_subscriber_that_leaves_is_not_forgotten() {
    let broker = Memory::new();
    let options = SubscribeOptions { prefetch: 1, ..SubscribeOptions::default() };
    let slow = broker.subscribe(&Pattern::new("a").unwrap(), options).await.unwrap();
    broker.publish("a", Message::new("1"), PublishOptions::default()).await.unwrap();
    let patient = PublishOptions { patience: Duration::from_secs(60), ..PublishOptions::default() };
    let (published, ()) = tokio::join!(broker.publish("a", Message::new("2"), patient), async {
        tokio::task::yield_now().await;
        drop(slow);
    });
    published.unwrap();
}
