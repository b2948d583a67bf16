//! `kill -9` at any moment loses no acknowledged deploy.

use micro_tests::{HostProcess, Value, json, until, versioned};
use reqwest::Method;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often the host is killed, unless this variable says how often.
const ROUNDS: u32 = 6;
const ROUNDS_VARIABLE: &str = "MICRO_KILL_ROUNDS";
/// Names that get revisions at the same time.
const NAMES: [&str; 3] = ["a", "b.c", "d"];

fn text(number: u64) -> String {
    format!("v{number}")
}

fn number(answer: &Value) -> u64 {
    answer
        .as_str()
        .and_then(|text| text.strip_prefix('v')?.parse().ok())
        .unwrap_or_else(|| panic!("{answer} is no version"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_deploy_survives_kill_9() {
    let rounds = std::env::var(ROUNDS_VARIABLE).map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let mut host = HostProcess::start().await;
    let mut acknowledged: HashMap<&str, u64> = HashMap::new();
    let mut next: HashMap<&str, u64> = NAMES.map(|name| (name, 1)).into();
    for round in 0..rounds {
        let mut deployers = tokio::task::JoinSet::new();
        let count = Arc::new(AtomicUsize::new(0));
        for name in NAMES {
            let client = micro_tests::Client::clone(&host);
            let (first, count) = (next[name], count.clone());
            deployers.spawn(async move {
                let mut last = None;
                for number in first.. {
                    let path = format!("/deployments/{name}");
                    match client.try_admin(Method::PUT, &path, versioned(&text(number))).await {
                        Ok(reply) => drop(reply.ok()),
                        // The host is gone: this one may or may not have been kept.
                        Err(_) => return (name, last, number + 1),
                    }
                    last = Some(number);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                (name, last, first)
            });
        }
        // Each round after another number of deploys, and at another moment of the next one.
        let enough = 1 + round as usize % 5;
        until("something is deployed", async || (count.load(Ordering::Relaxed) >= enough).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 37 % 101)).await;
        let folder = host.kill().await;
        for (name, last, following) in deployers.join_all().await {
            if let Some(last) = last {
                acknowledged.insert(name, last);
            }
            next.insert(name, following);
        }
        host = HostProcess::start_in(folder).await;
        for name in NAMES {
            let Some(least) = acknowledged.get(name) else { continue };
            let reply = host.call(name, "Version.Get", json!({})).await;
            let answered = number(&reply.result());
            assert!(
                (*least..next[name]).contains(&answered),
                "round {round}: {name} answers {answered}, {least} was acknowledged"
            );
            let records = host.sidecar(&format!("/registry?service={name}")).await.ok();
            assert_eq!(records.as_array().map(Vec::len), Some(1), "{records}");
        }
        assert_eq!(files(host.folder()), needed(&host).await, "round {round}: nothing is left behind, nothing is lost");
    }
    assert!(!acknowledged.is_empty(), "something was deployed at all");
    for name in NAMES {
        host.deploy_as(name, versioned("v0")).await.ok();
        assert_eq!(host.call(name, "Version.Get", json!({})).await.result(), json!("v0"));
    }
}

/// The names of the components on disk.
fn files(data_dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(data_dir.join("components")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// The names of the components of all revisions.
async fn needed(host: &HostProcess) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    let all = host.admin(Method::GET, "/deployments", "").await.ok();
    for deployment in all["deployments"].as_array().unwrap() {
        let name = deployment["name"].as_str().unwrap();
        let revisions = host.admin(Method::GET, &format!("/deployments/{name}/revisions"), "").await.ok();
        for revision in revisions["revisions"].as_array().unwrap() {
            needed.insert(format!("{}.wasm", revision["digest"].as_str().unwrap().trim_start_matches("sha256:")));
        }
    }
    needed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_asked_to_end_does_so_with_its_calls() {
    let host = HostProcess::start().await;
    host.deploy_as("versioned", versioned("one")).await.ok();
    let client = micro_tests::Client::clone(&host);
    let slow = tokio::spawn(async move { client.call("versioned", "Version.GetAfter", json!({"ms": 1500})).await });
    until("the call runs", async || (host.deployment("versioned").await["stats"]["in_flight"] == 1).then_some(()))
        .await;
    let (code, _) = host.ask_to_end().await;
    assert_eq!(slow.await.expect("the call ended").result(), json!("one"));
    assert_eq!(code, Some(0));
}
