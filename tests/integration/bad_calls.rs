//! Calls that cannot be answered: each says what is wrong and where, and harms nobody else.

use bytes::Bytes;
use micro_tests::{Host, Reply, json};
use reqwest::Method;
use std::time::{Duration, Instant};

async fn echo_host() -> Host {
    let host = Host::start().await;
    host.deploy("echo").await;
    host
}

/// The next caller is served as if nothing had been.
async fn assert_echo_serves(host: &Host) {
    assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.result(), json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_does_not_fit_is_refused_with_its_place() {
    let host = echo_host().await;
    for (endpoint, message, expected) in [
        ("Echo.Sum", json!({"a": "x"}), "field a: expected integer (u32), got string"),
        ("Echo.Sum", json!({"a": null}), "field a: expected integer (u32), got null"),
        ("Echo.Sum", json!({"a": 1.5}), "field a: expected integer (u32), got 1.5"),
        ("Echo.Sum", json!({"a": -1}), "field a: -1 is out of range for u32"),
        ("Echo.Sum", json!({"a": 4_294_967_296_u64}), "field a: 4294967296 is out of range for u32"),
        ("Echo.U8", json!({"value": 256}), "field value: 256 is out of range for u8"),
        ("Echo.S8", json!({"value": -129}), "field value: -129 is out of range for s8"),
        ("Echo.U64", json!({"value": "1e3"}), "field value: expected integer or its text (u64), got \"1e3\""),
        ("Echo.F32", json!({"value": 1e39}), "field value: "),
        ("Echo.Char", json!({"value": "ab"}), "field value: expected string of one character, got 2 characters"),
        ("Echo.Bytes", json!({"value": "?"}), "field value: expected base64 string"),
        ("Echo.Strings", json!({"value": ["a", 1]}), "field value[1]: expected string, got number"),
        ("Echo.Points", json!({"value": [{"x": 1, "y": 1}, {"x": 1}]}), "field value[1]: missing field y"),
        (
            "Echo.Points",
            json!({"value": [{"x": 1, "y": true}]}),
            "field value[0].y: expected integer (s32), got boolean",
        ),
        ("Echo.Map", json!({"value": {"a b": "x"}}), "field value[\"a b\"]: expected integer (u32), got string"),
        ("Echo.Tuple", json!({"value": [1, "x"]}), "field value: expected 3 items, got 2"),
        ("Echo.Color", json!({"value": "purple"}), "unknown case \"purple\": expected red, green, blue_green"),
        ("Echo.Color", json!({"value": "gren"}), "did you mean green?"),
        ("Echo.Permissions", json!({"value": ["wriet"]}), "did you mean write?"),
        ("Echo.Shape", json!({"value": {"circle": 1, "empty": null}}), "expected one case, got"),
        ("Echo.Shape", json!({"value": "circle"}), "case circle carries number"),
        ("Echo.Sum", json!({}), "missing field a: expected integer (u32)"),
        (
            "Echo.Kebab",
            json!({"first_name": "x", "http_stats": 1}),
            "unknown field \"http_stats\": did you mean http_status?",
        ),
        ("Echo.Nothing", json!({"zzz": 1}), "unknown field \"zzz\": expected none"),
    ] {
        let detail = host.call("echo", endpoint, message.clone()).await.refused(400);
        assert!(detail.starts_with(&format!("{endpoint}: ")), "{detail}");
        assert!(detail.contains(expected), "{message}: {detail:?} should hold {expected:?}");
    }
    assert_echo_serves(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_object_is_refused() {
    let host = echo_host().await;
    for (body, expected) in [
        (r#"{"a": 1"#, "not valid JSON"),
        (r#"{"a": 1}}"#, "not valid JSON"),
        (r#"{"a": 1, "a": 2}"#, "field a: the field is there twice"),
        ("[1, 2]", "expected object, got array"),
        ("null", "missing field a"),
        ("7", "expected object, got number"),
        ("\"a\"", "expected object, got string"),
        ("{\"a\": \"\u{1}\"}", "not valid JSON"),
    ] {
        let detail = host.post("/echo/echo/sum", "application/json", body).await.refused(400);
        assert!(detail.contains(expected), "{body}: {detail}");
    }
    let not_utf8 = Bytes::from_static(b"{\"value\": \"\xff\"}");
    host.post("/echo/echo/string", "application/json", not_utf8).await.refused(400);
    let deep = format!("{{\"value\": {}}}", "[".repeat(100_000));
    host.post("/echo/echo/nested", "application/json", deep).await.refused(400);
    assert_echo_serves(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404_with_what_is() {
    let host = echo_host().await;
    let detail = host.call("nobody", "Say.Hello", json!({})).await.refused(404);
    assert_eq!(detail, "service nobody: not found");
    let detail = host.call("echo", "Echo.Summ", json!({})).await.refused(404);
    assert_eq!(detail, "endpoint Echo.Summ: not found; did you mean Echo.Sum?");
    let detail = host.call("echo", "Zzz.Qqq", json!({})).await.refused(404);
    assert!(detail.contains("expected Echo.Bool, Echo.Bytes, "), "{detail}");
    host.get("/%ff").await.refused(404);
    host.send("OPTIONS".parse().unwrap(), "/echo/echo/sum", &[], Bytes::new()).await.refused(405);
    host.get(&format!("/echo/echo/string?value={}", "x".repeat(9000))).await.refused(414);
    assert_echo_serves(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413() {
    let host = Host::start().await;
    host.deploy_limited("big", "memory = \"256MiB\"").await;
    let at_the_limit = vec![0; 32 * 1024 * 1024];
    let measured = host.post("/big/big/measure", "application/octet-stream", at_the_limit.clone()).await;
    assert_eq!(measured.result(), json!(at_the_limit.len()));
    let above = vec![0; at_the_limit.len() + 1];
    let detail = host.post("/big/big/measure", "application/octet-stream", above).await.refused(413);
    assert!(detail.contains("33554432"), "{detail}");
    assert_eq!(host.post("/big/big/measure", "application/octet-stream", "x").await.result(), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_spins_is_ended_within_its_limit() {
    let host = echo_host().await;
    host.deploy_limited("spin", "timeout = \"300ms\"").await;
    let began = Instant::now();
    let spinning = host.call("spin", "Spin.Forever", json!({}));
    // Others are served meanwhile: nobody has the machine for himself.
    let (spun, ()) = tokio::join!(spinning, assert_echo_serves(&host));
    let detail = spun.refused(504);
    assert!(detail.contains("no reply within 300ms"), "{detail}");
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_spinning_calls_than_processors_starve_nobody() {
    let host = echo_host().await;
    host.deploy_limited("spin", "timeout = \"1s\"").await;
    let spinning = futures::future::join_all((0..16).map(|_| host.call("spin", "Spin.Forever", json!({}))));
    let served = async {
        for _ in 0..5 {
            assert_echo_serves(&host).await;
        }
    };
    let (spun, ()) = tokio::join!(spinning, served);
    spun.iter().for_each(|reply| drop(reply.refused(504)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_gets_no_more_memory_than_its_limit() {
    let host = Host::start().await;
    host.deploy_limited("memory", "memory = \"16MiB\"").await;
    let allocate = |mib: u32| host.call("memory", "Memory.Allocate", json!({ "mib": mib }));
    assert_eq!(allocate(1).await.result(), json!(1));
    for mib in [16, 64, 2000] {
        let detail = allocate(mib).await.refused(500);
        assert!(detail.contains("memory limit of 16.0 MiB reached"), "{detail}");
    }
    assert_eq!(allocate(8).await.result(), json!(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_told_to_the_caller_in_words_and_to_the_log_in_full() {
    let host = Host::start().await;
    host.deploy("trap").await;
    let trapped = host.call("trap", "Trap.Panic", json!({"message": "secret sauce"})).await;
    let detail = trapped.refused(500);
    assert!(detail.contains("the function failed: it panicked or aborted"), "{detail}");
    for internal in ["secret sauce", "backtrace", "src/lib.rs", "0x"] {
        assert!(!detail.contains(internal), "{detail}");
    }
    let request = trapped.header("x-request-id");
    assert!(detail.contains(&format!("(request {request})")), "{detail}");

    let log = host.logs("trap").await;
    let of_call: Vec<_> = log.iter().filter(|record| record["request"] == *request).collect();
    let message = |record: &micro_tests::Value| record["message"].as_str().unwrap_or_default().to_string();
    let backtrace = of_call.iter().find(|record| record["stream"] == "host").map(|record| message(record));
    let backtrace = backtrace.unwrap_or_else(|| panic!("no line of the host: {log:?}"));
    assert!(backtrace.contains("wasm backtrace") && backtrace.contains("panic"), "{backtrace}");
    let said = of_call.iter().any(|record| record["stream"] == "stderr" && message(record).contains("secret sauce"));
    assert!(said, "what the guest said stays in its log: {log:?}");

    for (endpoint, message, expected) in [
        ("Trap.Unreachable", json!({}), "unreachable code"),
        ("Trap.Exit", json!({"code": 3}), "exit code "),
        ("Trap.Exit", json!({"code": 0}), "exit code 0"),
    ] {
        let detail = host.call("trap", endpoint, message).await.refused(500);
        assert!(detail.contains(expected), "{endpoint}: {detail}");
        assert_eq!(host.call("trap", "Trap.Fine", json!({})).await.result(), json!("fine"), "after {endpoint}");
    }
    let stats = host.deployment("trap").await["stats"].clone();
    for (count, expected) in [("calls", 7), ("errors", 4), ("in_flight", 0), ("queued", 0), ("denied", 0)] {
        assert_eq!(stats[count], expected, "{count}: {stats}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_recursion_is_an_error() {
    let host = Host::start().await;
    host.deploy("deep").await;
    let recurse = |depth: u32| host.call("deep", "Deep.Recurse", json!({ "depth": depth }));
    assert_eq!(recurse(100).await.result(), json!(100));
    let detail = recurse(100_000_000).await.refused(500);
    assert!(detail.starts_with("the function failed: "), "{detail}");
    assert_eq!(recurse(100).await.result(), json!(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_over_the_limit_is_an_error() {
    let host = Host::start().await;
    host.deploy_limited("big", "memory = \"512MiB\"\ntimeout = \"60s\"").await;
    let ask = async |endpoint: &str, size: usize| host.call("big", endpoint, json!({ "size": size })).await;
    for endpoint in ["Big.Text", "Big.Bytes"] {
        let detail = ask(endpoint, 65 * 1024 * 1024).await.refused(500);
        assert!(detail.contains("the reply is larger than 64.0 MiB"), "{detail}");
        assert_eq!(
            ask(endpoint, 3).await.result().as_str().map(str::len),
            Some(if endpoint == "Big.Text" { 3 } else { 4 })
        );
    }
    let large = ask("Big.Text", 8 * 1024 * 1024).await.result();
    assert_eq!(large.as_str().map(str::len), Some(8 * 1024 * 1024));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_turns_calls_away_with_429() {
    let host = Host::start().await;
    host.deploy_limited("slow", "concurrency = 1\nqueue = 0\ntimeout = \"30s\"").await;
    let (first, turned_away) = tokio::join!(sleep(&host, 1500), async {
        in_flight(&host, 1).await;
        sleep(&host, 1).await
    });
    let detail = turned_away.refused(429);
    assert!(detail.contains("too many calls at once"), "{detail}");
    assert_eq!(turned_away.header("retry-after"), "1");
    assert_eq!(first.result(), json!(1500));
    assert_eq!(sleep(&host, 1).await.result(), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_their_turn_in_the_queue() {
    let host = Host::start().await;
    host.deploy_limited("slow", "concurrency = 1\nqueue = 1\ntimeout = \"30s\"").await;
    let (first, second, turned_away) = tokio::join!(
        sleep(&host, 1500),
        async {
            in_flight(&host, 1).await;
            sleep(&host, 2).await
        },
        async {
            micro_tests::until("a call waits", async || {
                (host.deployment("slow").await["stats"]["queued"] == 1).then_some(())
            })
            .await;
            sleep(&host, 3).await
        }
    );
    assert_eq!((first.result(), second.result()), (json!(1500), json!(2)));
    turned_away.refused(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_gives_the_place_back() {
    let host = Host::start().await;
    host.deploy_limited("slow", "concurrency = 1\nqueue = 0\ntimeout = \"1h\"").await;
    tokio::select! {
        reply = sleep(&host, 3_000_000) => panic!("answered with {reply:?}"),
        () = in_flight(&host, 1) => {}
    }
    in_flight(&host, 0).await;
    assert_eq!(sleep(&host, 1).await.result(), json!(1));
}

async fn sleep(host: &Host, ms: u32) -> Reply {
    host.call("slow", "Slow.Sleep", json!({ "ms": ms })).await
}

/// Waits until so many calls of `slow` run.
async fn in_flight(host: &Host, count: u32) {
    let what = format!("{count} calls run");
    let count = json!(count);
    micro_tests::until(&what, async || (host.deployment("slow").await["stats"]["in_flight"] == count).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_refuses_with_an_error_json_whatever_it_is() {
    let host = Host::start().await;
    for (method, path) in [
        (Method::GET, "/deployments?limit=x"),
        (Method::GET, "/deployments?what=1"),
        (Method::GET, "/deployments/%ff"),
        (Method::GET, "/top?since=x"),
        (Method::GET, "/logs?lines=x"),
        (Method::PUT, "/deployments/a?force=maybe"),
        (Method::GET, "/stores/a/keys?limit=-1"),
        (Method::PUT, "/stores/a/values/k?if-version=x"),
    ] {
        let detail = host.admin(method.clone(), path, "").await.refused(400);
        assert!(!detail.is_empty(), "{method} {path}");
    }
    for (method, path) in [(Method::POST, "/deployments"), (Method::DELETE, "/status"), (Method::PATCH, "/stores")] {
        let reply = host.admin(method.clone(), path, "").await;
        assert!(reply.refused(405).contains("other methods"), "{method} {path}");
        assert!(reply.header("allow").contains("GET"), "{method} {path}: {:?}", reply.headers);
    }
    host.sidecar("/metrics?deployments=maybe").await.refused(400);
    host.sidecar("/registry?service=a&service=b").await.refused(400);
    host.sidecar_send(Method::POST, "/health", &[], Bytes::new()).await.refused(405);
    host.sidecar_send(Method::DELETE, "/v1/status", &[], Bytes::new()).await.refused(401);
}
