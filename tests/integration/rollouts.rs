//! Revisions side by side: canaries, promotion, and what brings an old revision back by itself.

use micro_tests::{Client, Host, Lines, guest, json, until, with_manifest};
use reqwest::Method;
use serde_json::Value;

/// The guest `flaky`, which answers its version and fails so many percent of its calls.
fn flaky(version: &str, fail: u32, rollout: &str) -> bytes::Bytes {
    let manifest = format!(
        "name = \"flaky\"\nversion = \"{version}\"\n[rollout]\n{rollout}\n[env]\nVERSION = \"{version}\"\nFAIL = \"{fail}\"\n"
    );
    with_manifest(&guest("flaky"), &manifest)
}

async fn version(host: &Client) -> Option<String> {
    let reply = host.call("flaky", "Flaky.Version", json!({})).await;
    (reply.status == 200).then(|| reply.result().as_str().unwrap_or_default().to_string())
}

async fn deploy_canary(host: &Client, component: bytes::Bytes, share: &str) -> Value {
    host.admin(Method::PUT, &format!("/deployments/flaky?canary={share}"), component).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_gets_its_share_and_all_when_it_is_promoted() {
    let host = Host::start().await;
    host.deploy_as("flaky", flaky("1", 0, "")).await.ok();
    let deployed = deploy_canary(&host, flaky("2", 0, ""), "25").await;
    assert_eq!((&deployed["revision"], &deployed["canary"]["percent"]), (&json!(1), &json!(25.0)));
    let mut new = 0;
    for _ in 0..400 {
        match version(&host).await.as_deref() {
            Some("2") => new += 1,
            Some("1") => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((50..150).contains(&new), "{new} of 400 at 25 %");
    let revisions = host.admin(Method::GET, "/deployments/flaky/revisions", "").await.ok();
    assert_eq!(revisions["revisions"][0]["calls"], new, "each revision has its own counts: {revisions}");
    host.admin(Method::POST, "/deployments/flaky/promote", "").await.ok();
    for _ in 0..20 {
        assert_eq!(version(&host).await.as_deref(), Some("2"));
    }
    assert!(host.deployment("flaky").await.get("canary").is_none());
    host.admin(Method::POST, "/deployments/flaky/promote", "").await.refused(404);
}

/// Calls until canary 2 is gone, which is told to be because of its errors.
async fn call_until_rolled_back(host: &Host, events: &mut Lines) {
    until("the canary is gone", async || {
        version(host).await;
        host.deployment("flaky").await.get("canary").is_none().then_some(())
    })
    .await;
    let line = events.find(|line| line.contains("\"rolled-back\"")).await;
    assert!(line.contains("from canary 2") && line.contains("calls failed"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_canary_is_rolled_back_by_itself() {
    let host = Host::start().await;
    let mut events = host.admin_lines("/events").await;
    host.deploy_as("flaky", flaky("1", 0, "")).await.ok();
    deploy_canary(&host, flaky("2", 30, "min-calls = 10"), "50").await;
    call_until_rolled_back(&host, &mut events).await;
    for _ in 0..20 {
        assert_eq!(version(&host).await.as_deref(), Some("1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_cannot_be_loaded_is_rolled_back_by_itself() {
    let mut host = Host::start().await;
    host.deploy_as("flaky", flaky("1", 0, "")).await.ok();
    deploy_canary(&host, flaky("2", 0, "min-calls = 10"), "50").await;
    let revisions = host.admin(Method::GET, "/deployments/flaky/revisions", "").await.ok();
    let digest = revisions["revisions"][0]["digest"].as_str().expect("the digest of the canary");
    let file = format!("components/{}.wasm", digest.trim_start_matches("sha256:"));
    host.stop().await;
    std::fs::remove_file(host.data_dir.join(file)).expect("its component is lost");
    std::fs::remove_dir_all(host.data_dir.join("cache")).expect("and so is its code");
    host.restart().await;
    let mut events = host.admin_lines("/events").await;
    call_until_rolled_back(&host, &mut events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_can_be_asked_for_and_a_canary_survives_a_restart() {
    let mut host = Host::start().await;
    host.deploy_as("flaky", flaky("1", 0, "")).await.ok();
    deploy_canary(&host, flaky("2", 0, ""), "1").await;
    host.restart().await;
    for wanted in ["1", "2"] {
        for _ in 0..10 {
            let headers = [("micro-version", wanted), ("accept", "application/json")];
            let reply = host.send(Method::GET, "/flaky/version", &headers, "".into()).await;
            assert_eq!(reply.result(), json!(wanted));
        }
    }
    let reply = host.send(Method::GET, "/flaky/version", &[("micro-version", "3")], "".into()).await;
    assert!(reply.refused(404).contains("no version 3; there are"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_the_canary_out_and_a_deploy_replaces_it() {
    let host = Host::start().await;
    let refused = host.admin(Method::PUT, "/deployments/flaky?canary=10", flaky("1", 0, "")).await;
    assert!(refused.refused(404).contains("a canary needs a current revision beside it"));
    host.deploy_as("flaky", flaky("1", 0, "")).await.ok();
    for share in ["0", "100", "-1", "many"] {
        host.admin(Method::PUT, &format!("/deployments/flaky?canary={share}"), flaky("2", 0, "")).await.refused(400);
    }
    deploy_canary(&host, flaky("2", 0, ""), "50%25").await;
    host.admin(Method::POST, "/deployments/flaky/rollback", "").await.ok();
    let deployment = host.deployment("flaky").await;
    assert_eq!((&deployment["revision"], deployment.get("canary")), (&json!(1), None));
    deploy_canary(&host, flaky("3", 0, ""), "50").await;
    host.deploy_as("flaky", flaky("4", 0, "")).await.ok();
    for _ in 0..20 {
        assert_eq!(version(&host).await.as_deref(), Some("4"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_revision_whose_calls_fail_is_rolled_back() {
    let host = Host::start().await;
    let mut events = host.admin_lines("/events").await;
    host.deploy_as("flaky", flaky("1", 0, "")).await.ok();
    // So seldom a canary that only the promotion shows what it does.
    deploy_canary(&host, flaky("2", 100, "min-calls = 10"), "0.001").await;
    host.admin(Method::POST, "/deployments/flaky/promote", "").await.ok();
    until("the old revision is back", async || {
        version(&host).await;
        (host.deployment("flaky").await["revision"] == 1).then_some(())
    })
    .await;
    let line = events.find(|line| line.contains("\"rolled-back\"")).await;
    assert!(line.contains("from revision 2") && line.contains("calls failed"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_goes_to_what_ran_before_and_not_to_what_was_taken_out() {
    let mut host = Host::start().await;
    host.deploy_as("flaky", flaky("1", 0, "")).await.ok();
    deploy_canary(&host, flaky("2", 0, ""), "50").await;
    host.admin(Method::POST, "/deployments/flaky/rollback", "").await.ok();
    host.deploy_as("flaky", flaky("3", 0, "")).await.ok();
    host.deploy_as("flaky", flaky("4", 0, "")).await.ok();
    host.admin(Method::POST, "/deployments/flaky/rollback", "").await.ok();
    assert_eq!(version(&host).await.as_deref(), Some("3"));
    host.deploy_as("flaky", flaky("5", 0, "")).await.ok();
    host.restart().await;
    for before in ["3", "1"] {
        host.admin(Method::POST, "/deployments/flaky/rollback", "").await.ok();
        assert_eq!(version(&host).await.as_deref(), Some(before));
    }
    let detail = host.admin(Method::POST, "/deployments/flaky/rollback", "").await.refused(404);
    assert!(detail.contains("no revision that ran before 1"), "{detail}");
}
