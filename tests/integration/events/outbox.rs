//! Values and messages in one step: both, or neither.

use super::listens;
use micro_tests::{Client, HostProcess, Value, built_guest, json, until};
use reqwest::Method;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the host is killed.
const ROUNDS: usize = 3;
/// What is entered at least before it is.
const ENOUGH: usize = 25;

fn names(all: &Value) -> BTreeSet<String> {
    all.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What was entered, when all of it was heard.
async fn when_heard(host: &Client) -> BTreeSet<String> {
    until("everything that was entered is heard", async || {
        let both = host.call("ledger", "Ledger.Report", json!({})).await.ok();
        (both["entered"] == both["heard"]).then(|| names(&both["entered"]))
    })
    .await
}

async fn enter(host: &Client, id: &str, topic: &str) -> u16 {
    host.call("ledger", "Ledger.Enter", json!({ "id": id, "topic": topic })).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_and_its_message_are_both_there_or_neither() {
    let host = HostProcess::start().await;
    host.deploy_as("ledger", built_guest("ledger")).await.ok();
    listens(&host, "ledger.entered", "ledger").await;
    assert_eq!(enter(&host, "one", "ledger.entered").await, 200);
    assert_eq!(enter(&host, "one", "ledger.entered").await, 409, "it is there already");
    assert_eq!(enter(&host, "two", "others.entered").await, 403, "the manifest does not allow this topic");
    assert_eq!(enter(&host, "three", "ledger.no topic").await, 503, "no broker would take that");
    assert_eq!(when_heard(&host).await, ["one".to_owned()].into());
    let read = host.admin(Method::GET, "/topics/ledger.entered/messages?from=earliest", "").await.ok();
    assert_eq!(read["messages"].as_array().map(Vec::len), Some(1), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_entered_is_told_after_kill_9() {
    let mut host = HostProcess::start().await;
    host.deploy_as("ledger", built_guest("ledger")).await.ok();
    listens(&host, "ledger.entered", "ledger").await;
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for round in 0..ROUNDS {
        let count = Arc::new(AtomicUsize::new(0));
        let clients = (0..4).map(|client| {
            let (host, count) = (Client::clone(&host), count.clone());
            tokio::spawn(async move {
                let mut told = Vec::new();
                for number in 0.. {
                    let id = format!("{round}-{client}-{number}");
                    let request = json!({ "id": id, "topic": "ledger.entered" });
                    match host.try_call("ledger", "Ledger.Enter", request).await {
                        Ok(reply) => assert_eq!(reply.status, 200, "{}", reply.text()),
                        // The host is gone: this one may or may not have been entered.
                        Err(_) => return told,
                    }
                    told.push(id);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                told
            })
        });
        let clients: Vec<_> = clients.collect();
        until("things are entered", async || (count.load(Ordering::Relaxed) >= ENOUGH).then_some(())).await;
        let folder = host.kill().await;
        for client in clients {
            acknowledged.extend(client.await.unwrap());
        }
        host = HostProcess::start_in(folder).await;
    }
    let entered = when_heard(&host).await;
    assert!(entered.is_superset(&acknowledged), "{:?}", acknowledged.difference(&entered).collect::<Vec<_>>());
}
