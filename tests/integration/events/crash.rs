//! `kill -9` at any moment loses no message that its publisher was told of.

use super::listens;
use micro_tests::{HostProcess, Value, built_guest, json, until};
use reqwest::Method;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the host is killed.
const ROUNDS: usize = 3;
/// Messages that are published at least before it is.
const ENOUGH: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_taken_survives_kill_9() {
    let mut host = HostProcess::start().await;
    host.admin(Method::PUT, "/deployments/worker", built_guest("worker")).await.ok();
    listens(&host, "work.x", "worker").await;
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for round in 0..ROUNDS {
        let count = Arc::new(AtomicUsize::new(0));
        let (client, counted) = (micro_tests::Client::clone(&host), count.clone());
        let publisher = tokio::spawn(async move {
            let mut told = Vec::new();
            for number in 0.. {
                let text = format!("message {round}-{number}");
                let headers = [("content-type", "text/plain")];
                let path = "/broker?topic=work.x";
                match client.try_sidecar_send(Method::POST, path, &headers, text.clone().into()).await {
                    Ok(reply) => assert_eq!(reply.status, 200, "{}", reply.text()),
                    // The host is gone: this one may or may not have been kept.
                    Err(_) => return told,
                }
                told.push(text);
                counted.fetch_add(1, Ordering::Relaxed);
            }
            told
        });
        until("messages are published", async || (count.load(Ordering::Relaxed) >= ENOUGH).then_some(())).await;
        let folder = host.kill().await;
        taken.extend(publisher.await.unwrap());
        host = HostProcess::start_in(folder).await;
    }
    let missing = async || {
        let done = host.call("worker", "Worker.Done", json!({})).await.result();
        let done: BTreeSet<String> =
            done.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        taken.difference(&done).count()
    };
    until("every message is handled", async || (missing().await == 0).then_some(())).await;
}
