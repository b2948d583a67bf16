//! Services: instances that keep their state, fail alone, come back, and hand over.

use micro::runtime::CodeLimits;
use micro_tests::{Client, Host, HostProcess, guest, json, until, with_manifest};
use reqwest::Method;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The guest `unsteady` as a service, with these lines in its manifest.
fn unsteady(manifest: &str) -> bytes::Bytes {
    with_manifest(&guest("unsteady"), &format!("name = \"unsteady\"\nkind = \"service\"\n{manifest}\n"))
}

async fn count(host: &Client) -> Value {
    host.call("unsteady", "Unsteady.Count", json!({})).await.result()
}

async fn replicas(host: &Client) -> Value {
    host.deployment("unsteady").await["replicas"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_keeps_its_state_from_call_to_call() {
    let host = Host::start().await;
    let deployed = host.deploy_as("unsteady", unsteady("")).await.ok();
    assert_eq!((&deployed["kind"], &deployed["replicas"]["ready"]), (&json!("service"), &json!(1)));
    for expected in 1..=3 {
        assert_eq!(count(&host).await, json!(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_goes_over_to_the_next_revision_and_through_a_restart_of_the_host() {
    let mut host = Host::start().await;
    host.deploy_as("unsteady", unsteady("version = \"1\"")).await.ok();
    assert_eq!(count(&host).await, json!(1));
    host.deploy_as("unsteady", unsteady("version = \"2\"")).await.ok();
    assert_eq!(count(&host).await, json!(2), "the new revision goes on counting");
    host.admin(Method::POST, "/deployments/unsteady/rollback", "").await.ok();
    assert_eq!(count(&host).await, json!(3), "and so does the old one after a rollback");
    host.restart().await;
    assert_eq!(count(&host).await, json!(4), "and so does the host that comes after");
    host.restart().await;
    host.deploy_as("unsteady", unsteady("version = \"3\"")).await.ok();
    assert_eq!(count(&host).await, json!(5), "and so does a deploy that comes before the first call");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_is_unloaded_while_its_service_starts_takes_no_state_with_it() {
    // There is no room for code: what is loaded goes at once, unless instances live of it already.
    let mut host = Host::start_with_code(CodeLimits { budget: 0, ..CodeLimits::default() }).await;
    let names: Vec<String> = (1..=8).map(|number| format!("unsteady-{number}")).collect();
    let component = |name: &str, version: u32| {
        with_manifest(&guest("unsteady"), &format!("name = \"{name}\"\nversion = \"{version}\"\nkind = \"service\"\n"))
    };
    let count = async |host: &Client, name: &str| host.call(name, "Unsteady.Count", json!({})).await.result();
    for name in &names {
        host.deploy_as(name, component(name, 1)).await.ok();
        assert_eq!(count(&host, name).await, json!(1));
    }
    host.restart().await;
    host.restart().await;
    for name in &names {
        host.deploy_as(name, component(name, 2)).await.ok();
        assert_eq!(count(&host, name).await, json!(2), "{name} goes on counting");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_count_is_lost_while_revisions_change() {
    let host = Arc::new(Host::start().await);
    host.deploy_as("unsteady", unsteady("")).await.ok();
    let is_over = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (host, is_over, calls) = (host.clone(), is_over.clone(), calls.clone());
        callers.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                assert!(count(&host).await.is_u64());
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for version in 2..12 {
        host.deploy_as("unsteady", unsteady(&format!("version = \"{version}\""))).await.ok();
    }
    is_over.store(true, Ordering::Relaxed);
    callers.join_all().await;
    assert_eq!(count(&host).await, json!(calls.load(Ordering::Relaxed) + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_its_instance_only_and_another_takes_its_place() {
    let host = Host::start().await;
    let mut events = host.admin_lines("/events").await;
    host.deploy_as("unsteady", unsteady("[service]\nreplicas = 2\n[limits]\ntimeout = \"2s\"")).await.ok();
    let reply = host.call("unsteady", "Unsteady.Crash", json!({})).await;
    assert!(reply.refused(500).contains("panicked"), "{}", reply.text());
    // The other instance answers meanwhile.
    assert!(count(&host).await.is_u64());
    events.find(|line| line.contains("instance-failed") && line.contains("Unsteady.Crash")).await;
    until("the instance is replaced", async || (replicas(&host).await["ready"] == 2).then_some(())).await;
    assert_eq!(replicas(&host).await["restarts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_the_instance_that_replaces_a_failed_one() {
    let host = Host::start().await;
    host.deploy_as("unsteady", unsteady("")).await.ok();
    host.call("unsteady", "Unsteady.Crash", json!({})).await.refused(500);
    assert_eq!(count(&host).await, json!(1), "state that was not handed over is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_out_of_time_ends_its_instance() {
    let host = Host::start().await;
    host.deploy_as("unsteady", unsteady("[limits]\ntimeout = \"200ms\"")).await.ok();
    assert_eq!(count(&host).await, json!(1));
    host.call("unsteady", "Unsteady.Busy", json!({"wait": 60_000})).await.refused(504);
    assert_eq!(count(&host).await, json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_after_a_deploy_brings_the_old_revision_back() {
    let host = Host::start().await;
    let mut events = host.admin_lines("/events").await;
    host.deploy_as("unsteady", unsteady("")).await.ok();
    let crashing = "[service]\nhealth-interval = \"100ms\"\n[env]\nHEALTH = \"crash\"";
    host.deploy_as("unsteady", unsteady(crashing)).await.ok();
    let line = events.find(|line| line.contains("\"rolled-back\"")).await;
    assert!(line.contains("panicked") && line.contains("from revision 2"), "{line}");
    assert_eq!(host.deployment("unsteady").await["revision"], 1);
    assert!(count(&host).await.is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_without_anything_before_is_a_failure_that_is_told() {
    let host = Host::start().await;
    let mut events = host.admin_lines("/events").await;
    let crashing = "[service]\nhealth-interval = \"100ms\"\n[env]\nHEALTH = \"crash\"";
    host.deploy_as("unsteady", unsteady(crashing)).await.ok();
    events.find(|line| line.contains("\"failed\"") && line.contains("crash loop")).await;
    let state = until("the deployment has failed", async || {
        let deployment = host.deployment("unsteady").await;
        (deployment["state"] == "failed").then_some(deployment)
    });
    assert!(state.await["detail"].as_str().is_some_and(|detail| detail.contains("crash loop")));
    let reply = host.call("unsteady", "Unsteady.Count", json!({})).await;
    reply.refused(503);
    host.deploy_as("unsteady", unsteady("")).await.ok();
    assert!(count(&host).await.is_u64(), "a deploy mends it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_start_is_refused_and_the_old_one_goes_on() {
    let host = Host::start().await;
    host.deploy_as("unsteady", unsteady("")).await.ok();
    assert_eq!(count(&host).await, json!(1));
    let detail = host.deploy_as("unsteady", unsteady("[env]\nSTART = \"refuse\"")).await.refused(422);
    assert!(detail.contains("start: told not to start"), "{detail}");
    assert_eq!(count(&host).await, json!(2), "with its state");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_state_keeps_the_old_revision_or_begins_anew_as_the_manifest_says() {
    let host = Host::start().await;
    host.deploy_as("unsteady", unsteady("")).await.ok();
    assert_eq!(count(&host).await, json!(1));
    let refusing = "[env]\nRESTORE = \"refuse\"";
    let detail = host.deploy_as("unsteady", unsteady(refusing)).await.refused(422);
    assert!(detail.contains("restore: a state of another layout"), "{detail}");
    assert_eq!(count(&host).await, json!(2));
    let anew = format!("[service]\non-state-refused = \"empty\"\n{refusing}");
    host.deploy_as("unsteady", unsteady(&anew)).await.ok();
    assert_eq!(count(&host).await, json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_falls_ill_leaves_the_registry() {
    let host = Host::start().await;
    host.deploy_as("unsteady", unsteady("[service]\nhealth-interval = \"100ms\"\n[limits]\ntimeout = \"300ms\""))
        .await
        .ok();
    assert_eq!(host.sidecar("/registry").await.text().matches("\"unsteady\"").count(), 1);
    host.call("unsteady", "Unsteady.FallIll", json!({})).await.ok();
    until("the registry forgets it", async || {
        (!host.sidecar("/registry").await.text().contains("\"unsteady\"")).then_some(())
    })
    .await;
    assert!(host.deployment("unsteady").await["detail"].as_str().is_some_and(|detail| detail.contains("ill")));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_keys_meet_the_same_instance() {
    let host = Host::start().await;
    host.deploy_as("unsteady", unsteady("[service]\nreplicas = 4\nhash = \"user_id\"")).await.ok();
    let me = async |user: usize| {
        host.call("unsteady", "Unsteady.Me", json!({"user_id": format!("user-{user}")})).await.result()
    };
    let mut seen = std::collections::HashSet::new();
    for user in 0..16 {
        let first = me(user).await;
        assert_eq!(me(user).await, first);
        seen.insert(first.to_string());
    }
    assert!(seen.len() > 1, "different keys are spread: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_taken_away_is_told_and_finishes_what_it_has() {
    let host = Host::start().await;
    host.deploy_as("unsteady", unsteady("")).await.ok();
    let mut log = host.admin_lines("/deployments/unsteady/logs?follow=true").await;
    let (busy, ()) = tokio::join!(host.call("unsteady", "Unsteady.Busy", json!({"wait": 500})), async {
        until("the call runs", async || (host.deployment("unsteady").await["stats"]["in_flight"] == 1).then_some(()))
            .await;
        host.admin(Method::DELETE, "/deployments/unsteady", "").await.ok();
    });
    busy.ok();
    log.find(|line| line.contains("stopped after 0 calls")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_on_the_concurrent_engine_runs_calls_at_once() {
    let host = Host::start().await;
    let manifest = "name = \"rendezvous\"\nkind = \"service\"\n[limits]\ntimeout = \"2s\"\n";
    let deployed = host.deploy_as("rendezvous", with_manifest(&guest("rendezvous"), manifest)).await.ok();
    assert_eq!(deployed["engine"], "concurrent");
    // Alone it waits in vain, which ends the instance; the next one knows nothing of it.
    host.call("rendezvous", "Rendezvous.Meet", json!({})).await.refused(504);
    let meet = || host.call("rendezvous", "Rendezvous.Meet", json!({}));
    let (first, second) = tokio::join!(meet(), meet());
    let mut order = [first.result(), second.result()].map(|me| me.as_u64().expect("a number"));
    order.sort_unstable();
    assert_eq!(order, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_an_instance_are_answered_by_the_revision_that_mends_it() {
    let host = Arc::new(Host::start().await);
    for version in ["1", "2"] {
        let manifest = format!("version = \"{version}\"\n[limits]\ntimeout = \"60s\"");
        host.deploy_as("unsteady", unsteady(&manifest)).await.ok();
    }
    // Each time it takes longer until there is another instance.
    for _ in 0..4 {
        host.call("unsteady", "Unsteady.Crash", json!({})).await.refused(500);
    }
    let waiting = tokio::spawn({
        let host = host.clone();
        async move { count(&host).await }
    });
    until("the call waits", async || (host.deployment("unsteady").await["stats"]["in_flight"] == 1).then_some(()))
        .await;
    host.admin(Method::POST, "/deployments/unsteady/rollback", "").await.ok();
    assert_eq!(waiting.await.unwrap(), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_can_be_rolled_back_to_itself_while_it_is_called() {
    let host = Arc::new(Host::start().await);
    host.deploy_as("unsteady", unsteady("")).await.ok();
    let is_over = Arc::new(AtomicBool::new(false));
    let calling = tokio::spawn({
        let (host, is_over) = (host.clone(), is_over.clone());
        async move {
            let mut calls = 0;
            while !is_over.load(Ordering::Relaxed) {
                calls += 1;
                assert_eq!(count(&host).await, json!(calls));
            }
        }
    });
    for _ in 0..5 {
        host.admin(Method::POST, "/deployments/unsteady/rollback", r#"{"revision": 1}"#).await.ok();
    }
    is_over.store(true, Ordering::Relaxed);
    calling.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_refused_is_not_offered_again_after_a_restart() {
    let host = HostProcess::start().await;
    host.deploy_as("unsteady", unsteady("")).await.ok();
    assert_eq!(count(&host).await, json!(1));
    let anew = "[service]\non-state-refused = \"empty\"\n[env]\nRESTORE = \"refuse\"";
    host.deploy_as("unsteady", unsteady(anew)).await.ok();
    let host = host.kill_and_start_again().await;
    assert_eq!(count(&host).await, json!(1), "it begins with nothing once more");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_well_again_is_not_blamed_for_the_one_before() {
    let host = Host::start().await;
    // Health is asked at once and then not again for long.
    host.deploy_as("unsteady", unsteady("[service]\nhealth-interval = \"1s\"\n[env]\nHEALTH = \"crash\"\n")).await.ok();
    until("the instance was replaced", async || (replicas(&host).await["restarts"].as_u64() > Some(0)).then_some(()))
        .await;
    assert_eq!(replicas(&host).await["ready"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_writes_belongs_to_its_own_request() {
    let host = Host::start().await;
    let service = with_manifest(&guest("streams"), "name = \"streams\"\nkind = \"service\"\n");
    host.deploy_as("streams", service).await.ok();
    let mut reading = host.lines("/streams/ways/tick?from=0", "application/x-ndjson").await;
    assert_eq!(reading.next().await.as_deref(), Some("0"));
    let other = host.get("/streams/ways/dropped").await;
    drop(reading);
    let line = until("the guest's clock is dropped", async || {
        host.logs("streams").await.into_iter().find(|line| line["message"] == "the clock was dropped")
    })
    .await;
    assert_ne!(line["request"], other.header("x-request-id"));
}
