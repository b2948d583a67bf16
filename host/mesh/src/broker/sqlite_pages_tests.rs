use super::*;
use crate::broker::contract::text_of;
use crate::broker::sqlite::Sqlite;
use crate::broker::{
    Broker, Clock, Group as Sharing, Limits, Message, Pattern, PublishOptions, Remove, SubscribeOptions,
};

#[tokio::test]
async fn what_was_removed_while_a_page_was_read_is_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker");
    let open = async || Sqlite::open(&path, Limits::default(), Clock::default()).await.unwrap();
    let (pattern, options) = (
        Pattern::new("a").unwrap(),
        SubscribeOptions { group: Some(Sharing::durable("g")), ..SubscribeOptions::default() },
    );
    let first = open().await;
    drop(first.subscribe(&pattern, options.clone()).await.unwrap());
    for text in ["1", "2", "3"] {
        first.publish("a", Message::new(text), PublishOptions::default()).await.unwrap();
    }
    first.close().await.unwrap();

    // Nothing is at hand now, and the page has what is removed before it arrives.
    let second = open().await;
    let topic = second.shared.topic("a").unwrap().id;
    let group = second.shared.state().groups[0].clone();
    let fetch = {
        let mut inner = group.lock();
        inner.is_reading = true;
        Fetch::new(&inner.lanes[&topic], 4)
    };
    let reading = fetch.clone();
    let records = second.shared.readers.read(move |file| reading.read(file)).await.ok().unwrap();
    assert_eq!(records.len(), 3);
    assert!(second.remove(Remove::Message("a", 2)).await.unwrap());
    fetch.arrive(&group, records);
    let mut group = second.subscribe(&pattern, options).await.unwrap();
    assert_eq!(text_of(&mut group).await, "1");
    assert_eq!(text_of(&mut group).await, "3");
}
