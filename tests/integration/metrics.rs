//! `/metrics` as Prometheus reads it, and the counts behind `micro top`.

use micro_tests::{Connection, Host, HostProcess, guest, json, until, with_manifest};
use prometheus_parse::{Sample, Scrape, Value};
use reqwest::Method;
use std::time::{Duration, Instant};

async fn scrape(host: &Host, path: &str) -> Scrape {
    let page = host.sidecar(path).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    Scrape::parse(page.text().lines().map(|line| Ok(line.to_string()))).expect("it reads")
}

/// The sample with these labels and no others.
fn find<'s>(scrape: &'s Scrape, metric: &str, labels: &[(&str, &str)]) -> Option<&'s Sample> {
    scrape.samples.iter().find(|sample| {
        sample.metric == metric
            && sample.labels.len() == labels.len()
            && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
    })
}

#[track_caller]
fn number(scrape: &Scrape, metric: &str, labels: &[(&str, &str)]) -> f64 {
    let sample = find(scrape, metric, labels).unwrap_or_else(|| panic!("no {metric} {labels:?}"));
    match sample.value {
        Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) => number,
        _ => panic!("{metric} is no number: {sample:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_does_is_counted_for_prometheus() {
    let host = Host::start().await;
    host.deploy("echo").await;
    host.deploy("streams").await;
    host.deploy_as("idle", guest("echo")).await.ok();
    for at in 0..3 {
        host.call("echo", "Echo.Sum", json!({"a": 1, "b": at})).await.ok();
    }
    host.call("echo", "Echo.Astray", json!({})).await.refused(404);
    host.call("echo", "Echo.Sum", json!({"a": "x"})).await.refused(400);
    let scrape = scrape(&host, "/metrics").await;
    let echo = ("deployment", "echo");
    assert_eq!(number(&scrape, "micro_calls_total", &[echo]), 5.0);
    assert_eq!(number(&scrape, "micro_call_errors_total", &[echo, ("code", "404")]), 1.0);
    assert_eq!(number(&scrape, "micro_call_errors_total", &[echo, ("code", "400")]), 1.0);
    assert_eq!(number(&scrape, "micro_calls_in_flight", &[echo]), 0.0);
    let durations = find(&scrape, "micro_call_duration_seconds", &[echo]).expect("durations");
    let Value::Histogram(buckets) = &durations.value else { panic!("{durations:?}") };
    assert!(buckets.is_sorted_by(|a, b| a.less_than < b.less_than && a.count <= b.count), "{buckets:?}");
    assert_eq!(buckets.last().map(|last| (last.less_than, last.count)), Some((f64::INFINITY, 5.0)));
    assert_eq!(number(&scrape, "micro_call_duration_seconds_count", &[echo]), 5.0);
    assert!(number(&scrape, "micro_call_duration_seconds_sum", &[echo]) > 0.0);
    assert_eq!(number(&scrape, "micro_deployments", &[("state", "ready")]), 3.0);
    assert_eq!(number(&scrape, "micro_events_total", &[("kind", "deployed")]), 3.0);
    // The same component twice is compiled once.
    assert_eq!(number(&scrape, "micro_compile_cache_misses_total", &[]), 2.0);
    assert!(number(&scrape, "micro_compile_cache_written_bytes_total", &[]) > 10_000.0);
    assert!(number(&scrape, "process_resident_memory_bytes", &[]) > 1e6);
    assert!(number(&scrape, "process_start_time_seconds", &[]) > 1.5e9);
    let names =
        |name: &str| scrape.samples.iter().filter(|sample| sample.labels.get("deployment") == Some(name)).count();
    assert!(names("echo") > 0);
    assert_eq!((names("idle"), names("streams")), (0, 0), "who was not called has no samples");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_and_what_waits_is_shown_while_it_does() {
    let host = Host::start().await;
    let manifest = "name = \"spin\"\n[limits]\nconcurrency = 1\nqueue = 8\ntimeout = \"60s\"\n";
    host.deploy_as("spin", with_manifest(&guest("spin"), manifest)).await.ok();
    let call = || async { host.try_call("spin", "Spin.Forever", json!({})).await };
    let look = async {
        until("one runs and one waits", async || {
            let scrape = scrape(&host, "/metrics").await;
            let spin = ("deployment", "spin");
            let is_there = find(&scrape, "micro_calls_in_flight", &[spin]).is_some()
                && number(&scrape, "micro_calls_in_flight", &[spin]) == 1.0
                && number(&scrape, "micro_calls_queued", &[spin]) == 1.0;
            is_there.then(|| assert_eq!(number(&scrape, "micro_instances", &[spin]), 1.0))
        })
        .await;
        let top = host.admin(Method::GET, "/top", "").await.ok();
        assert_eq!((&top["deployments"][0]["in_flight"], &top["deployments"][0]["queued"]), (&json!(1), &json!(1)));
    };
    tokio::select! {
        () = look => {}
        _ = futures::future::join(call(), call()) => panic!("they do not end"),
    }
    until("it is counted that both callers left", async || {
        let scrape = scrape(&host, "/metrics").await;
        let spin = ("deployment", "spin");
        assert_eq!(number(&scrape, "micro_calls_total", &[spin]), 0.0);
        (number(&scrape, "micro_calls_abandoned_total", &[spin]) == 2.0).then_some(())
    })
    .await;
}

/// Waits until a metric of the deployment is 1.
async fn until_one(host: &Host, metric: &str, deployment: &str) -> Scrape {
    until(&format!("{metric} of {deployment} is 1"), async || {
        let scrape = scrape(host, "/metrics").await;
        let labels = [("deployment", deployment)];
        let is_one = find(&scrape, metric, &labels).is_some() && number(&scrape, metric, &labels) == 1.0;
        is_one.then_some(scrape)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_stay_counted_when_the_next_revision_comes() {
    let host = Host::start().await;
    let unsteady = |version: u32| {
        let manifest = format!("name = \"unsteady\"\nversion = \"{version}\"\nkind = \"service\"\n");
        with_manifest(&guest("unsteady"), &manifest)
    };
    host.deploy_as("unsteady", unsteady(1)).await.ok();
    host.call("unsteady", "Unsteady.Crash", json!({})).await.refused(500);
    let restarts = "micro_instance_restarts_total";
    until_one(&host, restarts, "unsteady").await;
    host.deploy_as("unsteady", unsteady(2)).await.ok();
    assert_eq!(number(&scrape(&host, "/metrics").await, restarts, &[("deployment", "unsteady")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_response_of_a_handler_is_no_success() {
    let host = Host::start().await;
    for name in ["web", "web3"] {
        host.deploy_limited(name, "concurrency = 1\nqueue = 1\ntimeout = \"1m\"").await;
        let mut first = Connection::http1(&host.api).await;
        let _open = first.begin("POST", &format!("/{name}/mirror"), &[]).await;
        let mut connection = Connection::http1(&host.api).await;
        let (upload, response) = connection.send("GET", &format!("/{name}/x"), &[]);
        drop(upload);
        let response = tokio::spawn(response);
        until("it waits", async || (host.deployment(name).await["stats"]["queued"] == 1).then_some(())).await;
        connection.cut();
        let scrape = until_one(&host, "micro_calls_abandoned_total", name).await;
        assert_eq!(number(&scrape, "micro_calls_total", &[("deployment", name)]), 0.0);
        response.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_caller_leaves_the_queue_gives_its_place_back() {
    let host = Host::start().await;
    for (name, path) in
        [("streams", "/streams/ways/tick?from=1"), ("native-streams", "/native-streams/native/ticks?from=1")]
    {
        host.deploy_limited(name, "concurrency = 1\nqueue = 1\ntimeout = \"1m\"").await;
        let mut first = host.lines(path, "application/x-ndjson").await;
        assert!(first.next().await.is_some());
        let mut connection = Connection::http1(&host.api).await;
        let (upload, response) = connection.send("GET", path, &[("accept", "application/x-ndjson")]);
        drop(upload);
        let response = tokio::spawn(response);
        until("it waits", async || (host.deployment(name).await["stats"]["queued"] == 1).then_some(())).await;
        connection.cut();
        until_one(&host, "micro_calls_abandoned_total", name).await;
        let stats = host.deployment(name).await["stats"].clone();
        assert_eq!((&stats["in_flight"], &stats["queued"]), (&json!(1), &json!(0)));
        assert!(first.next().await.is_some());
        response.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_duration_of_a_handler_ends_when_its_response_begins() {
    let host = Host::start().await;
    for name in ["web", "web3"] {
        host.deploy(name).await;
        let mut connection = Connection::http1(&host.api).await;
        let began = Instant::now();
        let (upload, mut response) = connection.begin("POST", &format!("/{name}/mirror"), &[]).await;
        let answered = began.elapsed();
        until("the body takes longer", async || {
            upload.data("on");
            response.next().await.expect("a piece").expect("it is whole");
            (began.elapsed() > answered + Duration::from_millis(300)).then_some(())
        })
        .await;
        drop(upload);
        response.rest().await.expect("it is whole");
        let scrape = until_one(&host, "micro_calls_total", name).await;
        let took = number(&scrape, "micro_call_duration_seconds_sum", &[("deployment", name)]);
        assert!(took <= answered.as_secs_f64(), "{took} s of {answered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_may_leave_the_deployments_out() {
    let host = Host::start().await;
    host.deploy("echo").await;
    host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.ok();
    let scrape = scrape(&host, "/metrics?deployments=false").await;
    assert!(scrape.samples.iter().all(|sample| sample.labels.get("deployment").is_none()));
    assert_eq!(number(&scrape, "micro_deployments", &[("state", "ready")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn top_tells_only_of_those_that_did_something_since_the_last_look() {
    let host = Host::start().await;
    host.deploy("echo").await;
    host.deploy("trap").await;
    let first = host.admin(Method::GET, "/top", "").await.ok();
    assert_eq!(first["deployments"], json!([]), "nothing was called");
    host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.ok();
    let second = host.admin(Method::GET, &format!("/top?since={}", first["now_ms"]), "").await.ok();
    let echo = &second["deployments"][0];
    assert_eq!((&echo["name"], &echo["calls"], &echo["errors"]), (&json!("echo"), &json!(1), &json!(0)));
    let buckets = echo["buckets"].as_array().expect("buckets");
    assert_eq!(buckets.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 1);
    assert_eq!(buckets.len(), second["bounds_seconds"].as_array().expect("bounds").len() + 1);
    let later = until("the clock goes on", async || {
        let look = host.admin(Method::GET, "/top?since=0", "").await.ok();
        (look["now_ms"].as_u64() > second["now_ms"].as_u64()).then_some(look)
    })
    .await;
    assert_eq!(later["deployments"].as_array().map(Vec::len), Some(1));
    let third = host.admin(Method::GET, &format!("/top?since={}", later["now_ms"]), "").await.ok();
    assert_eq!(third["deployments"], json!([]), "nobody called since");
}

#[tokio::test(flavor = "multi_thread")]
async fn micro_top_prints_one_interval_where_nobody_looks() {
    let host = HostProcess::start().await;
    host.deploy("echo").await;
    let callers = async {
        loop {
            host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.ok();
        }
    };
    let looks = async {
        let program = host.program();
        let json = program.succeed(&["top", "--interval", "300ms", "--output", "json"]).await;
        let sample: micro_tests::Value = json.parse().expect("it is JSON");
        let echo = &sample["deployments"][0];
        assert_eq!((&echo["name"], &echo["errors_per_second"]), (&json!("echo"), &json!(0.0)), "{sample}");
        assert!(echo["calls_per_second"].as_f64() > Some(0.0) && echo["p99_seconds"].as_f64() > Some(0.0), "{sample}");
        let text = program.succeed(&["top", "--interval", "300ms", "--sort", "p99"]).await;
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("host: ") && lines[1].starts_with("NAME") && lines[2].starts_with("echo "),
            "{text}"
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
    };
    tokio::select! {
        () = callers => {}
        () = looks => {}
    }
    let wrong = host.program().run(&["top", "--interval", "1ms"]).await;
    assert_eq!((wrong.code, wrong.stderr.trim()), (2, "--interval must be 100ms or longer"));
}
