//! Functions that are written with the SDK's attributes, as the host sees them.

use micro_tests::{Host, built_guest, json};
use reqwest::Method;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_says_is_what_the_host_shows() {
    let host = Host::start().await;
    let deployed = host.deploy_as("desk", built_guest("sdk-service")).await.ok();
    assert_eq!(deployed["kind"], "service");
    assert_eq!(deployed["limits"]["memory"]["limit"].as_f64(), Some(32.0 * 1024.0 * 1024.0));
    let document = host.get("/openapi.json").await.text().to_string();
    assert!(document.contains("Writes a note down."), "doc comments are documentation");
    let schedules = host.deployment("desk").await["schedules"].clone();
    assert_eq!((&schedules[0]["cron"], &schedules[0]["endpoint"]), (&json!("0 0 1 1 *"), &json!("Desk.Sweep")));
    // A route of the source.
    assert_eq!(host.send(Method::PUT, "/notes/milk", &[], "".into()).await.result(), json!(2));
    assert_eq!(host.call("desk", "Desk.Notes", json!({})).await.result(), json!(["start", "milk"]));
    assert_eq!(
        host.get("/desk/read?up_to=9").await.text(),
        "{\"text\":\"start\",\"number\":0}\n{\"text\":\"milk\",\"number\":1}\n"
    );
    let numbers = host.get("/desk/count-down?from=2").await;
    assert!(numbers.text().starts_with("2\n1\n{\"error\":") && numbers.text().contains("zero"), "{}", numbers.text());
    for expected in 1..=2 {
        let counted = host.call("desk", "Desk.CountInStore", json!({"key": "visits"})).await;
        assert_eq!(counted.result(), json!(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_the_sdk_comes_back_as_it_went() {
    let host = Host::start().await;
    host.deploy_as("sdk-all", built_guest("sdk-all")).await.ok();
    let reply = host.call("sdk-all", "Shapes.Fail", json!({"code": 418})).await;
    assert_eq!(reply.status, 418, "{}", reply.text());
    let page = host.send(Method::GET, "/sdk-all/shapes/page?title=Hi", &[("accept", "text/html")], "".into()).await;
    assert!(page.status == 200 && page.text().contains("Hi"), "{}", page.text());
    let shown: Value = host.get("/openapi.json").await.ok();
    assert!(shown["paths"].as_object().is_some_and(|paths| paths.keys().any(|path| path.contains("everything"))));
}
