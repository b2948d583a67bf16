//! What functions write is kept on disk, bound, filtered and followed.

use micro_tests::{Client, Host, HostProcess, Value, guest, json, until, with_manifest};
use reqwest::Method;
use std::time::{Duration, Instant};

/// The guest `logger` under any name.
async fn deploy_logger(host: &Client, name: &str) {
    host.deploy_as(name, guest("logger")).await.ok();
}

async fn write(host: &Client, name: &str, lines: u32) -> String {
    let reply = host.call(name, "Logger.Write", json!({ "lines": lines })).await;
    reply.ok();
    reply.header("x-request-id").to_string()
}

/// The lines that fit, of one deployment or of all.
async fn lines(host: &Client, path: &str) -> Vec<Value> {
    let reply = host.admin(Method::GET, path, "").await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.text().lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

async fn messages(host: &Client, path: &str) -> Vec<String> {
    lines(host, path).await.iter().map(message).collect()
}

fn message(line: &Value) -> String {
    line["message"].as_str().unwrap_or_else(|| panic!("{line} has no message")).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_survive_a_restart_and_kill_9() {
    let mut host = HostProcess::start().await;
    deploy_logger(&host, "logger").await;
    let stdout = "/deployments/logger/logs?stream=stdout&lines=1000";
    for round in 1..=3 {
        let request = write(&host, "logger", 2).await;
        let before = lines(&host, stdout).await;
        assert_eq!(before.len(), 2 * round);
        assert_eq!(before.last().unwrap()["request"], *request);
        host = host.kill_and_start_again().await;
        assert_eq!(lines(&host, stdout).await, before, "round {round}");
    }
    let mut host = Host::start().await;
    deploy_logger(&host, "logger").await;
    write(&host, "logger", 2).await;
    // Nobody has read them: they are written because the host ends.
    host.restart().await;
    assert_eq!(messages(&host, stdout).await, ["out 1", "out 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_canary_writes_has_its_revision() {
    let mut host = Host::start().await;
    let logger =
        |version: u32| with_manifest(&guest("logger"), &format!("name = \"logger\"\nversion = \"{version}\"\n"));
    host.deploy_as("logger", logger(1)).await.ok();
    host.admin(Method::PUT, "/deployments/logger?canary=50", logger(2)).await.ok();
    let mut written = Vec::new();
    // Loaded by its deploy, and then by its first call.
    for _ in 0..2 {
        for revision in [2, 1] {
            let headers = [("micro-version", &*revision.to_string()), ("content-type", "application/json")];
            host.send(Method::POST, "/logger/write", &headers, r#"{"lines": 1}"#.into()).await.ok();
            written.push(json!(revision));
        }
        let shown = lines(&host, "/deployments/logger/logs?stream=stdout").await;
        assert_eq!(shown.iter().map(|line| line["revision"].clone()).collect::<Vec<_>>(), written);
        host.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_chosen_by_the_host() {
    let host = HostProcess::start().await;
    deploy_logger(&host, "logger").await;
    let first = write(&host, "logger", 30).await;
    let second = write(&host, "logger", 2).await;
    let chosen = async |filter: &str| messages(&host, &format!("/deployments/logger/logs?{filter}")).await;
    assert_eq!(chosen("grep=out.1.%24&lines=2").await, ["out 18", "out 19"]);
    assert_eq!(chosen(&format!("request={second}")).await, ["out 1", "err 1", "out 2", "err 2"]);
    assert_eq!(chosen(&format!("request={}&stream=stderr&lines=1", first.get(..8).unwrap())).await, ["err 30"]);
    assert_eq!(chosen("since=1h&stream=stdout,stderr").await.len(), 64, "all of them, not a hundred");
    assert_eq!(chosen("until=1h").await, [""; 0]);
    let times = lines(&host, "/deployments/logger/logs?lines=1").await;
    let time = times[0]["time"].as_str().unwrap();
    assert!(chosen("since=2020-01-01T00:00:00Z").await.len() >= 64, "{time}");
    for (filter, place) in [
        ("since=noon", "since \\\"noon\\\": expected"),
        ("grep=(", "grep \\\"(\\\": "),
        ("stream=stdin", "stream \\\"stdin\\\": expected"),
        ("level=loud", "level \\\"loud\\\": expected"),
        ("request=xyz", "request \\\"xyz\\\": expected"),
        ("follow=true&until=1m", "until: "),
        ("lines=many", "lines"),
        ("color=red", "color"),
    ] {
        let reply = host.admin(Method::GET, &format!("/deployments/logger/logs?{filter}"), "").await;
        assert_eq!(reply.status, 400, "{filter}: {}", reply.text());
        assert!(reply.text().contains(place), "{filter}: {}", reply.text());
    }

    deploy_logger(&host, "other").await;
    write(&host, "other", 1).await;
    let micro = host.program();
    let printed = micro.succeed(&["logs", "-n", "3", "--stream", "stdout"]).await;
    let all: Vec<&str> = printed.lines().collect();
    assert!(all.len() == 3 && all[2].starts_with("other  ") && all[2].ends_with("out 1"), "{printed}");
    assert!(all[0].starts_with("logger  "), "{printed}");
    let printed = micro.succeed(&["logs", "logger", "--grep", "^err 3", "--output", "json"]).await;
    let found: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.iter().map(message).collect::<Vec<_>>(), ["err 3", "err 30"]);
    let refused = micro.run(&["logs", "logger", "--grep", "("]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("grep \"(\": "), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_across_deploys_and_removal() {
    let host = Host::start().await;
    deploy_logger(&host, "logger").await;
    let mut one = host.admin_lines("/deployments/logger/logs?follow=true&grep=^out|removed").await;
    let mut all = host.admin_lines("/logs?follow=true&stream=stdout").await;
    let mut expected = Vec::new();
    let mut count = 0;
    for step in ["as it is", "a revision", "removed", "as it is"] {
        if step == "removed" {
            host.admin(Method::DELETE, "/deployments/logger", "").await.ok();
            expected.push("removed".to_string());
            // Whoever looks for it now finds why.
            assert_eq!(messages(&host, "/deployments/logger/logs?lines=1").await, ["removed"]);
        }
        if step != "as it is" {
            let manifest = format!("name = \"logger\"\nversion = {step:?}\n");
            host.deploy_as("logger", with_manifest(&guest("logger"), &manifest)).await.ok();
        }
        count += 1;
        write(&host, "logger", count).await;
        expected.extend((1..=count).map(|number| format!("out {number}")));
    }
    for wanted in &expected {
        let line: Value = serde_json::from_str(&one.next().await.expect("the log goes on")).unwrap();
        assert_eq!(message(&line), *wanted, "{expected:?}");
        if wanted != "removed" {
            let line: Value = serde_json::from_str(&all.next().await.expect("the log goes on")).unwrap();
            assert_eq!(message(&line), *wanted, "{expected:?}");
        }
    }
    // What is deployed while all are followed is followed too.
    deploy_logger(&host, "late").await;
    write(&host, "late", 1).await;
    all.find(|line| line.contains("\"late\"")).await;
    host.admin(Method::GET, "/deployments/nobody/logs", "").await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_logger_disturbs_nobody() {
    let host = HostProcess::start().await;
    host.deploy("echo").await;
    host.deploy_limited("logger", "timeout = \"3s\"\nlog = \"128KiB\"").await;
    let sum = async || {
        let began = Instant::now();
        assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.result(), json!(3));
        began.elapsed()
    };
    sum().await;
    let before = host.resident();
    let client = Client::clone(&host);
    let endless = tokio::spawn(async move { client.call("logger", "Logger.Endless", json!({})).await });
    let mut slowest = Duration::ZERO;
    let mut most = 0;
    while !endless.is_finished() {
        slowest = slowest.max(sum().await);
        most = most.max(host.resident());
    }
    endless.await.unwrap().refused(504);
    assert!(slowest < Duration::from_secs(2), "a neighbour waited for {slowest:?}");
    assert!(most < before + 64 * 1024 * 1024, "{before} bytes before, {most} bytes meanwhile");
    // Some of it was let through, and the log says what came of the rest.
    let told = until("the log says what was dropped", async || {
        lines(&host, "/deployments/logger/logs?stream=host&grep=lines.dropped").await.pop()
    })
    .await;
    assert!(message(&told).contains("it may write 128.0 KiB a second (limits.log)"), "{told}");
    let kept = lines(&host, "/deployments/logger/logs?stream=stdout&since=1h").await;
    let bytes: usize = kept.iter().map(|line| message(line).len()).sum();
    assert!((100_000..1024 * 1024).contains(&bytes), "{bytes}");
    // It may speak again.
    let request = write(&host, "logger", 1).await;
    until("its lines are taken again", async || {
        write(&host, "logger", 1).await;
        let last = messages(&host, "/deployments/logger/logs?lines=1&grep=^err.1").await;
        (last == ["err 1"]).then_some(())
    })
    .await;
    drop(request);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_lines_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Whoever is root may write to any folder, and nobody to what is none.
    let place = folder.path().join("logs");
    std::fs::write(&place, "").unwrap();
    let host = HostProcess::start_in(folder).await;
    deploy_logger(&host, "logger").await;
    for _ in 0..20 {
        write(&host, "logger", 10).await;
        host.admin(Method::GET, "/deployments/logger/logs", "").await.refused(500);
    }
    std::fs::remove_file(&place).unwrap();
    let told = until("the log is written again", async || {
        write(&host, "logger", 1).await;
        let told = lines(&host, "/deployments/logger/logs?grep=did.not.take").await.pop();
        told.map(|line| message(&line))
    })
    .await;
    assert!(told.contains("400 lines dropped: the disk did not take them"), "{told}");
    assert_eq!(messages(&host, "/deployments/logger/logs?lines=1&stream=stdout").await, ["out 1"]);
    let (code, said) = host.ask_to_end().await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("log lines are dropped until").count(), 1, "{said}");
}
