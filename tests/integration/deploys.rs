//! Deploying: what is refused and why, revisions, and the way back.

use bytes::Bytes;
use micro_tests::{Host, Value, guest, json, until, versioned, with_manifest};
use reqwest::Method;

/// What the deployment `versioned` answers.
async fn version(host: &Host) -> String {
    let reply = host.call("versioned", "Version.Get", json!({})).await;
    reply.result().as_str().expect("a version").to_string()
}

async fn deploy(host: &Host, text: &str) -> Value {
    host.deploy_as("versioned", versioned(text)).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_refused_and_the_old_revision_goes_on() {
    let host = Host::start().await;
    deploy(&host, "one").await;
    let whole = versioned("two");
    let core_module = Bytes::from_static(b"\0asm\x01\0\0\0");
    let empty_component = Bytes::from_static(b"\0asm\x0d\0\x01\0");
    let bad_manifest = {
        // `embed` refuses it, so its section is written here.
        let text = b"[limits]\nmemry = \"1MiB\"\n";
        let name = b"\x0emicro.manifest";
        let length = u8::try_from(name.len() + text.len()).unwrap();
        Bytes::from([&whole[..], &[0, length], name, text].concat())
    };
    for (what, component, reason) in [
        ("not wasm", Bytes::from_static(b"#!/bin/sh\n"), "not wasm"),
        ("empty", Bytes::new(), "the file is empty"),
        (
            "a core module",
            core_module,
            "a core wasm module, not a component, and not a program either: it exports no function _start",
        ),
        ("half a component", whole.slice(..whole.len() / 2), "component"),
        ("a component without exports", empty_component, "the component has no endpoint: it exports nothing"),
        ("an import that nobody gives", guest("needs"), "acme:missing/thing@1.0.0"),
        ("a trap at its start", guest("starttrap"), "the component does not start: "),
        (
            "a resource in a message",
            guest("resource"),
            "endpoint Cabinet.Open: it returns the resource drawer, which is no stream",
        ),
        ("an unknown key in its manifest", bad_manifest, "unknown key `limits.memry`: did you mean memory?"),
    ] {
        let detail = host.deploy_as("versioned", component).await.refused(422);
        assert!(detail.contains(reason), "{what}: {detail:?} should hold {reason:?}");
        assert_eq!(version(&host).await, "one", "after {what}");
    }
    let shown = host.deployment("versioned").await;
    assert_eq!((&shown["revision"], &shown["state"]), (&json!(1), &json!("ready")));
    let log = host.logs("versioned").await;
    assert!(log.iter().any(|record| record["message"].as_str().unwrap_or_default().starts_with("deploy refused: ")));
    // A refused first deploy leaves nothing behind.
    host.deploy_as("starttrap", guest("starttrap")).await.refused(422);
    host.admin(Method::GET, "/deployments/starttrap", "").await.refused(404);
    let listed = host.admin(Method::GET, "/deployments", "").await.ok();
    assert_eq!(listed["deployments"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_cut_off_anywhere_is_refused() {
    let host = Host::start().await;
    let whole = guest("tally");
    for part in 0..20 {
        let cut = whole.slice(..whole.len() * part / 20);
        host.deploy_as("tally", cut).await.refused(422);
    }
    host.deploy("tally").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_must_be_words() {
    let host = Host::start().await;
    let component = guest("tally");
    for name in ["-a", "a..b", "a%20b", "%C3%BC", "..%2Fetc", "a%2Fb", &"x".repeat(200)] {
        let detail = host.deploy_as(name, component.clone()).await.refused(400);
        assert!(detail.contains("expected"), "{name}: {detail}");
    }
    for name in ["a", "go.micro.srv.counter", "A-b_c.1"] {
        host.deploy_as(name, component.clone()).await.ok();
    }
    let unknown = host.admin(Method::PUT, "/deployments/tally?verison=1", component).await;
    assert_eq!(unknown.status, 400, "{}", unknown.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_wants_the_token() {
    let host = Host::start().await;
    for path in ["/v1/status", "/v1/deployments", "/v1/events", "/v1/nothing"] {
        let without = host.sidecar(path).await;
        assert!(without.refused(401).contains("Authorization: Bearer TOKEN"), "{path}");
        for authorization in ["Bearer 0000", "Bearer ", "Basic Zm9v", "bearer"] {
            let headers = [("authorization", authorization)];
            host.sidecar_send(Method::GET, path, &headers, Bytes::new()).await.refused(401);
        }
    }
    let headers = [("authorization", "Bearer 0000")];
    host.sidecar_send(Method::PUT, "/v1/deployments/tally", &headers, guest("tally")).await.refused(401);
    host.admin(Method::GET, "/deployments/tally", "").await.refused(404);
    host.admin(Method::GET, "/nothing", "").await.refused(404);
    let health = host.sidecar("/health").await;
    assert_eq!(health.ok(), json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}));
    let mode = std::fs::metadata(host.data_dir.join("token")).map(|token| {
        use std::os::unix::fs::PermissionsExt as _;
        token.permissions().mode() & 0o777
    });
    assert_eq!(mode.unwrap(), 0o600, "only its owner reads the token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_shown_with_all_that_is_known_of_it() {
    let host = Host::start().await;
    let manifest = "name = \"counter\"\nnamespace = \"demo\"\nversion = \"1.2.0\"\n[limits]\nmemory = \"8MiB\"\n\
                    timeout = \"250ms\"\nconcurrency = 3\nqueue = 4\n[metadata]\nteam = \"core\"\n";
    let component = with_manifest(&guest("tally"), manifest);
    let size = component.len();
    let mut deployed = host.deploy_as("demo.tally", component).await.ok();
    assert_eq!(deployed["changed"], true);
    let digest = deployed["digest"].as_str().expect("a digest").to_string();
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    assert!(deployed["deployed_at"].as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z')));
    assert!(
        deployed["imports"].as_array().is_some_and(|all| all
            .iter()
            .all(|import| import.as_str().is_some_and(|import| import.starts_with("wasi:"))))
    );
    for (limit, value) in [
        ("memory", 8.0 * 1024.0 * 1024.0),
        ("timeout", 0.25),
        ("cpu", 3600.0),
        ("concurrency", 3.0),
        ("queue", 4.0),
        ("request", 32.0 * 1024.0 * 1024.0),
        ("reply", 64.0 * 1024.0 * 1024.0),
        ("log", 4.0 * 1024.0 * 1024.0),
    ] {
        let status = &deployed["limits"][limit];
        assert_eq!((status["limit"].as_f64(), &status["hits"]), (Some(value), &json!(0)), "{limit}");
    }
    for changing in ["changed", "digest", "deployed_at", "imports", "limits", "grants"] {
        deployed.as_object_mut().expect("an object").remove(changing);
    }
    let expected = json!({
        "name": "demo.tally", "version": "1.2.0", "kind": "function", "state": "ready", "detail": "",
        "revision": 1, "size": size, "engine": "lean", "loaded": true, "endpoints": ["Tally.Next"],
        "stats": {
            "calls": 0, "errors": 0, "in_flight": 0, "queued": 0, "denied": 0, "cpu_seconds": 0.0, "memory": 0,
            "instances": 0
        },
        "schedules": [], "subscriptions": [], "warnings": [],
    });
    assert_eq!(deployed, expected);

    let status = host.admin(Method::GET, "/status", "").await.ok();
    for key in ["version", "host", "started_at", "api_address", "sidecar_address", "data_dir", "engines"] {
        assert!(!status[key].is_null(), "{key}: {status}");
    }
    assert_eq!(status["deployments"], 1);
    assert_eq!(format!("http://{}", status["api_address"].as_str().unwrap_or_default()), host.api);

    let records = host.sidecar("/registry?service=demo.tally").await.ok();
    assert_eq!(records[0]["version"], "1.2.0");
    assert_eq!(records[0]["metadata"]["team"], "core");
    assert_eq!(records[0]["endpoints"][0]["name"], "Tally.Next");
    assert_eq!(records[0]["nodes"].as_array().map(Vec::len), Some(1));
    host.sidecar("/registry?service=nobody").await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_deployed_twice_is_one_revision() {
    let host = Host::start().await;
    assert_eq!(deploy(&host, "one").await["changed"], true);
    let again = deploy(&host, "one").await;
    assert_eq!((&again["changed"], &again["revision"]), (&json!(false), &json!(1)));
    let versioned = host.admin(Method::PUT, "/deployments/versioned?version=7.0.0", versioned("one")).await.ok();
    assert_eq!((&versioned["revision"], &versioned["version"]), (&json!(2), &json!("7.0.0")), "another version");
    assert_eq!(host.sidecar("/registry?service=versioned").await.ok().as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_goes_back_to_the_revision_before_or_to_any_kept_one() {
    let host = Host::start().await;
    for text in ["one", "two", "three"] {
        deploy(&host, text).await;
    }
    let roll_back = |body: &'static str| host.admin(Method::POST, "/deployments/versioned/rollback", body);
    assert_eq!(roll_back("").await.ok()["revision"], 2);
    assert_eq!(version(&host).await, "two");
    assert_eq!(roll_back("{\"revision\": 3}").await.ok()["revision"], 3);
    assert_eq!(version(&host).await, "three");
    assert_eq!(roll_back("{\"revision\": 1}").await.ok()["revision"], 1);
    assert_eq!(version(&host).await, "one");
    roll_back("").await.refused(404);
    assert!(roll_back("{\"revision\": 9}").await.refused(404).contains("keeps no revision 9"));
    roll_back("{\"revison\": 1}").await.refused(400);
    roll_back("nonsense").await.refused(400);
    assert_eq!(version(&host).await, "one");
    host.admin(Method::POST, "/deployments/nobody/rollback", "").await.refused(404);

    // Numbers go on counting, and going back does not lose the way forward.
    assert_eq!(deploy(&host, "four").await["revision"], 4);
    let revisions = host.admin(Method::GET, "/deployments/versioned/revisions", "").await.ok();
    let shown: Vec<_> = revisions["revisions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| (r["number"].clone(), r["current"].clone()))
        .collect();
    assert_eq!(
        shown,
        [(json!(4), json!(true)), (json!(3), json!(false)), (json!(2), json!(false)), (json!(1), json!(false))]
    );
    for key in ["version", "digest", "size", "deployed_at"] {
        assert!(!revisions["revisions"][0][key].is_null(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_revisions_are_kept_and_older_components_leave_the_disk() {
    let host = Host::start().await;
    for n in 1..=13 {
        deploy(&host, &format!("v{n}")).await;
    }
    let revisions = host.admin(Method::GET, "/deployments/versioned/revisions", "").await.ok();
    let numbers: Vec<_> =
        revisions["revisions"].as_array().expect("a list").iter().map(|r| r["number"].as_u64()).collect();
    assert_eq!(numbers, (4..=13).rev().map(Some).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(host.data_dir.join("components")).unwrap().count(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_stays_while_any_deployment_needs_it() {
    let mut host = Host::start().await;
    let component = guest("tally");
    host.deploy_as("keeper", component.clone()).await.ok();
    // One comes and goes while another comes: neither takes the component from the other.
    for _ in 0..10 {
        host.deploy_as("guest", component.clone()).await.ok();
        host.admin(Method::DELETE, "/deployments/keeper", "").await.ok();
        let (gone, come) = tokio::join!(
            host.admin(Method::DELETE, "/deployments/guest", ""),
            host.deploy_as("keeper", component.clone())
        );
        assert_eq!((gone.status, come.status), (200, 200), "{}", come.text());
    }
    std::fs::remove_dir_all(host.data_dir.join("cache")).unwrap();
    host.restart().await;
    assert_eq!(host.call("keeper", "Tally.Next", json!({})).await.result(), json!(1));
    assert_eq!(std::fs::read_dir(host.data_dir.join("components")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_deployment_is_gone_and_may_come_again() {
    let mut host = Host::start().await;
    deploy(&host, "one").await;
    let removed = host.admin(Method::DELETE, "/deployments/versioned", "").await.ok();
    assert_eq!(removed["revision"], 1);
    host.call("versioned", "Version.Get", json!({})).await.refused(404);
    host.admin(Method::DELETE, "/deployments/versioned", "").await.refused(404);
    host.sidecar("/registry?service=versioned").await.refused(404);
    assert_eq!(std::fs::read_dir(host.data_dir.join("components")).unwrap().count(), 0);
    host.restart().await;
    host.call("versioned", "Version.Get", json!({})).await.refused(404);
    deploy(&host, "two").await;
    assert_eq!(version(&host).await, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_come_back_after_a_restart_and_load_at_the_first_call() {
    let mut host = Host::start().await;
    deploy(&host, "one").await;
    deploy(&host, "two").await;
    host.deploy("async-echo").await;
    let before = host.admin(Method::GET, "/status", "").await.ok()["host"].clone();
    host.restart().await;
    assert_eq!(host.admin(Method::GET, "/status", "").await.ok()["host"], before, "the same host");
    assert_eq!(host.deployment("versioned").await["loaded"], false);
    assert_eq!(version(&host).await, "two");
    assert_eq!(host.deployment("versioned").await["loaded"], true);
    assert_eq!(host.call("async-echo", "Echo.Say", json!({"text": "x"})).await.result(), json!("x"));
    host.admin(Method::POST, "/deployments/versioned/rollback", "").await.ok();
    assert_eq!(version(&host).await, "one");
    let records = host.sidecar("/registry?service=versioned").await.ok();
    let address = records[0]["nodes"][0]["address"].as_str().unwrap_or_default().to_string();
    assert_eq!(format!("http://{address}"), host.api, "the registry knows the new address");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_do_not_share_a_data_folder() {
    let host = Host::start().await;
    let options = micro::server::Options { data_dir: host.data_dir.clone(), ..micro::server::Options::default() };
    let error = micro::server::start(options).await.expect_err("the folder is taken");
    assert!(error.to_string().contains("another host runs in"), "{error}");
    host.deploy("tally").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deploys_of_one_name_at_once_each_become_a_revision() {
    let host = Host::start().await;
    let deploys = (0..8).map(|n| host.deploy_as("versioned", versioned(&format!("v{n}"))));
    let mut numbers: Vec<_> =
        futures::future::join_all(deploys).await.iter().map(|reply| reply.ok()["revision"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).map(Some).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_writes_is_kept_and_followed() {
    let host = Host::start().await;
    host.deploy("logger").await;
    let written = host.call("logger", "Logger.Write", json!({"lines": 3})).await;
    let request = written.header("x-request-id").to_string();
    let log = host.logs("logger").await;
    let of_stream = |stream: &str| -> Vec<&str> {
        log.iter().filter(|line| line["stream"] == stream).filter_map(|line| line["message"].as_str()).collect()
    };
    assert_eq!(of_stream("stdout"), ["out 1", "out 2", "out 3"]);
    assert_eq!(of_stream("stderr"), ["err 1", "err 2", "err 3"]);
    for record in &log {
        assert_eq!(record["request"], *request);
        assert_eq!((&record["deployment"], &record["revision"]), (&json!("logger"), &json!(1)));
        assert!(record["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    }
    let tail = host.admin(Method::GET, "/deployments/logger/logs?lines=2", "").await;
    assert_eq!(tail.text().lines().count(), 2);

    let mut lines = host.admin_lines("/deployments/logger/logs?lines=1&follow=true").await;
    assert!(lines.next().await.is_some_and(|line| line.contains("err 3")), "the tail comes first");
    host.call("logger", "Logger.Write", json!({"lines": 1})).await.ok();
    assert!(lines.next().await.is_some_and(|line| line.contains("out 1")));
    assert!(lines.next().await.is_some_and(|line| line.contains("err 1")));

    host.call("logger", "Logger.Binary", json!({})).await.ok();
    assert!(lines.next().await.is_some_and(|line| line.contains("\u{fffd}\u{fffd} not text")));
    host.call("logger", "Logger.Long", json!({"bytes": 20_000})).await.ok();
    let lengths = [lines.next().await, lines.next().await, lines.next().await].map(|line| {
        let record: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        record["message"].as_str().map_or(0, str::len)
    });
    assert_eq!(lengths, [8192, 8192, 20_000 - 2 * 8192], "a long line is cut");

    host.call("logger", "Logger.Write", json!({"lines": 5000})).await.ok();
    assert_eq!(host.logs("logger").await.len(), 1000, "the oldest lines are forgotten");
    host.admin(Method::GET, "/deployments/nobody/logs", "").await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_deployments_is_told_as_it_happens() {
    let host = Host::start().await;
    let mut events = host.admin_lines("/events").await;
    deploy(&host, "one").await;
    deploy(&host, "two").await;
    host.deploy_as("versioned", "not wasm").await.refused(422);
    host.admin(Method::POST, "/deployments/versioned/rollback", "").await.ok();
    host.admin(Method::DELETE, "/deployments/versioned", "").await.ok();
    for (kind, revision) in [
        ("deployed", json!(1)),
        ("deployed", json!(2)),
        ("refused", json!(null)),
        ("rolled-back", json!(1)),
        ("removed", json!(1)),
    ] {
        assert_eq!(events.find(|line| line.starts_with("event:")).await, format!("event: {kind}"));
        let line = events.find(|line| line.starts_with("data:")).await;
        let event: Value = serde_json::from_str(line.trim_start_matches("data:").trim()).expect("JSON");
        assert_eq!((&event["kind"], &event["revision"]), (&json!(kind), &revision), "{event}");
        assert_eq!(event["deployment"], "versioned");
        assert!(event["time"].is_string() && event["detail"].is_string(), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_the_host_and_do_not_hold_it_up() {
    let mut host = Host::start().await;
    host.deploy("logger").await;
    let mut events = host.admin_lines("/events").await;
    let mut log = host.admin_lines("/deployments/logger/logs?follow=true").await;
    let began = std::time::Instant::now();
    host.stop().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "took {:?}", began.elapsed());
    while events.next().await.is_some() {}
    while log.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_compile_cache_is_compiled_anew() {
    let mut host = Host::start().await;
    deploy(&host, "one").await;
    host.stop().await;
    let mut damaged = 0;
    for folder in std::fs::read_dir(host.data_dir.join("cache")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "there is a cache to damage");
    host.restart().await;
    assert_eq!(version(&host).await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_whose_component_is_lost_says_so_and_a_deploy_heals_it() {
    let mut host = Host::start().await;
    deploy(&host, "one").await;
    host.stop().await;
    for folder in ["cache", "components"] {
        std::fs::remove_dir_all(host.data_dir.join(folder)).unwrap();
    }
    host.restart().await;
    host.call("versioned", "Version.Get", json!({})).await.refused(503);
    let shown = until("the deployment has failed", async || {
        let shown = host.deployment("versioned").await;
        (shown["state"] == "failed").then_some(shown)
    })
    .await;
    assert!(shown["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{shown}");
    assert_eq!(deploy(&host, "one").await["state"], "ready");
    assert_eq!(version(&host).await, "one");
}
