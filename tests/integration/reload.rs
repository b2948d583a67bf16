//! New revisions while calls run: none fails, and none is answered by a revision older than the last acknowledged one.

use micro_tests::{Host, json, until, versioned};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Revisions that are deployed while callers call.
const DEPLOYS: usize = 25;
/// Callers that never pause.
const CALLERS: usize = 8;

fn text(number: usize) -> String {
    format!("v{number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_revisions_change() {
    let host = Arc::new(Host::start().await);
    host.deploy_as("versioned", versioned(&text(0))).await.ok();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (host, acknowledged, is_over) = (host.clone(), acknowledged.clone(), is_over.clone());
        callers.spawn(async move {
            let mut calls = 0;
            while !is_over.load(Ordering::Relaxed) {
                let least = acknowledged.load(Ordering::SeqCst);
                let reply = host.call("versioned", "Version.Get", json!({})).await;
                let most = acknowledged.load(Ordering::SeqCst) + 1;
                let answer = reply.result();
                let number: usize = answer.as_str().and_then(|text| text.strip_prefix('v')?.parse().ok()).expect("v…");
                assert!((least..=most).contains(&number), "{number} while {least} was deployed and {most} began");
                calls += 1;
            }
            calls
        });
    }
    for number in 1..=DEPLOYS {
        host.deploy_as("versioned", versioned(&text(number))).await.ok();
        acknowledged.store(number, Ordering::SeqCst);
        let reply = host.call("versioned", "Version.Get", json!({})).await;
        assert_eq!(reply.result(), json!(text(number)), "the acknowledged revision answers");
    }
    is_over.store(true, Ordering::Relaxed);
    let calls: Vec<usize> = callers.join_all().await;
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
    let stats = host.deployment("versioned").await["stats"].clone();
    assert_eq!(stats["errors"], 0, "{stats}");
    assert_eq!(stats["calls"], calls.iter().sum::<usize>() + DEPLOYS);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_began_end_on_their_revision() {
    let host = Host::start().await;
    host.deploy_as("versioned", versioned("old")).await.ok();
    let (slow, ()) = tokio::join!(host.call("versioned", "Version.GetAfter", json!({"ms": 2000})), async {
        until("the slow call runs", async || {
            (host.deployment("versioned").await["stats"]["in_flight"] == 1).then_some(())
        })
        .await;
        host.deploy_as("versioned", versioned("new")).await.ok();
        assert_eq!(host.call("versioned", "Version.Get", json!({})).await.result(), json!("new"));
    });
    assert_eq!(slow.result(), json!("old"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_began_come_to_their_end_when_their_deployment_is_removed_or_their_host_stops() {
    let mut host = Host::start().await;
    let running = async |host: &Host| {
        until("the slow call runs", async || {
            (host.deployment("versioned").await["stats"]["in_flight"] == 1).then_some(())
        })
        .await;
    };
    host.deploy_as("versioned", versioned("one")).await.ok();
    let (slow, ()) = tokio::join!(host.call("versioned", "Version.GetAfter", json!({"ms": 1500})), async {
        running(&host).await;
        host.admin(reqwest::Method::DELETE, "/deployments/versioned", "").await.ok();
    });
    assert_eq!(slow.result(), json!("one"));

    host.deploy_as("versioned", versioned("two")).await.ok();
    let client = micro_tests::Client::clone(&host);
    let slow = tokio::spawn(async move { client.call("versioned", "Version.GetAfter", json!({"ms": 1500})).await });
    running(&host).await;
    host.stop().await;
    assert_eq!(slow.await.expect("the call ended").result(), json!("two"));
}
