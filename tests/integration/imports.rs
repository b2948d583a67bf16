//! Guests that call each other by typed imports.

use micro_tests::{Host, built_guest, guest, json, with_manifest};
use reqwest::Method;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

async fn chain(host: &Host) {
    host.deploy("chain-c").await;
    host.deploy("chain-b").await;
    host.deploy("chain-a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_guests_call_each_other_in_one_trace() {
    let host = Host::start().await;
    chain(&host).await;
    let reply = host.call("chain-a", "First.Ask", json!({"text": "abc", "wait": 0})).await;
    assert_eq!(reply.ok(), json!({"text": "abc", "weight": 3}));
    let mut requests = HashSet::new();
    for name in ["chain-a", "chain-b", "chain-c"] {
        let logs = host.logs(name).await;
        assert_eq!(logs.len(), 1, "{name}: {logs:?}");
        requests.insert(logs[0]["request"].as_str().expect("a request").to_string());
    }
    assert_eq!(requests, HashSet::from([reply.header("x-request-id").to_string()]));
    let error = host.call("chain-a", "First.Ask", json!({"text": "", "wait": 0})).await;
    assert_eq!(error.refused(500), "there is nothing to weigh", "the last one's own error");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_the_first_is_respected_in_the_third() {
    let host = Host::start().await;
    chain(&host).await;
    let body = json!({"service": "chain-a", "endpoint": "First.Ask", "request": {"text": "abc", "wait": 60_000}});
    let headers = [("content-type", "application/json"), ("timeout", "1")];
    let began = std::time::Instant::now();
    host.send(Method::POST, "/rpc", &headers, body.to_string().into()).await.refused(504);
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
    micro_tests::until("nothing runs any more", async || {
        (host.deployment("chain-c").await["stats"]["in_flight"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_nobody_gives_is_refused() {
    let host = Host::start().await;
    let detail = host.deploy_as("chain-b", guest("chain-b")).await.refused(422);
    assert!(detail.contains("import test:chain/last@0.1.0: no deployment exports it"), "{detail}");
    host.deploy("chain-c-changed").await;
    let detail = host.deploy_as("chain-b", guest("chain-b")).await.refused(422);
    for difference in [
        "does not fit what chain-c-changed exports",
        "field weight: the import has u32, the export f64",
        "unit (string)",
    ] {
        assert!(detail.contains(difference), "{difference}: {detail}");
    }
    host.deploy("chain-c").await;
    host.deploy("chain-b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_may_name_who_gives_an_import() {
    let host = Host::start().await;
    host.deploy_as("other", guest("chain-c")).await.ok();
    let named = |name: &str| {
        let manifest = format!("name = \"chain-b\"\n[imports]\n\"test:chain/last\" = \"{name}\"\n");
        with_manifest(&guest("chain-b"), &manifest)
    };
    let detail = host.deploy_as("chain-b", named("nobody")).await.refused(422);
    assert!(detail.contains("there is no deployment nobody, which [imports] names"), "{detail}");
    host.deploy_as("chain-b", named("other")).await.ok();
    let reply = host.call("chain-b", "Middle.Pass", json!({"text": "ab", "wait": 0})).await;
    assert_eq!(reply.ok()["weight"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_breaks_an_importer_is_refused_with_the_difference_unless_forced() {
    let host = Host::start().await;
    chain(&host).await;
    let detail = host.deploy_as("chain-c", guest("chain-c-changed")).await.refused(422);
    for part in ["chain-b imports test:chain/last@0.1.0", "the import has u32, the export f64", "--force"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    host.call("chain-a", "First.Ask", json!({"text": "abc", "wait": 0})).await.ok();
    host.admin(Method::PUT, "/deployments/chain-c?force=true", guest("chain-c-changed")).await.ok();
    let reply = host.call("chain-a", "First.Ask", json!({"text": "abc", "wait": 0})).await;
    assert!(reply.status >= 500, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_last_one_is_deployed_again_and_again() {
    let host = Arc::new(Host::start().await);
    chain(&host).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (host, is_over) = (host.clone(), is_over.clone());
        callers.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let reply = host.call("chain-a", "First.Ask", json!({"text": "abc", "wait": 0})).await;
                assert_eq!(reply.ok()["weight"], 3);
            }
        });
    }
    for version in 0..10 {
        let manifest = format!("name = \"chain-c\"\nversion = \"{version}\"\n");
        host.deploy_as("chain-c", with_manifest(&guest("chain-c"), &manifest)).await.ok();
    }
    is_over.store(true, Ordering::Relaxed);
    callers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_calls_ends_with_an_error() {
    let host = Host::start().await;
    let detail = host.call("loops", "Loops.Again", json!({})).await;
    assert_eq!(detail.status, 404);
    host.deploy("loops").await;
    let detail = host.call("loops", "Loops.Again", json!({})).await.refused(403);
    assert!(
        detail.contains("loops may not call loops: its micro.toml does not name it in `call` below [allow]"),
        "{detail}"
    );
    let allowed = with_manifest(&guest("loops"), "name = \"loops\"\n[allow]\ncall = [\"lo*\"]\n");
    host.deploy_as("loops", allowed).await.ok();
    let reply = host.call("loops", "Loops.Again", json!({})).await;
    assert!(reply.refused(508).contains("16 calls are inside of each other"), "{}", reply.text());
    assert!(host.call("loops", "Loops.Astray", json!({})).await.refused(403).contains("may not call somebody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_cannot_tell_a_function_from_a_service() {
    let host = Host::start().await;
    for kind in ["function", "service"] {
        let manifest = format!("name = \"callee\"\nkind = \"{kind}\"\n");
        host.deploy_as("callee", with_manifest(&guest("callee"), &manifest)).await.ok();
        host.deploy("caller").await;
        let microseconds = host.call("caller", "Caller.Times", json!({"count": 10})).await.result();
        assert!(microseconds.as_f64().is_some_and(|took| took > 0.0), "{microseconds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_micro_wit_prints_makes_a_typed_client_that_hands_on_the_errors_of_the_contract() {
    let host = Host::start().await;
    for (name, component) in [("sdk-callee", built_guest("sdk-callee")), ("sdk-service", built_guest("sdk-service"))] {
        let printed = micro_engine::wit::wit_text(&component).expect(name);
        host.deploy_as(name, component).await.ok();
        let path = format!("{}/guests/sdk-caller/wit/deps/{name}.wit", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(std::fs::read_to_string(&path).expect(&path), printed, "{path} is what micro wit {name} prints");
    }
    host.deploy_as("sdk-caller", built_guest("sdk-caller")).await.ok();
    let address = host.call("sdk-caller", "Asker.Address", json!({"name": "John"})).await;
    assert_eq!(address.result(), json!("john@example.com"));
    let unknown = host.call("sdk-caller", "Asker.Address", json!({"name": "Jane"})).await;
    assert_eq!(unknown.refused(404), "nobody is called Jane");
}
