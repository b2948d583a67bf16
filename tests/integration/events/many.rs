//! The guests that `scripts/messages` measures with, on a small scale.

use super::listens;
use micro_tests::{Host, built_guest, json, until};
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_each_key_come_in_their_order_though_tries_fail_by_chance() {
    let host = Host::start().await;
    host.deploy_as("keeper", built_guest("keeper")).await.ok();
    listens(&host, "numbers.a", "keeper").await;
    for number in 1..=60 {
        for key in ["a", "b", "c"] {
            let path = format!("/broker?topic=numbers.{key}&key={key}");
            let headers = [("content-type", "application/json")];
            let body = json!({ "number": number }).to_string();
            assert_eq!(host.sidecar_send(Method::POST, &path, &headers, body.into()).await.status, 200);
        }
    }
    let report = until("nothing is missing", async || {
        let report = host.call("keeper", "Keeper.Report", json!({ "numbers": 60 })).await.ok();
        (report["missing"] == 0 && report["keys"] == 3).then_some(report)
    })
    .await;
    assert_eq!(report["disordered"], 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_publishes_to_a_guest() {
    let host = Host::start().await;
    host.deploy_as("sink", built_guest("sink")).await.ok();
    host.deploy_as("flood", built_guest("flood")).await.ok();
    let flood = json!({ "topic": "speed.x", "count": 300, "size": 100, "rate": 0 });
    host.call("flood", "Flood.Publish", flood).await.ok();
    until("all came", async || (host.call("sink", "Sink.Count", json!({})).await.result() == 300).then_some(())).await;
    let report = host.call("sink", "Sink.Report", json!({})).await.ok();
    assert!(report["count"] == 300 && report["p99_ms"].as_f64() >= report["p50_ms"].as_f64(), "{report}");
}
