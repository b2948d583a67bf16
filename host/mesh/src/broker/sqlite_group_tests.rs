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
