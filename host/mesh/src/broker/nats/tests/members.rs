//! What the members of groups hold, give back and leave behind.

use std::collections::HashSet;
use std::sync::Mutex;

use super::*;
use crate::broker::Delivery;

#[tokio::test]
async fn a_member_gets_no_more_than_its_prefetch_over_a_new_connection_to_the_same_server() {
    let server = Server::start().await;
    let way = Way::to(&server).await;
    let broker_there = broker_on(&way).await;
    let pattern = Pattern::new("t").unwrap();
    let options = SubscribeOptions { group: Some(Group::durable("g")), prefetch: 2, from: Position::Latest };
    let mut few = broker_there.subscribe(&pattern, options).await.unwrap();
    let context = administrator(&server).await;
    let stream = context.get_stream("micro").await.unwrap();
    let has_asked = async { while stream.consumer_info("g:t").await.unwrap().num_waiting == 0 {} };
    timeout(PATIENCE, has_asked).await.unwrap();
    way.cut();
    let mut held = Vec::new();
    for number in 0..2 {
        publish(&*broker_there, "t", Message::new(number.to_string())).await;
        held.push(next(&mut few).await);
    }
    for number in 2..4 {
        publish(&*broker_there, "t", Message::new(number.to_string())).await;
    }
    // What the server gave it beside these two is for others at once, and not when nobody has said a word for long.
    let broker = broker(nats::JETSTREAM, &server).await;
    let mut many = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let mut came: Vec<_> = held.iter().map(text).collect();
    for _ in 0..2 {
        let delivery = next(&mut many).await;
        came.push(text(&delivery));
        delivery.ack();
    }
    came.sort_unstable();
    assert_eq!(came, ["0", "1", "2", "3"]);
    assert!(few.try_next().is_none());
}

#[tokio::test]
async fn who_passes_through_a_durable_group_does_not_end_it() {
    let server = Server::start().await;
    for group in [Group::durable("g"), Group::passing("g")] {
        let broker = broker(nats::JETSTREAM, &server).await;
        drop(subscribe(&*broker, "t", Some(group)).await);
        // By then everybody has left.
        broker.close().await.unwrap();
    }
    let broker = broker(nats::JETSTREAM, &server).await;
    publish(&*broker, "t", Message::new("1")).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    assert_eq!(text(&next(&mut group).await), "1");
}

#[tokio::test]
async fn a_group_is_durable_from_the_first_member_on_that_wants_it_so() {
    let server = Server::start().await;
    let broker_of_one = broker(nats::JETSTREAM, &server).await;
    let passing = subscribe(&*broker_of_one, "t", Some(Group::passing("g"))).await;
    let broker_of_other = broker(nats::JETSTREAM, &server).await;
    let durable = subscribe(&*broker_of_other, "t", Some(Group::durable("g"))).await;
    drop((durable, passing));
    broker_of_other.close().await.unwrap();
    broker_of_one.close().await.unwrap();
    let stream = administrator(&server).await.get_stream("micro").await.unwrap();
    let config = stream.consumer_info("g:t").await.unwrap().config;
    assert_eq!((config.durable_name.as_deref(), config.inactive_threshold), (Some("g:t"), Duration::ZERO));
}

#[tokio::test]
async fn a_passing_group_goes_with_its_last_member() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let members = [
        subscribe(&*broker, "t", Some(Group::passing("g"))).await,
        subscribe(&*broker, "t", Some(Group::passing("g"))).await,
    ];
    drop(members);
    let is_gone = async { while !broker.groups("t").await.unwrap().is_empty() {} };
    timeout(PATIENCE, is_gone).await.expect("nobody is in it any more");
}

#[tokio::test]
async fn a_passing_group_goes_with_its_last_member_though_it_gives_something_back() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let mut group = subscribe(&*broker, "t", Some(Group::passing("g"))).await;
    for number in 0..3 {
        publish(&*broker, "t", Message::new(number.to_string())).await;
    }
    let held = [next(&mut group).await, next(&mut group).await];
    // One more is still on its way to it.
    drop((group, held));
    let is_gone = async { while !broker.groups("t").await.unwrap().is_empty() {} };
    timeout(PATIENCE, is_gone).await.expect("nobody is in it any more");
}

/// Three messages that a member of a group holds which may hold so many, and is then set back to the first of them.
async fn held_over_a_seek(broker: &dyn Broker, prefetch: usize) -> (Subscription, [Delivery; 3]) {
    let pattern = Pattern::new("t").unwrap();
    let options = SubscribeOptions { group: Some(Group::durable("g")), prefetch, from: Position::Latest };
    let mut group = broker.subscribe(&pattern, options).await.unwrap();
    for number in 0..3 {
        publish(broker, "t", Message::new(number.to_string())).await;
    }
    let held = [next(&mut group).await, next(&mut group).await, next(&mut group).await];
    broker.seek(&pattern, "g", Position::Earliest).await.unwrap();
    (group, held)
}

#[tokio::test]
async fn an_acknowledgement_from_before_a_seek_does_not_count_after_it() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let (mut group, old) = held_over_a_seek(&*broker, 64).await;
    let copies = [next(&mut group).await, next(&mut group).await, next(&mut group).await];
    assert_eq!(copies.each_ref().map(text), ["0", "1", "2"]);
    old.into_iter().for_each(Delivery::ack);
    // The server takes back only what it does not take for acknowledged.
    drop(copies);
    assert_eq!(text(&next(&mut group).await), "0");
}

#[tokio::test]
async fn a_member_without_room_hears_of_a_seek_and_acknowledges_nothing_that_others_have_since() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let (mut few, old) = held_over_a_seek(&*broker, 3).await;
    let mut many = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let copies = [next(&mut many).await, next(&mut many).await, next(&mut many).await];
    assert_eq!(copies.each_ref().map(text), ["0", "1", "2"]);
    let mut questions = overhear(&server, "$JS.API.CONSUMER.INFO.micro.>").await;
    pass(Duration::from_secs(11)).await;
    timeout(PATIENCE, questions.next()).await.expect("it looks after its consumer").unwrap();
    old.into_iter().for_each(Delivery::ack);
    publish(&*broker, "t", Message::new("3")).await;
    // The server has heard all of it when this has come and been told.
    let later = tokio::select! {
        delivery = next(&mut few) => delivery,
        delivery = next(&mut many) => delivery,
    };
    assert_eq!(text(&later), "3");
    let in_flight = async { broker.groups("t").await.unwrap()[0].in_flight };
    assert_eq!(in_flight.await, 4);
}

#[tokio::test]
async fn what_is_held_at_the_end_is_given_back_in_its_order() {
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let mut held = Vec::new();
    for number in 0..20 {
        publish(&*broker, "t", Message::new(number.to_string())).await;
        held.push(next(&mut group).await);
    }
    let mut words = overhear(&server, "$JS.ACK.micro.g:t.>").await;
    broker.close().await.unwrap();
    for place in 1..=20 {
        let word = timeout(PATIENCE, words.next()).await.unwrap().unwrap();
        assert_eq!((&word.payload[..], word.subject.split('.').nth(5)), (&b"-NAK"[..], Some(&*place.to_string())));
    }
}

#[tokio::test]
async fn a_new_connection_begins_with_word_of_what_is_worked_on() {
    let server = Server::start().await;
    let way = Way::to(&server).await;
    let broker = broker_on(&way).await;
    let mut group = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    publish(&*broker, "t", Message::new("1")).await;
    let held = next(&mut group).await;
    let mut words = overhear(&server, "$JS.ACK.micro.g:t.>").await;
    way.cut();
    // Half of the time after which it is said anyway.
    let word = timeout(Duration::from_secs(5), words.next()).await.expect("a word soon").unwrap();
    assert_eq!(&word.payload[..], b"+WPI");
    held.ack();
}

/// The server took messages for delivered that were on their way to a member that had just left, and one that it was handed
/// as it left stayed with it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_stays_with_members_that_come_and_go() {
    const PUBLISHERS: usize = 16;
    const EACH: usize = 200;
    let server = Server::start().await;
    let broker = broker(nats::JETSTREAM, &server).await;
    let came = Arc::new(Mutex::new(HashSet::new()));
    let take = |delivery: Delivery| {
        came.lock().unwrap().insert(text(&delivery));
        delivery.ack();
    };
    let mut stays = subscribe(&*broker, "t", Some(Group::durable("g"))).await;
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let broker = broker.clone();
        tokio::spawn(async move {
            for number in 0..EACH {
                publish(&*broker, "t", Message::new(format!("{publisher} {number}"))).await;
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let some = async |member: &mut Subscription| {
        if let Ok(delivery) = timeout(Duration::from_millis(5), member.next()).await {
            take(delivery.unwrap());
        }
    };
    let leave = async {
        while publishers.iter().any(|publisher| !publisher.is_finished()) {
            some(&mut subscribe(&*broker, "t", Some(Group::durable("g"))).await).await;
        }
    };
    let stay = async {
        while came.lock().unwrap().len() < PUBLISHERS * EACH {
            some(&mut stays).await;
        }
    };
    timeout(PATIENCE, async { tokio::join!(leave, stay) }).await.expect("all came");
}
