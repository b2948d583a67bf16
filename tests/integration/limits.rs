//! Limits that bind: each ends what goes beyond it, says so to the caller, and is counted.

use bytes::Bytes;
use futures::future::join_all;
use micro::runtime::Bounds;
use micro_engine::manifest::{AskedLimits, HostLimits};
use micro_tests::{Connection, Host, Options, Reply, guest, json, until, with_manifest};

fn asked(limit: &str) -> AskedLimits {
    let mut asked = AskedLimits::default();
    asked.read(limit).unwrap();
    asked
}

/// How often a limit of a deployment bit.
async fn hits(host: &Host, name: &str, limit: &str) -> u64 {
    host.deployment(name).await["limits"][limit]["hits"].as_u64().unwrap()
}

/// What a caller is told who may try again.
fn again(reply: &Reply) -> u64 {
    reply.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {} {}", reply.status, reply.text()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_uses_up_its_processor_time_is_ended() {
    let host = Host::start().await;
    host.deploy_limited("spin", "timeout = \"60s\"\ncpu = \"50ms\"").await;
    let detail = host.call("spin", "Spin.Forever", json!({})).await.refused(504);
    assert!(detail.starts_with("no reply after 50ms on a processor (request "), "{detail}");
    let status = host.deployment("spin").await;
    assert_eq!(status["limits"]["cpu"]["hits"], 1);
    assert_eq!(status["limits"]["timeout"]["hits"], 0);
    let seconds = status["stats"]["cpu_seconds"].as_f64().unwrap();
    // In steps of 10 ms, of which it may have seen the end of the first and not that of the last.
    assert!(seconds >= 0.03, "{seconds} s were counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_a_guest_sleeps_is_no_processor_time() {
    let host = Host::start().await;
    host.deploy_limited("slow", "cpu = \"50ms\"").await;
    assert_eq!(host.call("slow", "Slow.Sleep", json!({"ms": 300})).await.result(), json!(300));
    assert_eq!(hits(&host, "slow", "cpu").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_deployment_takes_is_refused() {
    let host = Host::start().await;
    host.deploy_limited("big", "request = \"100KiB\"").await;
    let post = async |size: usize| host.post("/big/big/measure", "application/octet-stream", vec![0; size]).await;
    assert_eq!(post(100 * 1024).await.result(), json!(100 * 1024));
    let detail = post(100 * 1024 + 1).await.refused(413);
    assert!(detail.contains("102400"), "{detail}");
    // What is small is read before anybody asks.
    host.deploy_limited("big", "request = \"1KiB\"").await;
    let detail = post(2000).await.refused(413);
    assert_eq!(detail, "the message has 2000 bytes, more than the 1.0 KiB that big takes");
    assert_eq!(hits(&host, "big", "request").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_larger_than_a_handler_takes_is_refused() {
    let host = Host::start().await;
    let megabyte = vec![b'x'; 1 << 20];
    host.deploy("web").await;
    let count = async |bytes: &[u8]| host.post("/web/count", "", bytes.to_vec()).await;
    let forty: Vec<u8> = megabyte.iter().copied().cycle().take(40 << 20).collect();
    assert_eq!(count(&forty).await.text(), forty.len().to_string(), "it is read as it comes, so it may be large");
    host.deploy_limited("web", "request = \"100KiB\"").await;
    let detail = count(&megabyte).await.refused(413);
    assert_eq!(detail, "the body is larger than 100.0 KiB");
    // One that does not say how long it is: the handler meets an error in the midst of it, and here passes that on.
    let mut connection = Connection::http1(&host.api).await;
    let (upload, response) = connection.send("POST", "/web/forward-error", &[]);
    upload.data(megabyte.clone());
    assert_eq!(response.await.status(), 413);
    assert_eq!(hits(&host, "web", "request").await, 2);
    assert_eq!(count(&vec![0; 100 * 1024]).await.text(), (100 * 1024).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn input_larger_than_a_program_takes_is_refused() {
    let host = Host::start().await;
    host.deploy_limited("command", "request = \"100KiB\"").await;
    let detail = host.post("/command?count", "", vec![b'x'; 1 << 20]).await.refused(413);
    assert_eq!(detail, "the body is larger than 100.0 KiB");
    assert_eq!(hits(&host, "command", "request").await, 1);
    assert_eq!(host.post("/command?count", "", vec![b'x'; 100 * 1024]).await.text(), "102400\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_larger_than_the_deployment_may_give_is_none() {
    let host = Host::start().await;
    host.deploy_limited("big", "reply = \"1KiB\"").await;
    assert_eq!(host.call("big", "Big.Text", json!({"size": 900})).await.status, 200);
    let detail = host.call("big", "Big.Text", json!({"size": 2000})).await.refused(500);
    assert!(detail.starts_with("the reply is larger than 1.0 KiB"), "{detail}");
    assert_eq!(hits(&host, "big", "reply").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_defaults_and_maxima() {
    let limits = HostLimits { default: asked("memory=16MiB"), most: asked("memory=32MiB") };
    let host = Host::start_with(Options { bounds: Bounds::new(limits, u64::MAX), ..Options::default() }).await;
    host.deploy("memory").await;
    let detail = host.call("memory", "Memory.Allocate", json!({"mib": 20})).await.refused(500);
    assert!(detail.starts_with("memory limit of 16.0 MiB reached"), "{detail}");
    let manifest = "name = \"memory\"\n[limits]\nmemory = \"64MiB\"\n";
    let refused = host.deploy_as("memory", with_manifest(&guest("memory"), manifest)).await.refused(422);
    assert_eq!(refused, "limits.memory: 64.0 MiB is more than this host gives: 32.0 MiB");
    host.deploy_limited("memory", "memory = \"30MiB\"").await;
    assert_eq!(host.call("memory", "Memory.Allocate", json!({"mib": 20})).await.result(), json!(20));
    assert!(host.deployment("memory").await["limits"]["memory"]["used"].as_u64().unwrap() > 20 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_together_get_no_more_memory_than_the_host_gives() {
    let bounds = Bounds::new(HostLimits::default(), 40 << 20);
    let memory = bounds.memory.clone();
    let host = Host::start_with(Options { bounds, ..Options::default() }).await;
    host.deploy("memory").await;
    host.deploy("echo").await;
    let reply = host.call("memory", "Memory.Allocate", json!({"mib": 50})).await;
    let detail = reply.refused(503);
    assert!(detail.starts_with("the host has no more memory for guests (request "), "{detail}");
    assert!(again(&reply) >= 1);
    // What was taken is given back, and everybody else goes on.
    assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.result(), json!(3));
    assert_eq!(host.call("memory", "Memory.Allocate", json!({"mib": 30})).await.result(), json!(30));
    until("all memory is given back", || std::future::ready((memory.used() == 0).then_some(()))).await;
    assert!(memory.refusals() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_times_the_concurrency_is_answered_or_turned_away_and_leaves_nothing_behind() {
    let bounds = Bounds::default();
    let memory = bounds.memory.clone();
    let host = Host::start_with(Options { bounds, ..Options::default() }).await;
    host.deploy_limited("slow", "concurrency = 2\nqueue = 8\ntimeout = \"2s\"").await;
    let calls = (0..200).map(|_| host.call("slow", "Slow.Sleep", json!({"ms": 50})));
    let replies = join_all(calls).await;
    let count = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!(count(200) + count(429) + count(503), 200, "nothing else is an answer");
    assert!(count(200) >= 10, "{} were answered", count(200));
    assert!(count(429) >= 100, "{} were turned away", count(429));
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert!((1..=60).contains(&again(reply)), "{}", reply.header("retry-after"));
    }
    let status = host.deployment("slow").await;
    assert_eq!(status["limits"]["queue"]["hits"], 200 - count(200));
    assert_eq!((&status["stats"]["in_flight"], &status["stats"]["queued"]), (&json!(0), &json!(0)));
    until("all instances are gone", || std::future::ready((memory.used() == 0).then_some(()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_turn_would_come_after_its_caller_left_is_turned_away_at_once() {
    let host = Host::start().await;
    host.deploy_limited("slow", "concurrency = 1\nqueue = 100\ntimeout = \"60s\"").await;
    let slow = |ms: u32| host.call("slow", "Slow.Sleep", json!({"ms": ms}));
    // Now it is known that calls take a second.
    slow(1000).await.ok();
    let patient = join_all((0..4).map(|_| slow(1000)));
    let hasty = async {
        until("all four are there", || async { (host.deployment("slow").await["stats"]["queued"] == 3).then_some(()) })
            .await;
        let body = json!({"service": "slow", "endpoint": "Slow.Sleep", "request": {"ms": 1}}).to_string();
        let headers = [("content-type", "application/json"), ("timeout", "1")];
        host.send("POST".parse().unwrap(), "/rpc", &headers, Bytes::from(body)).await
    };
    let (patient, hasty) = tokio::join!(patient, hasty);
    assert!(patient.iter().all(|reply| reply.status == 200));
    let detail = hasty.refused(503);
    assert!(detail.starts_with("too many calls at once: the turn of this one would come in "), "{detail}");
    assert!(again(&hasty) >= 2, "the four before it take longer than {} s", again(&hasty));
}
