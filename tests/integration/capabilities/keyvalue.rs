//! `wasi:keyvalue` over the stores of the host.

use super::{deploy, host_lines};
use micro_tests::{Host, guest, json};
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_the_stores_of_the_host() {
    let host = Host::start().await;
    deploy(&host, "keyvalue", "store = [\"shared\", \"x*\"]").await;
    let put = |bucket: &str, key: &str, value: &str| json!({"bucket": bucket, "key": key, "value": value});
    for (bucket, store) in [("", "keyvalue"), ("default", "keyvalue"), ("keyvalue", "keyvalue"), ("shared", "shared")] {
        host.call("keyvalue", "Keyvalue.Put", put(bucket, "k", bucket)).await.ok();
        let kept = host.admin(Method::GET, &format!("/stores/{store}/values/k"), "").await;
        assert_eq!(kept.text(), bucket);
    }
    let get = host.call("keyvalue", "Keyvalue.Get", json!({"bucket": "shared", "key": "k"})).await;
    assert_eq!(get.result(), "shared");
    host.call("keyvalue", "Keyvalue.Remove", json!({"bucket": "", "key": "k"})).await.ok();
    assert!(host.call("keyvalue", "Keyvalue.Get", json!({"bucket": "", "key": "k"})).await.result().is_null());
    let denied = host.call("keyvalue", "Keyvalue.Get", json!({"bucket": "other", "key": "k"})).await;
    assert_eq!(denied.refused(500), "access denied");
    let lines = host_lines(&host, "keyvalue").await;
    assert!(lines[0].contains("may not open the store other"), "{lines:?}");
    let long = host.call("keyvalue", "Keyvalue.Get", json!({"bucket": "x".repeat(1_000), "key": "k"})).await;
    assert_eq!(long.refused(500), "no such store");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_are_listed_page_by_page() {
    let host = Host::start().await;
    host.deploy("keyvalue").await;
    let puts = (0..1_100).map(|n| host.admin(Method::PUT, format!("/stores/keyvalue/values/k{n:04}").leak(), "v"));
    futures::future::join_all(puts).await.iter().for_each(|put| assert!(put.status < 300, "{}", put.text()));
    let keys = host.call("keyvalue", "Keyvalue.Keys", json!({"bucket": ""})).await.result();
    let keys = keys.as_array().expect("keys");
    assert_eq!((keys.len(), keys[0].as_str(), keys[1_099].as_str()), (1_100, Some("k0000"), Some("k1099")));
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_at_once_are_all_counted() {
    let host = Host::start().await;
    host.deploy("keyvalue").await;
    let add = |delta: i64| host.call("keyvalue", "Keyvalue.Add", json!({"bucket": "", "key": "n", "delta": delta}));
    let added = futures::future::join_all((0..50).map(|_| add(2))).await;
    added.iter().for_each(|reply| drop(reply.ok()));
    assert_eq!(add(-1).await.result(), 99);
    let kept = host.admin(Method::GET, "/stores/keyvalue/values/n", "").await;
    assert_eq!(kept.text(), "99", "a number is kept as people write it");
    host.call("keyvalue", "Keyvalue.Put", json!({"bucket": "", "key": "n", "value": "x"})).await.ok();
    assert!(add(1).await.refused(500).contains("the value at \"n\" is no number"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_meets_what_it_has_read_or_fails() {
    let host = Host::start().await;
    host.deploy_as("keyvalue", guest("keyvalue")).await.ok();
    let told = host.call("keyvalue", "Keyvalue.Swap", json!({"bucket": "", "key": "k"})).await.result();
    assert_eq!(told, json!(["None", "Some(\"theirs\")", "Some(\"mine\")"]));
    let batch = host.call("keyvalue", "Keyvalue.Batch", json!({"bucket": ""})).await.result();
    assert_eq!(batch, json!(["1", null, "2"]));
}
