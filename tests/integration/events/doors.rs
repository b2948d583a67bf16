//! Publishing and subscribing from outside.

use super::{listens, publish};
use futures::{SinkExt as _, StreamExt as _};
use micro::server::Options;
use micro_tests::{DEADLINE, Host, Value, guest, json, until, with_manifest};
use reqwest::Method;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error as Refusal, Message};

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_gets_and_sends_messages_as_go_micro_has_it() {
    let host = Host::start().await;
    let url = format!("{}/broker?topic=chat", host.sidecar.replace("http://", "ws://"));
    let (mut one, _) = connect_async(&url).await.unwrap();
    let (mut other, _) = connect_async(&url).await.unwrap();
    one.send(Message::text("hello")).await.unwrap();
    for socket in [&mut one, &mut other] {
        let frame = tokio::time::timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap();
        let frame: Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
        assert_eq!((&frame["Body"], &frame["Header"]["content-type"]), (&json!("aGVsbG8="), &json!("text/plain")));
    }
    one.close(None).await.unwrap();
    publish(&host, "chat", "on").await;
    let frame = tokio::time::timeout(DEADLINE, other.next()).await.unwrap().unwrap().unwrap();
    assert!(frame.to_text().unwrap().contains("\"Body\":\"b24=\""), "{frame}");
}

#[tokio::test(flavor = "multi_thread")]
async fn web_sockets_of_one_queue_share() {
    let host = Host::start().await;
    let url = format!("{}/broker?topic=jobs&queue=desk", host.sidecar.replace("http://", "ws://"));
    let (mut one, _) = connect_async(&url).await.unwrap();
    let (mut other, _) = connect_async(&url).await.unwrap();
    listens(&host, "jobs", "desk").await;
    for number in 0..6 {
        publish(&host, "jobs", &number.to_string()).await;
    }
    for _ in 0..6 {
        let frame = tokio::time::timeout(DEADLINE, async {
            tokio::select! { frame = one.next() => frame, frame = other.next() => frame }
        });
        assert!(frame.await.unwrap().unwrap().unwrap().is_text());
    }
    publish(&host, "jobs", "last").await;
    let last = tokio::time::timeout(DEADLINE, async {
        tokio::select! { frame = one.next() => frame, frame = other.next() => frame }
    });
    assert!(last.await.unwrap().unwrap().unwrap().to_text().unwrap().contains("bGFzdA=="), "each came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_topic_is_told() {
    let host = Host::start().await;
    let post = async |path: &str| host.sidecar_send(Method::POST, path, &[], "x".into()).await;
    assert_eq!(post("/broker").await.refused(400), "Topic not specified");
    assert!(post("/broker?topic=a..b").await.refused(400).contains("a word of it is empty"));
    assert!(post("/broker?topic=a.*").await.refused(400).contains("* and > are for patterns"));
    let put = host.sidecar_send(Method::PUT, "/broker?topic=a", &[], "x".into()).await;
    assert_eq!(put.refused(405), "Method not allowed");
    let get = host.sidecar("/broker?topic=a").await;
    assert!(get.refused(400).contains("ask for a WebSocket"), "{}", get.text());
    let large = host.sidecar_send(Method::POST, "/broker?topic=a", &[], vec![0; 2 << 20].into()).await;
    assert_eq!(large.status, 413, "{}", large.text());
    let url = format!("{}/broker?topic=a..b", host.sidecar.replace("http://", "ws://"));
    let Err(Refusal::Http(refused)) = connect_async(url).await else { panic!("a pattern that is none is refused") };
    assert_eq!(refused.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_may_take_events() {
    let options = Options { takes_events: true, namespace: "go.micro".into(), ..Options::default() };
    let host = Host::start_with(options).await;
    let manifest = "[[subscribe]]\ntopic = \"go.micro.>\"\nendpoint = \"Worker.Work\"\n";
    host.deploy_as("worker", with_manifest(&guest("worker"), manifest)).await.ok();
    listens(&host, "go.micro.visits", "worker").await;
    let reply = host.send(Method::POST, "/visits/page/seen", &[("x-a", "1")], r#"{"page":3}"#.into()).await;
    assert_eq!((reply.status, reply.text()), (200, ""));
    let event = until("the event is there", async || {
        let done = host
            .sidecar_send(
                Method::POST,
                "/rpc",
                &[("content-type", "application/json")],
                json!({"service": "worker", "endpoint": "Worker.Done"}).to_string().into(),
            )
            .await
            .result();
        done[0].as_str().map(|text| serde_json::from_str::<Value>(text).unwrap())
    })
    .await;
    assert_eq!((&event["name"], &event["data"]), (&json!("page.seen"), &json!("{\"page\":3}")));
    assert_eq!(event["header"]["X-A"], json!({"key": "X-A", "values": ["1"]}));
    assert!(event["id"].as_str().unwrap().starts_with("go.micro.visits-page.seen-") && event["timestamp"].is_u64());
}
