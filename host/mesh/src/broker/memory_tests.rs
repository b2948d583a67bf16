use super::*;
use crate::broker::contract::text_of;
use crate::broker::{Group as Sharing, contract};
use crate::store::contract::Hand;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    contract::all(async || Arc::new(Memory::default()) as Arc<dyn Broker>).await;
}

#[tokio::test]
async fn a_publisher_waits_for_slow_subscribers_as_long_as_it_likes() {
    let broker = Memory::default();
    let pattern = Pattern::new("a").unwrap();
    let options = SubscribeOptions { prefetch: 1, ..SubscribeOptions::default() };
    let mut slow = broker.subscribe(&pattern, options).await.unwrap();
    let group = SubscribeOptions { group: Some(Sharing::passing("g")), ..SubscribeOptions::default() };
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
    let broker = Memory::default();
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

async fn member(broker: &Memory, group: &str, prefetch: usize) -> Subscription {
    let options = SubscribeOptions { group: Some(Sharing::passing(group)), prefetch, ..SubscribeOptions::default() };
    broker.subscribe(&Pattern::new("a").unwrap(), options).await.unwrap()
}

async fn publish(broker: &Memory, text: &str) -> Result<(), BrokerError> {
    let patient = PublishOptions { patience: Duration::from_secs(60), ..PublishOptions::default() };
    broker.publish("a", Message::new(text.to_owned()), patient).await
}

#[tokio::test]
async fn who_waited_for_one_that_left_gives_the_message_to_another() {
    let broker = Memory::default();
    let (leaves, mut stays) = (member(&broker, "g", 1).await, member(&broker, "g", 1).await);
    publish(&broker, "1").await.unwrap();
    publish(&broker, "2").await.unwrap();
    let (published, _) = tokio::join!(publish(&broker, "3"), async {
        tokio::task::yield_now().await;
        drop(leaves);
        tokio::task::yield_now().await;
        text_of(&mut stays).await
    });
    published.unwrap();
    assert_eq!(text_of(&mut stays).await, "3");
}

#[tokio::test]
async fn a_message_for_one_that_left_meanwhile_comes_to_another() {
    let broker = Memory::default();
    // The publisher has room in the first group, with who leaves, and waits for the second group.
    let (mut leaves, mut full) = (member(&broker, "g", 1).await, member(&broker, "h", 1).await);
    publish(&broker, "1").await.unwrap();
    text_of(&mut leaves).await;
    let (published, mut stays) = tokio::join!(publish(&broker, "2"), async {
        tokio::task::yield_now().await;
        let stays = member(&broker, "g", 1).await;
        drop(leaves);
        text_of(&mut full).await;
        stays
    });
    published.unwrap();
    assert_eq!(text_of(&mut stays).await, "2");
    assert_eq!(text_of(&mut full).await, "2");
}

#[tokio::test]
async fn a_publisher_waits_for_whoever_has_room_first() {
    let broker = Memory::default();
    let (_stuck, mut idle) = (member(&broker, "g", 1).await, member(&broker, "g", 1).await);
    publish(&broker, "1").await.unwrap();
    publish(&broker, "2").await.unwrap();
    let (published, _) = tokio::join!(publish(&broker, "3"), async {
        tokio::task::yield_now().await;
        text_of(&mut idle).await
    });
    published.unwrap();
    assert_eq!(text_of(&mut idle).await, "3");
    publish(&broker, "4").await.unwrap();
    let (published, mut new) = tokio::join!(publish(&broker, "5"), async {
        tokio::task::yield_now().await;
        member(&broker, "g", 1).await
    });
    published.unwrap();
    assert_eq!(text_of(&mut new).await, "5", "who joins has room too");
}

#[tokio::test(start_paused = true)]
async fn a_publisher_is_patient_once_and_not_with_each_group_anew() {
    let broker = Memory::default();
    let (mut slow, _stuck) = (member(&broker, "g", 1).await, member(&broker, "h", 1).await);
    publish(&broker, "1").await.unwrap();
    let since = Instant::now();
    let (refused, _) = tokio::join!(publish(&broker, "2"), async {
        tokio::time::advance(Duration::from_secs(40)).await;
        text_of(&mut slow).await
    });
    assert!(matches!(refused, Err(BrokerError::Full(_))), "{refused:?}");
    assert_eq!(since.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_new_topic_costs_as_little_with_ten_thousand_others() {
    let broker = Memory::default();
    let mut all = broker.subscribe(&Pattern::new(">").unwrap(), SubscribeOptions::default()).await.unwrap();
    // With all routes copied for each new one this takes minutes.
    for number in 0..ROUTES + 10 {
        let topic = format!("many.{number}");
        broker.publish(&topic, Message::default(), PublishOptions::default()).await.unwrap();
        let delivery = all.try_next().unwrap();
        assert_eq!(*delivery.topic, *topic);
    }
    assert_eq!(broker.topics().await.unwrap().len(), ROUTES);
}

#[tokio::test]
async fn the_time_of_a_message_is_that_of_the_brokers_clock() {
    let hand = Hand::default();
    let broker = Memory::new(hand.clock());
    let mut all = member(&broker, "g", 1).await;
    hand.advance(Duration::from_secs(5));
    publish(&broker, "1").await.unwrap();
    assert_eq!(all.next().await.unwrap().published, Some(hand.clock().now()));
}
