//! How a group's messages come to its members, and what becomes of them when somebody leaves.

use super::*;

/// The only group that there is.
fn only_group(broker: &Sqlite) -> Arc<Group> {
    let state = broker.shared.state();
    assert_eq!(state.groups.len(), 1);
    state.groups[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_to_who_leaves_does_not_lock_the_broker_up() {
    let folder = folder();
    let broker = broker(&folder.path().join("broker")).await;
    let mut stays = subscribe(&broker, "a", Some(Sharing::durable("g")), Position::Latest).await;
    publish(&broker, "a", "1").await;
    let delivery = next(&mut stays).await;

    // As the writer does it: a place in the channel first, and the delivery when the receiver is gone already.
    let group = only_group(&broker);
    let (deliveries, received) = mpsc::channel(1);
    let on_its_way = deliveries.clone().reserve_owned().await.unwrap();
    let place = Place { id: group.join(deliveries, 1), group };
    drop(received);
    drop(on_its_way.send(delivery));

    let (left, has_left) = oneshot::channel();
    thread::spawn(move || {
        drop(place);
        left.send(()).unwrap();
    });
    timeout(PATIENCE, has_left).await.expect("leaving ends").unwrap();
    let again = next(&mut stays).await;
    assert_eq!((text(&again), again.attempt), ("1".to_owned(), 2));
}

/// A group's deliveries, each acknowledged when it came, as their topics and how many of each came in a row.
async fn rows(group: &mut Subscription, count: usize) -> Vec<(String, usize)> {
    let mut rows: Vec<(String, usize)> = Vec::new();
    for _ in 0..count {
        let delivery = next(group).await;
        match rows.last_mut() {
            Some((topic, row)) if *topic == *delivery.topic => *row += 1,
            _ => rows.push((delivery.topic.to_string(), 1)),
        }
        delivery.ack();
    }
    rows
}

#[tokio::test]
async fn a_busy_topic_does_not_starve_the_others_of_its_group() {
    let folder = folder();
    let broker = broker(&folder.path().join("broker")).await;
    let options = SubscribeOptions { group: Some(Sharing::durable("g")), prefetch: 2, from: Position::Latest };
    let mut group = broker.subscribe(&Pattern::new("t.*").unwrap(), options).await.unwrap();
    for number in 0..1_000 {
        publish(&broker, "t.a", &number.to_string()).await;
    }
    publish(&broker, "t.b", "1").await;
    let rows = rows(&mut group, 1_001).await;
    assert_eq!(rows.iter().map(|(topic, _)| &**topic).collect::<Vec<_>>(), ["t.a", "t.b", "t.a"]);
    assert!(rows[0].1 <= 2 + 128, "{rows:?}");
}

#[tokio::test]
async fn a_page_of_the_file_is_handed_out_to_its_end_before_another_topic_has_its_turn() {
    let folder = folder();
    let path = folder.path().join("broker");
    let first = broker(&path).await;
    for number in 0..512 {
        publish(&first, "t.a", &number.to_string()).await;
        publish(&first, "t.b", &number.to_string()).await;
    }
    first.close().await.unwrap();
    // Nothing is at hand now.
    let second = broker(&path).await;
    let options = SubscribeOptions { group: None, prefetch: 2, from: Position::Earliest };
    let mut all = second.subscribe(&Pattern::new("t.*").unwrap(), options).await.unwrap();
    let rows = rows(&mut all, 1_024).await;
    assert_eq!(rows.iter().map(|(_, row)| *row).collect::<Vec<_>>(), [256; 4], "{rows:?}");
}

#[tokio::test]
async fn an_acknowledgement_from_before_a_seek_does_not_take_the_next_delivery_away() {
    let folder = folder();
    let broker = broker(&folder.path().join("broker")).await;
    let mut group = subscribe(&broker, "a", Some(Sharing::durable("g")), Position::Latest).await;
    publish(&broker, "a", "1").await;
    let before = next(&mut group).await;
    broker.seek(&Pattern::new("a").unwrap(), "g", Position::Earliest).await.unwrap();
    let since = next(&mut group).await;
    before.ack();
    assert_eq!(lag(&broker, "a").await, [1]);
    drop(since);
    assert_eq!(text_of(&mut group).await, "1", "it was given back");
    assert_eq!(lag(&broker, "a").await, [0]);
}
