//! What every broker must do, as checks a test runs against it.
//!
//! A backend's test hands over a way to open it and calls [`all`]. Each opening gives a broker on the same server or
//! file; topics of earlier runs may still be there. The checks panic with what went wrong, and leave out what the
//! backend says that it cannot do.
#![expect(clippy::panic, reason = "checks for tests, whose way to fail is to panic")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use super::{
    Broker, BrokerError, Delivery, Group, KEY, Message, Pattern, Position, PublishOptions, Remove, SubscribeOptions,
    Subscription,
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs every check, with topics of its own.
pub async fn all(open: impl AsyncFn() -> Arc<dyn Broker>) {
    let broker = open().await;
    a_message_comes_as_it_was_published(&*broker).await;
    everybody_without_a_group_gets_every_message(&*broker).await;
    a_group_shares_its_messages(&*broker).await;
    patterns_name_topics(&*broker).await;
    a_topic_keeps_its_order(&*broker).await;
    a_list_keeps_the_order_of_each_key(&*broker).await;
    no_more_is_handed_out_than_was_asked_for(&*broker).await;
    who_left_gets_no_more(&*broker).await;
    what_cannot_be_is_refused(&*broker).await;
    let abilities = broker.abilities();
    if abilities.list {
        groups_are_listed(&*broker).await;
    }
    if abilities.delay {
        a_message_may_come_later(&*broker).await;
    }
    if abilities.replay {
        old_messages_can_be_read(&*broker).await;
        a_group_can_be_set_back(&*broker).await;
        a_group_begins_where_it_says(&*broker).await;
    }
    if abilities.remove {
        what_is_removed_is_gone(&*broker).await;
    }
    if abilities.durable {
        what_is_given_back_comes_again(&*broker).await;
        what_nobody_acknowledged_goes_to_the_others(&*broker).await;
    }
    a_closed_broker_does_nothing(broker).await;
    if abilities.durable {
        a_group_goes_on_where_it_stood(open).await;
    }
}

async fn a_message_comes_as_it_was_published(broker: &dyn Broker) {
    let topic = unique("plain");
    let mut all = subscribe(broker, &topic, None, 8).await;
    let bodies = [b"text".to_vec(), Vec::new(), (0..=255).collect(), vec![7; 500_000]];
    for (number, body) in bodies.iter().enumerate() {
        let message = Message::new(body.clone())
            .with("Content-Type", "application/json")
            .with("traceparent", "00-1-2-01")
            .with("x-text", "Grüße, \"quoted\"");
        publish(broker, &topic, message).await;
        let delivery = next(&mut all).await;
        let header = &delivery.message.header;
        assert_eq!(delivery.message.body, body, "body {number}");
        assert_eq!(header.get("content-type"), Some("application/json"));
        assert_eq!(header.get("traceparent"), Some("00-1-2-01"));
        assert_eq!(header.get("x-text"), Some("Grüße, \"quoted\""));
        assert_eq!((&*delivery.topic, delivery.attempt), (&*topic, 1));
        delivery.ack();
    }
}

async fn everybody_without_a_group_gets_every_message(broker: &dyn Broker) {
    let topic = unique("everybody");
    let mut one = subscribe(broker, &topic, None, 8).await;
    let mut other = subscribe(broker, &topic, None, 8).await;
    for text in ["1", "2", "3"] {
        publish(broker, &topic, Message::new(text)).await;
    }
    for text in ["1", "2", "3"] {
        assert_eq!(text_of(&mut one).await, text);
        assert_eq!(text_of(&mut other).await, text);
    }
}

async fn a_group_shares_its_messages(broker: &dyn Broker) {
    let topic = unique("share");
    let mut members = [
        subscribe(broker, &topic, Some(Group::durable("one")), 64).await,
        subscribe(broker, &topic, Some(Group::durable("one")), 64).await,
    ];
    let mut other = subscribe(broker, &topic, Some(Group::durable("other")), 64).await;
    let sent: BTreeSet<String> = (0..40).map(|number| number.to_string()).collect();
    for text in &sent {
        publish(broker, &topic, Message::new(text.clone())).await;
    }
    let mut shared = Vec::new();
    while shared.len() < sent.len() {
        let [one, two] = &mut members;
        let delivery = timeout(PATIENCE, async {
            tokio::select! { delivery = one.next() => delivery, delivery = two.next() => delivery }
        });
        let delivery = delivery.await.unwrap_or_else(|_| panic!("only {} of {} came", shared.len(), sent.len()));
        let delivery = delivery.unwrap_or_else(|| panic!("a subscription ended"));
        shared.push(text(&delivery));
        delivery.ack();
    }
    assert_eq!(shared.iter().cloned().collect::<BTreeSet<_>>(), sent, "each came once to the group");
    let mut others = BTreeSet::new();
    while others.len() < sent.len() {
        others.insert(text_of(&mut other).await);
    }
    assert_eq!(others, sent, "and once to the other group");
}

async fn patterns_name_topics(broker: &dyn Broker) {
    let base = unique("pattern");
    let mut words = subscribe(broker, &format!("{base}.*"), None, 8).await;
    let mut all = subscribe(broker, &format!("{base}.>"), Some(Group::durable("all")), 8).await;
    for topic in ["", ".a", ".a.b", ".b"] {
        publish(broker, &format!("{base}{topic}"), Message::new(topic)).await;
    }
    let mut found = BTreeMap::new();
    for _ in 0..3 {
        let delivery = next(&mut all).await;
        found.insert(delivery.topic.to_string(), text(&delivery));
        delivery.ack();
    }
    let expected = [".a", ".a.b", ".b"].map(|topic| (format!("{base}{topic}"), topic.to_owned()));
    assert_eq!(found, BTreeMap::from(expected));
    let of_one_word = [text_of(&mut words).await, text_of(&mut words).await];
    assert_eq!(HashSet::from(of_one_word), HashSet::from([".a".to_owned(), ".b".to_owned()]));
}

async fn a_topic_keeps_its_order(broker: &dyn Broker) {
    let topic = unique("order");
    let mut all = subscribe(broker, &topic, Some(Group::durable("g")), 500).await;
    for number in 0..200 {
        publish(broker, &topic, Message::new(number.to_string()).with(KEY, "k")).await;
    }
    for number in 0..200 {
        let delivery = next(&mut all).await;
        assert_eq!((text(&delivery), delivery.message.key()), (number.to_string(), Some("k")));
        delivery.ack();
    }
}

async fn a_list_keeps_the_order_of_each_key(broker: &dyn Broker) {
    let topic = unique("list-order");
    let mut all = subscribe(broker, &topic, Some(Group::durable("g")), 500).await;
    let options = PublishOptions { patience: PATIENCE, ..PublishOptions::default() };
    let message = |number: usize| {
        let message = Message::new(number.to_string());
        (if number.is_multiple_of(4) { message } else { message.with(KEY, format!("k{}", number % 4)) }, options)
    };
    assert_eq!(broker.publish_all(&topic, (0..100).map(message).collect()).await, []);
    let mut came: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
    for _ in 0..100 {
        let delivery = next(&mut all).await;
        let number = text(&delivery).parse().unwrap_or(usize::MAX);
        came.entry(delivery.message.key().map(str::to_owned)).or_default().push(number);
        delivery.ack();
    }
    let mut without = came.remove(&None).unwrap_or_default();
    without.sort_unstable();
    assert_eq!(without, (0..100).step_by(4).collect::<Vec<_>>());
    for (key, numbers) in came {
        assert!(numbers.len() == 25 && numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
}

async fn no_more_is_handed_out_than_was_asked_for(broker: &dyn Broker) {
    let topic = unique("prefetch");
    let mut few = subscribe(broker, &topic, Some(Group::durable("few")), 2).await;
    let mut marks = subscribe(broker, &topic, None, 64).await;
    publish(broker, &topic, Message::new("1")).await;
    publish(broker, &topic, Message::new("2")).await;
    let held = [next(&mut few).await, next(&mut few).await];
    let options = PublishOptions { patience: PATIENCE, ..PublishOptions::default() };
    let third = broker.publish(&topic, Message::new("3"), options);
    let (_, ()) = tokio::join!(async { must("publish", third.await) }, async {
        if broker.abilities().durable {
            // When the third one is everywhere else, it is still not here.
            for _ in 0..3 {
                text_of(&mut marks).await;
            }
        }
        assert!(few.try_next().is_none(), "two are unacknowledged, and two were asked for");
        held.into_iter().for_each(Delivery::ack);
        assert_eq!(text_of(&mut few).await, "3");
    });
}

async fn who_left_gets_no_more(broker: &dyn Broker) {
    let topic = unique("left");
    let mut stays = subscribe(broker, &topic, Some(Group::passing("g")), 1).await;
    drop(subscribe(broker, &topic, Some(Group::passing("g")), 1).await);
    drop(subscribe(broker, &topic, None, 1).await);
    for number in 0..5 {
        publish(broker, &topic, Message::new(number.to_string())).await;
        assert_eq!(text_of(&mut stays).await, number.to_string());
    }
}

async fn what_cannot_be_is_refused(broker: &dyn Broker) {
    let options = PublishOptions::default();
    for topic in ["", "a.*", "a..b", "a b"] {
        let refused = broker.publish(topic, Message::default(), options).await;
        assert!(matches!(refused, Err(BrokerError::BadName(_))), "{topic:?}: {refused:?}");
    }
    let large = broker.publish("large", Message::new(vec![0; super::MAX_MESSAGE + 1]), options).await;
    assert!(matches!(large, Err(BrokerError::TooLarge(_))), "{large:?}");
    let group = SubscribeOptions { group: Some(Group::durable("a b")), ..SubscribeOptions::default() };
    let refused = broker.subscribe(&pattern("a"), group).await;
    assert!(matches!(refused, Err(BrokerError::BadName(_))), "{refused:?}");
}

async fn groups_are_listed(broker: &dyn Broker) {
    let topic = unique("list");
    let mut member = subscribe(broker, &topic, Some(Group::durable("g")), 2).await;
    for number in 0..2 {
        publish(broker, &topic, Message::new(number.to_string())).await;
    }
    let held = next(&mut member).await;
    let began = Instant::now();
    let group = loop {
        let groups = must("groups", broker.groups(&topic).await);
        let [group] = &groups[..] else { panic!("one group is there: {groups:?}") };
        // Some servers count a message for a group a moment after they have taken it.
        if group.lag == 2 || began.elapsed() > PATIENCE {
            break group.clone();
        }
    };
    assert_eq!((&*group.name, &*group.pattern, group.lag, group.members), ("g", &*topic, 2, 1));
    let topics = must("topics", broker.topics().await);
    assert!(topics.iter().any(|usage| usage.name == topic), "{topic} is among {topics:?}");
    held.ack();
    assert_eq!(text_of(&mut member).await, "1");
}

async fn a_message_may_come_later(broker: &dyn Broker) {
    let topic = unique("later");
    let mut all = subscribe(broker, &topic, Some(Group::durable("g")), 8).await;
    let at = now() + 300;
    let later = PublishOptions { deliver_at: Some(at), ..PublishOptions::default() };
    must("publish", broker.publish(&topic, Message::new("later"), later).await);
    let past = PublishOptions { deliver_at: Some(1), ..PublishOptions::default() };
    must("publish", broker.publish(&topic, Message::new("at once"), past).await);
    assert_eq!(text_of(&mut all).await, "at once");
    assert_eq!(text_of(&mut all).await, "later");
    assert!(now() >= at, "not before its time");
}

async fn old_messages_can_be_read(broker: &dyn Broker) {
    let topic = unique("read");
    assert_eq!(must("read", broker.read(&topic, Position::Earliest, 10).await), []);
    for number in 0..5 {
        publish(broker, &topic, Message::new(number.to_string()).with("n", number.to_string())).await;
    }
    let all = must("read", broker.read(&topic, Position::Earliest, 10).await);
    let texts: Vec<_> = all.iter().map(|stored| String::from_utf8_lossy(&stored.message.body).into_owned()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    assert_eq!(all.last().and_then(|stored| stored.message.header.get("n")), Some("4"));
    assert!(all.is_sorted_by(|a, b| a.offset < b.offset && a.published <= b.published));
    let third = all.get(2).map_or(0, |stored| stored.offset);
    let some = must("read", broker.read(&topic, Position::Offset(third), 2).await);
    assert_eq!(some, all.get(2..4).unwrap_or_default());
    assert_eq!(must("read", broker.read(&topic, Position::Time(0), 10).await).len(), 5);
    assert_eq!(must("read", broker.read(&topic, Position::Time(now() + 60_000), 10).await), []);
    assert_eq!(must("read", broker.read(&topic, Position::Latest, 10).await), []);
}

async fn a_group_can_be_set_back(broker: &dyn Broker) {
    let topic = unique("back");
    let mut group = subscribe(broker, &topic, Some(Group::durable("g")), 8).await;
    for number in 0..3 {
        publish(broker, &topic, Message::new(number.to_string())).await;
        assert_eq!(text_of(&mut group).await, number.to_string());
    }
    must("seek", broker.seek(&pattern(&topic), "g", Position::Earliest).await);
    for number in 0..3 {
        assert_eq!(text_of(&mut group).await, number.to_string(), "again");
    }
    drop(group);
    publish(broker, &topic, Message::new("3")).await;
    must("seek", broker.seek(&pattern(&topic), "g", Position::Latest).await);
    publish(broker, &topic, Message::new("4")).await;
    let mut group = subscribe(broker, &topic, Some(Group::durable("g")), 8).await;
    assert_eq!(text_of(&mut group).await, "4", "3 was skipped");
}

async fn a_group_begins_where_it_says(broker: &dyn Broker) {
    let topic = unique("begin");
    for number in 0..3 {
        publish(broker, &topic, Message::new(number.to_string())).await;
    }
    let from = |from| SubscribeOptions { from, ..SubscribeOptions::default() };
    let mut early = must("subscribe", broker.subscribe(&pattern(&topic), from(Position::Earliest)).await);
    let group = SubscribeOptions { group: Some(Group::durable("g")), ..from(Position::Earliest) };
    let mut group = must("subscribe", broker.subscribe(&pattern(&topic), group).await);
    let mut late = subscribe(broker, &topic, Some(Group::durable("late")), 8).await;
    for number in 0..3 {
        assert_eq!(text_of(&mut early).await, number.to_string());
        assert_eq!(text_of(&mut group).await, number.to_string());
    }
    publish(broker, &topic, Message::new("new")).await;
    assert_eq!(text_of(&mut late).await, "new");
}

async fn what_is_removed_is_gone(broker: &dyn Broker) {
    let topic = unique("remove");
    for number in 0..3 {
        publish(broker, &topic, Message::new(number.to_string())).await;
    }
    let offsets = async || -> Vec<u64> {
        must("read", broker.read(&topic, Position::Earliest, 10).await).iter().map(|stored| stored.offset).collect()
    };
    let before = offsets().await;
    let [first, second, third] = before[..] else { panic!("three were published: {before:?}") };
    assert!(must("remove", broker.remove(Remove::Message(&topic, second)).await));
    assert!(!must("remove", broker.remove(Remove::Message(&topic, second)).await));
    assert_eq!(offsets().await, [first, third]);
    let name = Group::durable("g");
    drop(subscribe(broker, &topic, Some(name.clone()), 1).await);
    assert!(must("remove", broker.remove(Remove::Group(&pattern(&topic), &name.name)).await));
    assert!(!must("remove", broker.remove(Remove::Group(&pattern(&topic), &name.name)).await));
    assert_eq!(must("groups", broker.groups(&topic).await), []);
    assert!(must("remove", broker.remove(Remove::Topic(&topic)).await));
    assert!(offsets().await.is_empty());
}

async fn what_is_given_back_comes_again(broker: &dyn Broker) {
    let topic = unique("again");
    let mut group = subscribe(broker, &topic, Some(Group::durable("g")), 1).await;
    publish(broker, &topic, Message::new("1")).await;
    publish(broker, &topic, Message::new("2")).await;
    drop(next(&mut group).await);
    let again = next(&mut group).await;
    assert_eq!(text(&again), "1");
    assert!(again.attempt >= 2, "it was handed out before: {}", again.attempt);
    again.ack();
    assert_eq!(text_of(&mut group).await, "2");
}

async fn what_nobody_acknowledged_goes_to_the_others(broker: &dyn Broker) {
    let topic = unique("others");
    let mut leaves = subscribe(broker, &topic, Some(Group::durable("g")), 8).await;
    for number in 0..4 {
        publish(broker, &topic, Message::new(number.to_string())).await;
    }
    next(&mut leaves).await.ack();
    let held = next(&mut leaves).await;
    drop(leaves);
    drop(held);
    let mut stays = subscribe(broker, &topic, Some(Group::durable("g")), 8).await;
    let mut came = BTreeSet::new();
    while came.len() < 3 {
        came.insert(text_of(&mut stays).await);
    }
    assert_eq!(came, ["1", "2", "3"].map(str::to_owned).into_iter().collect());
}

async fn a_closed_broker_does_nothing(broker: Arc<dyn Broker>) {
    let topic = unique("closed");
    let mut group = subscribe(&*broker, &topic, Some(Group::passing("g")), 1).await;
    must("close", broker.close().await);
    must("close again", broker.close().await);
    let ended = timeout(PATIENCE, group.next()).await.unwrap_or_else(|_| panic!("a subscription outlives its broker"));
    assert!(ended.is_none());
    let refused = broker.publish(&topic, Message::default(), PublishOptions::default()).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    let refused = broker.subscribe(&pattern(&topic), SubscribeOptions::default()).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    if broker.abilities().list {
        let refused = broker.topics().await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
        let refused = broker.groups(&topic).await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    }
    if broker.abilities().replay {
        let refused = broker.read(&topic, Position::Earliest, 1).await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    }
}

async fn a_group_goes_on_where_it_stood(open: impl AsyncFn() -> Arc<dyn Broker>) {
    let topic = unique("goes-on");
    let broker = open().await;
    let mut group = subscribe(&*broker, &topic, Some(Group::durable("g")), 8).await;
    for number in 0..5 {
        publish(&*broker, &topic, Message::new(number.to_string())).await;
    }
    for number in 0..2 {
        assert_eq!(text_of(&mut group).await, number.to_string());
    }
    drop(group);
    must("close", broker.close().await);
    let broker = open().await;
    // Who is in it only for a while takes nothing of that away, and gives back what it was given.
    let mut passing = subscribe(&*broker, &topic, Some(Group::passing("g")), 8).await;
    let held = [next(&mut passing).await, next(&mut passing).await, next(&mut passing).await];
    drop((held, passing));
    must("close", broker.close().await);
    let broker = open().await;
    publish(&*broker, &topic, Message::new("5")).await;
    let mut group = subscribe(&*broker, &topic, Some(Group::durable("g")), 8).await;
    let mut came = Vec::new();
    while came.len() < 4 {
        came.push(text_of(&mut group).await);
    }
    came.sort_unstable();
    assert_eq!(came, ["2", "3", "4", "5"], "what was acknowledged does not come again");
    must("close", broker.close().await);
}

/// A topic that no other check and no other run uses.
fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("contract.{what}-{:x}-{}-{}", now(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn pattern(text: &str) -> Pattern {
    must("pattern", Pattern::new(text))
}

pub(super) async fn subscribe(
    broker: &dyn Broker,
    topics: &str,
    group: Option<Group>,
    prefetch: usize,
) -> Subscription {
    let options = SubscribeOptions { group, prefetch, from: Position::Latest };
    must("subscribe", broker.subscribe(&pattern(topics), options).await)
}

pub(super) async fn publish(broker: &dyn Broker, topic: &str, message: Message) {
    let options = PublishOptions { patience: PATIENCE, ..PublishOptions::default() };
    must("publish", broker.publish(topic, message, options).await);
}

pub(super) async fn next(subscription: &mut Subscription) -> Delivery {
    match timeout(PATIENCE, subscription.next()).await {
        Ok(Some(delivery)) => delivery,
        Ok(None) => panic!("the subscription ended"),
        Err(_) => panic!("no message came in {PATIENCE:?}"),
    }
}

/// The next message, acknowledged.
pub(super) async fn text_of(subscription: &mut Subscription) -> String {
    let delivery = next(subscription).await;
    let text = text(&delivery);
    delivery.ack();
    text
}

pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.body).into_owned()
}

fn must<T, E: Debug>(what: &str, outcome: Result<T, E>) -> T {
    outcome.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}
