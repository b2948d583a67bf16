//! What the members of groups hold, give back and leave behind.

use super::*;

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
    for number in 0..4 {
        publish(&*broker_there, "t", Message::new(number.to_string())).await;
    }
    let held = [next(&mut few).await, next(&mut few).await];
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
