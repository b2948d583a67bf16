//! Many messages that a guest publishes in one call.

use super::done;
use micro_tests::{Host, Value, built_guest, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_messages_is_published_but_for_what_cannot_be() {
    let host = Host::start().await;
    host.deploy_as("worker", built_guest("worker")).await.ok();
    let publish = async |topic: &str, texts: Value| {
        host.call("worker", "Worker.PublishAll", json!({ "topic": topic, "texts": texts })).await
    };
    assert_eq!(publish("work.x", json!([])).await.result(), json!([]));
    let large = "x".repeat(1024 * 1024 + 1);
    let texts = json!([["a1", "a"], ["plain", null], ["b1", "b"], [large, "b"], ["a2", "a"], ["b2", "b"], ["a3", "a"]]);
    let refused = publish("work.x", texts).await.result();
    let refused: Vec<_> = refused.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let [large, behind] = refused[..] else { panic!("{refused:?}") };
    assert!(large.starts_with("3 413 ") && large.contains("1048576"), "{large}");
    assert!(behind.starts_with("5 503 ") && behind.contains("message 3"), "{behind}");
    let all = done(&host, 5).await;
    let of_a: Vec<_> = all.iter().filter(|text| text.as_str().is_some_and(|text| text.starts_with('a'))).collect();
    assert_eq!(of_a, ["a1", "a2", "a3"], "{all:?}");
    // Nothing of a list that may not be published at all.
    let denied = publish("other.x", json!([["c", null]])).await;
    assert!(denied.status == 403 && denied.text().contains("other.x"), "{}", denied.text());
    let many = publish("work.x", json!(vec![json!(["c", null]); 1_001])).await;
    assert!(many.status == 413 && many.text().contains("1000"), "{}", many.text());
    done(&host, 5).await;
}
