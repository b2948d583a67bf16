use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;

use super::*;
use crate::broker::contract::{next, publish, subscribe, text};
use crate::broker::servers::{RedisServer, free_port};
use crate::broker::{Delivery, Group, OpenOptions, contract, open};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn broker(server: &RedisServer) -> Arc<dyn Broker> {
    open(NAME, OpenOptions { address: Some(server.address()), ..OpenOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let server = RedisServer::start().await;
    contract::all(async || broker(&server).await).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let address = Some(format!("redis://user:secret@127.0.0.1:{}", free_port()));
    let error = open(NAME, OpenOptions { address, ..OpenOptions::default() }).await.err().unwrap();
    assert!(matches!(&error, BrokerError::Unavailable(text) if !text.contains("secret")), "{error:?}");
}

#[tokio::test]
async fn what_is_no_address_is_refused_without_its_password() {
    for address in ["http://user:secret@here", "user:secret@127.0.0.1:1", "redis://user:secret@here:port"] {
        let options = OpenOptions { address: Some(address.to_owned()), ..OpenOptions::default() };
        let error = open(NAME, options).await.err().unwrap();
        assert!(matches!(&error, BrokerError::Setting(text) if !text.contains("secret")), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_has_lost_nothing() {
    let mut server = RedisServer::start().await;
    let broker = broker(&server).await;
    let mut group = subscribe(&*broker, "orders.>", Some(Group::durable("g")), 4).await;
    for number in 0..10 {
        publish(&*broker, "orders.a", Message::new(number.to_string())).await;
    }
    next(&mut group).await.ack();
    let held = next(&mut group).await;
    server.kill().await;
    let refused = broker.publish("orders.a", Message::new("lost"), PublishOptions::default()).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    let patient = publish(&*broker, "orders.b", Message::new("10"));
    let ((), ()) = tokio::join!(patient, server.start_again());
    held.ack();
    let mut came = BTreeSet::new();
    while came.len() < 9 {
        let delivery = next(&mut group).await;
        came.insert(text(&delivery).parse::<u32>().unwrap());
        delivery.ack();
    }
    assert_eq!(came, (2..=10).collect(), "what was acknowledged does not come again");

    // Who is patient with a server that is gone is not left behind by closing.
    server.kill().await;
    let is_over = Cell::new(false);
    let publisher = async {
        let options = PublishOptions { patience: PATIENCE, ..PublishOptions::default() };
        let refused = broker.publish("orders.a", Message::new("late"), options).await;
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
        is_over.set(true);
    };
    let closing = async {
        broker.close().await.unwrap();
        assert!(is_over.get(), "closing waits for publishers");
    };
    tokio::join!(publisher, closing);
}

#[tokio::test]
async fn what_is_worked_on_when_a_subscription_ends_may_still_be_acknowledged() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    let mut leaves = subscribe(&*broker, "a", Some(Group::durable("g")), 8).await;
    let mut stays = subscribe(&*broker, "a", Some(Group::durable("g")), 8).await;
    let mut held = Vec::new();
    for number in 0.. {
        publish(&*broker, "a", Message::new(number.to_string())).await;
        let delivery = tokio::select! {
            delivery = leaves.next() => { held.extend(delivery); break }
            delivery = stays.next() => delivery,
        };
        delivery.unwrap().ack();
    }
    drop(leaves);
    publish(&*broker, "a", Message::new("mark")).await;
    let delivery = next(&mut stays).await;
    assert_eq!(text(&delivery), "mark");
    delivery.ack();
    held.into_iter().for_each(Delivery::ack);
    let usage = async || broker.groups("a").await.unwrap().remove(0);
    tokio::time::timeout(PATIENCE, async { while usage().await.lag > 0 {} }).await.expect("nothing is left");
    assert!(stays.try_next().is_none());
}

#[tokio::test]
async fn more_than_the_next_one_has_room_for_is_not_left_lying() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    let mut leaves = subscribe(&*broker, "a", Some(Group::durable("g")), 32).await;
    let mut held = Vec::new();
    for number in 0..20 {
        publish(&*broker, "a", Message::new(number.to_string())).await;
        held.push(next(&mut leaves).await);
    }
    drop((leaves, held));
    let mut stays = subscribe(&*broker, "a", Some(Group::durable("g")), 8).await;
    let mut came = BTreeSet::new();
    while came.len() < 20 {
        let delivery = next(&mut stays).await;
        came.insert(text(&delivery));
        delivery.ack();
    }
}

#[tokio::test]
async fn what_a_member_holds_while_the_server_is_long_away_comes_once() {
    let mut server = RedisServer::start().await;
    let broker = broker(&server).await;
    let mut group = subscribe(&*broker, "a", Some(Group::durable("g")), 4).await;
    publish(&*broker, "a", Message::new("held")).await;
    publish(&*broker, "a", Message::new("acknowledged")).await;
    let (held, acknowledged) = (next(&mut group).await, next(&mut group).await);
    let mut connection = connect(&server).await;
    let pending = redis::cmd("XPENDING").arg("micro:topic:a").arg("g a").arg("-").arg("+").arg(9).to_owned();
    let pending: Vec<(String, String, u64, u64)> = pending.query_async(&mut connection).await.unwrap();
    // The server counts the time that it was away, and takes these for forgotten when it is back.
    let mut claim = redis::cmd("XCLAIM");
    claim.arg("micro:topic:a").arg("g a").arg(&pending[0].1).arg(0);
    claim.arg(&pending[0].0).arg(&pending[1].0).arg("IDLE").arg(SILENCE.as_secs() * 2_000).arg("JUSTID");
    let _: Vec<String> = claim.query_async(&mut connection).await.unwrap();
    server.kill().await;
    acknowledged.ack();
    server.start_again().await;
    publish(&*broker, "a", Message::new("mark")).await;
    let mark = next(&mut group).await;
    assert_eq!((text(&mark).as_str(), mark.attempt), ("mark", 1));
    mark.ack();
    held.ack();
    let lag = async || broker.groups("a").await.unwrap().remove(0).lag;
    tokio::time::timeout(PATIENCE, async { while lag().await > 0 {} }).await.expect("nothing is left");
    assert!(group.try_next().is_none());
}

#[tokio::test]
async fn a_topic_that_is_removed_while_its_messages_are_held_stops_nobody() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    publish(&*broker, "w.stays", Message::new("0")).await;
    let mut group = subscribe(&*broker, "w.>", Some(Group::durable("g")), 8).await;
    publish(&*broker, "w.goes", Message::new("1")).await;
    publish(&*broker, "w.goes", Message::new("2")).await;
    let (held, given_back) = (next(&mut group).await, next(&mut group).await);
    assert_eq!(broker.remove(Remove::Topic("w.goes")).await, Ok(true));
    drop(given_back);
    for number in 3..20 {
        publish(&*broker, "w.stays", Message::new(number.to_string())).await;
        let delivery = next(&mut group).await;
        assert_eq!(text(&delivery), number.to_string());
        delivery.ack();
    }
    held.ack();
    drop(group);
    let members = async || broker.groups("w.stays").await.unwrap().remove(0).members;
    tokio::time::timeout(PATIENCE, async { while members().await > 0 {} }).await.expect("the member leaves");
}

#[tokio::test]
async fn a_group_that_was_removed_under_its_member_begins_as_it_did_at_first() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    let mut group = subscribe(&*broker, "a", Some(Group::durable("g")), 8).await;
    for number in 0..3 {
        publish(&*broker, "a", Message::new(number.to_string())).await;
        next(&mut group).await.ack();
    }
    assert_eq!(broker.remove(Remove::Group(&Pattern::new("a").unwrap(), "g")).await, Ok(true));
    let mut connection = connect(&server).await;
    let anew = async { while connection.hget(keys::GROUPS, "g a").await != Ok(Some("durable".to_owned())) {} };
    tokio::time::timeout(PATIENCE, anew).await.expect("the group is remembered again");
    publish(&*broker, "a", Message::new("mark")).await;
    let delivery = next(&mut group).await;
    assert_eq!(text(&delivery), "mark", "what came before it does not come again");
    delivery.ack();
    // A topic that came anew is read from its beginning.
    assert_eq!(broker.remove(Remove::Topic("a")).await, Ok(true));
    publish(&*broker, "a", Message::new("anew")).await;
    assert_eq!(text(&next(&mut group).await), "anew");
}

#[tokio::test]
async fn a_topic_that_nobody_published_to_leaves_nothing_behind() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    let alone = subscribe(&*broker, "never", None, 8).await;
    drop(subscribe(&*broker, "never", Some(Group::durable("g")), 8).await);
    let pattern = Pattern::new("never").unwrap();
    assert_eq!(broker.remove(Remove::Group(&pattern, "g")).await, Ok(true));
    drop(alone);
    let mut connection = connect(&server).await;
    let gone = async { while connection.exists("micro:topic:never").await != Ok(false) {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("the stream goes with the last one who waits for it");
}

#[tokio::test]
async fn what_the_server_does_not_count_is_counted_up_to_a_thousand() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    let mut connection = connect(&server).await;
    publish(&*broker, "a", Message::new("first")).await;
    let add = Script::new("for n = 1, 1500 do redis.call('XADD', KEYS[1], '*', 'Body', n) end");
    let () = add.key("micro:topic:a").invoke_async(&mut connection).await.unwrap();
    let stored = broker.read("a", Position::Earliest, 1500).await.unwrap();
    let pattern = Pattern::new("a").unwrap();
    let mut lags = Vec::new();
    for back in [2, 1200] {
        broker.seek(&pattern, "g", Position::Offset(stored[back].offset)).await.unwrap();
        lags.push(broker.groups("a").await.unwrap()[0].lag);
    }
    assert_eq!(lags, [1000, 301]);
}

#[tokio::test]
async fn who_falls_silent_is_struck_off_and_others_take_over() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    let mut connection = connect(&server).await;
    let mut stays = subscribe(&*broker, "a", Some(Group::durable("g")), 8).await;
    let lone = subscribe(&*broker, "a", None, 8).await;
    publish(&*broker, "a", Message::new("1")).await;
    next(&mut stays).await.ack();
    // A member of another process that ended an hour ago, with a message in its hands.
    let () = connection.zadd(keys::MEMBERS, "g a m0", 1).await.unwrap();
    let () = connection.zadd(keys::MEMBERS, "~gone a m00", 1).await.unwrap();
    let () = connection.hset(keys::GROUPS, "~gone a", "passing").await.unwrap();
    let () = connection.xgroup_create("micro:topic:a", "~gone a", "0").await.unwrap();
    let id: String = connection.xadd("micro:topic:a", "*", &[("Body", "held")]).await.unwrap();
    let claim = redis::cmd("XCLAIM").arg("micro:topic:a").arg("g a").arg("m0").arg(0).arg(&id).arg("FORCE").to_owned();
    let _: redis::Value = claim.query_async(&mut connection).await.unwrap();
    upkeep::sweep(&broker_of(&server).await.shared).await.unwrap();
    let members: Vec<String> = connection.zrange(keys::MEMBERS, 0, -1).await.unwrap();
    assert!(members.iter().all(|member| !member.ends_with(" m0") && !member.ends_with(" m00")), "{members:?}");
    assert_eq!(connection.hexists::<_, _, bool>(keys::GROUPS, "~gone a").await, Ok(false));
    let mut came = BTreeSet::new();
    while !came.contains("held") {
        let delivery = next(&mut stays).await;
        came.insert(text(&delivery));
        delivery.ack();
    }
    drop(lone);
}

#[tokio::test]
async fn a_word_from_before_a_group_was_set_back_says_nothing_after_it() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    let pattern = Pattern::new("w.>").unwrap();
    let mut group = subscribe(&*broker, "w.>", Some(Group::durable("g")), 8).await;
    publish(&*broker, "w.a", Message::new("a")).await;
    let acked = next(&mut group).await;
    publish(&*broker, "w.b", Message::new("b")).await;
    let dropped = next(&mut group).await;
    broker.seek(&pattern, "g", Position::Earliest).await.unwrap();
    let mut again = BTreeMap::new();
    while again.len() < 2 {
        let delivery = next(&mut group).await;
        again.insert(text(&delivery), delivery);
    }
    acked.ack();
    drop(dropped);
    // The group has not heard of the first one, and has the second one at work still.
    drop(again.remove("a"));
    let third = next(&mut group).await;
    assert_eq!(text(&third), "a");
    assert!(group.try_next().is_none(), "nobody gave the other one back");
    third.ack();
    again.into_values().for_each(Delivery::ack);
    let lag = async || broker.groups("w.a").await.unwrap()[0].lag + broker.groups("w.b").await.unwrap()[0].lag;
    tokio::time::timeout(PATIENCE, async { while lag().await > 0 {} }).await.expect("what came after it counts");

    // Who leaves meanwhile notices too.
    publish(&*broker, "w.a", Message::new("late")).await;
    let held = next(&mut group).await;
    drop(group);
    broker.seek(&pattern, "g", Position::Offset(held.offset.unwrap())).await.unwrap();
    let mut stays = subscribe(&*broker, "w.>", Some(Group::durable("g")), 8).await;
    let late = async |group: &mut Subscription| loop {
        let delivery = next(group).await;
        if text(&delivery) == "late" {
            return delivery;
        }
        delivery.ack();
    };
    let again = late(&mut stays).await;
    held.ack();
    let members = async || broker.groups("w.a").await.unwrap()[0].members;
    tokio::time::timeout(PATIENCE, async { while members().await > 1 {} }).await.expect("it has left");
    drop(again);
    late(&mut stays).await.ack();
}

async fn connect(server: &RedisServer) -> MultiplexedConnection {
    Client::open(server.address()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn broker_of(server: &RedisServer) -> Redis {
    Redis::open(&server.address(), Clock::default()).await.unwrap()
}

#[tokio::test]
async fn a_server_without_room_says_so() {
    let server = RedisServer::start().await;
    let broker = broker(&server).await;
    let mut connection = connect(&server).await;
    let config = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").to_owned();
    let () = config.query_async(&mut connection).await.unwrap();
    let refused = broker.publish("a", Message::new("x"), PublishOptions::default()).await;
    assert!(matches!(refused, Err(BrokerError::Full(_))), "{refused:?}");
}
