//! The guests that `scripts/messages` measures with, on a small scale.

use super::listens;
use micro_tests::{Client, Host, built_guest, guest, json, until, with_manifest};
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_each_key_come_in_their_order_though_tries_fail_by_chance() {
    let host = Host::start().await;
    host.deploy_as("keeper", built_guest("keeper")).await.ok();
    listens(&host, "numbers.a", "keeper").await;
    for number in 1..=60 {
        publish_to_each(&host, number).await;
    }
    all_came_in_order(&host, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_or_overtakes_another_while_revisions_change() {
    let host = Host::start().await;
    // Each revision subscribes in its own way, so that each has another worker in the same group.
    let revision = |number: u32| {
        let lines = format!(
            "[[subscribe]]\ntopic = \"numbers.>\"\nendpoint = \"Keeper.Take\"\nretries = {}\nbackoff = \"2ms\"\n",
            20 + number
        );
        with_manifest(&guest("keeper"), &lines)
    };
    host.deploy_as("keeper", revision(0)).await.ok();
    listens(&host, "numbers.a", "keeper").await;
    let client = Client::clone(&host);
    let publisher = tokio::spawn(async move {
        for number in 1..=400 {
            publish_to_each(&client, number).await;
        }
    });
    let mut revisions = 0;
    while !publisher.is_finished() || revisions < 3 {
        revisions += 1;
        host.deploy_as("keeper", revision(revisions % 7)).await.ok();
    }
    publisher.await.unwrap();
    all_came_in_order(&host, 400).await;
}

/// Publishes a number for each of three keys.
async fn publish_to_each(host: &Client, number: u64) {
    for key in ["a", "b", "c"] {
        let path = format!("/broker?topic=numbers.{key}&key={key}");
        let headers = [("content-type", "application/json")];
        let body = json!({ "number": number }).to_string();
        assert_eq!(host.sidecar_send(Method::POST, &path, &headers, body.into()).await.status, 200);
    }
}

async fn all_came_in_order(host: &Client, numbers: u64) {
    let report = until("nothing is missing", async || {
        let report = host.call("keeper", "Keeper.Report", json!({ "numbers": numbers })).await.ok();
        (report["missing"] == 0 && report["keys"] == 3).then_some(report)
    })
    .await;
    assert_eq!((&report["disordered"], &report["again"]), (&json!(0), &json!(0)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_publishes_to_a_guest() {
    let host = Host::start().await;
    host.deploy_as("sink", built_guest("sink")).await.ok();
    host.deploy_as("flood", built_guest("flood")).await.ok();
    // Each in a call of its own, and then all in three.
    for (together, count) in [(1, 300), (100, 600)] {
        let flood = json!({ "topic": "speed.x", "count": 300, "size": 100, "rate": 0, "together": together });
        host.call("flood", "Flood.Publish", flood).await.ok();
        let came = async || (host.call("sink", "Sink.Count", json!({})).await.result() == count).then_some(());
        until("all came", came).await;
    }
    let report = host.call("sink", "Sink.Report", json!({})).await.ok();
    assert!(report["count"] == 600 && report["p99_ms"].as_f64() >= report["p50_ms"].as_f64(), "{report}");
}
