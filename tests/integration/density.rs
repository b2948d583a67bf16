//! Many functions on one host: their code comes and goes, and nobody who calls notices.

use micro::runtime::CodeLimits;
use micro_tests::{Client, Host, HostProcess, Value, guest, json, until, versioned, with_manifest};
use reqwest::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A budget that few components fit in.
const FEW: CodeLimits = CodeLimits { budget: 4 * 1024 * 1024, idle: Duration::from_secs(600) };

/// Idle for no time at all.
const BRIEFLY: CodeLimits = CodeLimits { budget: 1024 * 1024 * 1024, idle: Duration::ZERO };

/// Deploys so many functions, each of them another component that answers with its name.
async fn deploy_many(host: &Client, count: usize) {
    for at in 0..count {
        let name = format!("many-{at}");
        host.deploy_as(&name, versioned(&name)).await.ok();
    }
}

async fn call(host: &Client, at: usize) {
    let name = format!("many-{at}");
    let reply = host.call(&name, "Version.Get", json!({})).await;
    assert_eq!(reply.result(), json!(name));
}

/// What the host says of its code.
async fn code(host: &Client) -> Value {
    host.admin(Method::GET, "/status", "").await.ok()["code"].clone()
}

async fn until_code(host: &Client, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let code = code(host).await;
        holds(&code).then_some(code)
    })
    .await
}

fn number(code: &Value, field: &str) -> u64 {
    code[field].as_u64().unwrap_or_else(|| panic!("{field} in {code}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_does_not_fit_the_budget_is_unloaded_and_comes_back() {
    const COUNT: usize = 60;
    let mut host = Host::start_with_code(FEW).await;
    deploy_many(&host, COUNT).await;
    let fits = |code: &Value| number(code, "bytes") <= FEW.budget;
    let deployed = until_code(&host, "what was deployed is unloaded", fits).await;
    assert!(number(&deployed, "unloads") > 0 && number(&deployed, "loaded") < COUNT as u64, "{deployed}");
    host.restart().await;
    assert_eq!(code(&host).await, json!({"loaded": 0, "bytes": 0, "budget": FEW.budget, "loads": 0, "unloads": 0}));
    for _ in 0..2 {
        for at in 0..COUNT {
            call(&host, at).await;
        }
    }
    let called = until_code(&host, "what was called is unloaded", fits).await;
    assert!(number(&called, "loads") > COUNT as u64, "some came back: {called}");
    assert_eq!(number(&called, "loads") - number(&called, "unloads"), number(&called, "loaded"), "{called}");
    let mut loaded = 0;
    for at in 0..COUNT {
        loaded += u64::from(host.deployment(&format!("many-{at}")).await["loaded"] == true);
    }
    assert_eq!(loaded, number(&code(&host).await, "loaded"), "each deployment says what is true of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_code_comes_and_goes() {
    const COUNT: usize = 8;
    let host = Arc::new(Host::start_with_code(BRIEFLY).await);
    deploy_many(&host, COUNT).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..4 {
        let (host, is_over) = (host.clone(), is_over.clone());
        callers.spawn(async move {
            let mut at = caller;
            while !is_over.load(Ordering::Relaxed) {
                call(&host, at % COUNT).await;
                at += 3;
            }
        });
    }
    until_code(&host, "code came and went often", |code| number(code, "unloads") > 20).await;
    is_over.store(true, Ordering::Relaxed);
    callers.join_all().await;
    until_code(&host, "nothing is left", |code| number(code, "loaded") == 0 && number(code, "bytes") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_keeps_its_code() {
    let host = Host::start_with_code(BRIEFLY).await;
    deploy_many(&host, 2).await;
    let slow = host.call("many-0", "Version.GetAfter", json!({"ms": 800}));
    let others = async {
        until_code(&host, "the other is unloaded", |code| number(code, "loaded") <= 1).await;
        call(&host, 1).await;
    };
    let (slow, ()) = tokio::join!(slow, others);
    assert_eq!(slow.result(), json!("many-0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_not_unloaded() {
    let host = Host::start_with_code(BRIEFLY).await;
    let unsteady = with_manifest(&guest("unsteady"), "name = \"unsteady\"\nkind = \"service\"\n");
    host.deploy_as("unsteady", unsteady).await.ok();
    deploy_many(&host, 1).await;
    assert_eq!(host.call("unsteady", "Unsteady.Count", json!({})).await.result(), json!(1));
    // Everything that can go has gone once the function has.
    until("the function is unloaded", async || (host.deployment("many-0").await["loaded"] == false).then_some(()))
        .await;
    assert_eq!(host.deployment("unsteady").await["loaded"], true);
    assert_eq!(host.call("unsteady", "Unsteady.Count", json!({})).await.result(), json!(2), "and keeps its state");
    host.admin(Method::DELETE, "/deployments/unsteady", "").await.ok();
    until_code(&host, "its code goes with it", |code| number(code, "loaded") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_of_the_same_component_share_its_code() {
    let host = Host::start().await;
    for name in ["one", "other"] {
        host.deploy_as(name, versioned("same")).await.ok();
    }
    let both = code(&host).await;
    assert_eq!((number(&both, "loaded"), number(&both, "loads")), (1, 1));
    host.admin(Method::DELETE, "/deployments/one", "").await.ok();
    assert_eq!(host.call("other", "Version.Get", json!({})).await.result(), json!("same"));
    host.admin(Method::DELETE, "/deployments/other", "").await.ok();
    until_code(&host, "nothing is left", |code| number(code, "bytes") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_whole_and_come_in_pages() {
    const COUNT: usize = 150;
    let host = HostProcess::start().await;
    deploy_many(&host, COUNT).await;
    let all = host.admin(Method::GET, "/deployments", "").await.ok();
    assert_eq!((all["total"].as_u64(), all["deployments"].as_array().unwrap().len()), (Some(COUNT as u64), COUNT));
    let page = host.admin(Method::GET, "/deployments?limit=2&after=many-10", "").await.ok();
    let names: Vec<_> = page["deployments"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!((names, &page["total"]), (vec![json!("many-100"), json!("many-101")], &json!(COUNT)));
    let document = host.get("/openapi.json").await.ok();
    assert_eq!(document["paths"].as_object().unwrap().len(), 2 * COUNT);
    assert_eq!(document["tags"].as_array().unwrap().len(), COUNT);
    assert_eq!(host.sidecar("/registry").await.ok().as_array().unwrap().len(), COUNT);
    let listed = host.program().run(&["ps", "--limit", "3"]).await;
    assert_eq!((listed.code, listed.stdout.lines().count()), (0, 4), "{listed:?}");
    assert!(listed.stderr.contains("3 of 150 deployments"), "{}", listed.stderr);
    let status = host.program().run(&["status"]).await;
    assert!(status.stdout.contains("components, "), "{}", status.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_at_another_address_tells_the_registry_of_every_deployment() {
    const COUNT: usize = 40;
    let mut host = Host::start().await;
    deploy_many(&host, COUNT).await;
    host.restart().await;
    let records = host.sidecar("/registry").await.ok();
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), COUNT);
    for record in records {
        assert_eq!(format!("http://{}", record["nodes"][0]["address"].as_str().unwrap()), host.api, "{record}");
        assert_eq!(record["endpoints"].as_array().map(Vec::len), Some(2), "{record}");
    }
    call(&host, COUNT - 1).await;
}
