//! Endpoints that are called by the clock. What depends on longer times is tested beside the code, on a clock of its own.

use micro_tests::{Host, Value, guest, json, until, with_manifest};
use reqwest::Method;

/// The guest under its own name, with these lines in its manifest.
async fn deploy(host: &Host, name: &str, manifest: &str) -> Value {
    let manifest = format!("name = {name:?}\n{manifest}");
    host.deploy_as(name, with_manifest(&guest(name), &manifest)).await.ok()
}

/// A schedule of every second.
fn every_second(endpoint: &str) -> String {
    format!("[[schedule]]\ncron = \"* * * * * *\"\nendpoint = {endpoint:?}\n")
}

/// The first schedule, when its last run is known.
async fn first_run(host: &Host, name: &str) -> Value {
    until("the schedule has run", async || {
        let status = host.deployment(name).await;
        status["schedules"][0]["last"].is_object().then(|| status["schedules"][0].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_calls_like_anybody_and_is_known_after_a_restart() {
    let mut host = Host::start().await;
    let deployed = deploy(&host, "tally", &every_second("Tally.Next")).await;
    let schedule = &deployed["schedules"][0];
    assert_eq!((&schedule["cron"], &schedule["timezone"]), (&json!("* * * * * *"), &json!("UTC")));
    assert!(schedule["next"].is_string() && schedule["last"].is_null(), "{schedule}");
    let schedule = first_run(&host, "tally").await;
    assert_eq!(schedule["last"]["outcome"], "ok", "{schedule}");
    assert!(schedule["last"]["took_ms"].is_u64() && schedule["missed"].is_u64(), "{schedule}");
    assert!(host.deployment("tally").await["stats"]["calls"].as_u64() > Some(0));

    host.restart().await;
    let after = host.deployment("tally").await["schedules"][0].clone();
    assert!(after["last"]["at"].as_str() >= schedule["last"]["at"].as_str(), "{after}");
    until("it runs on", async || (host.deployment("tally").await["stats"]["calls"].as_u64() > Some(0)).then_some(()))
        .await;

    // A revision without schedules has none.
    let again = deploy(&host, "tally", "").await;
    assert_eq!(again["schedules"], json!([]));
    let back = host.admin(Method::POST, "/deployments/tally/rollback", "").await.ok();
    assert_eq!(back["schedules"][0]["endpoint"], "Tally.Next", "{back}");
    host.admin(Method::DELETE, "/deployments/tally", "").await.ok();
    assert_eq!(deploy(&host, "tally", "").await["schedules"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_is_an_event_and_stays_in_the_status() {
    let host = Host::start().await;
    let mut events = host.admin_lines("/events").await;
    let request = "request = '''{\"text\": \"no work\"}'''\n";
    deploy(&host, "echo", &format!("{}{request}", every_second("Echo.Complain"))).await;
    let event = events.find(|line| line.starts_with("data:") && line.contains("schedule-failed")).await;
    assert!(event.contains("Echo.Complain at * * * * * *: 500 no work"), "{event}");
    let last = first_run(&host, "echo").await["last"].clone();
    assert_eq!((&last["outcome"], &last["code"]), (&json!("failed"), &json!(500)), "{last}");
    assert!(last["detail"].as_str().is_some_and(|detail| detail.contains("no work")), "{last}");
    let lines = host.logs("echo").await;
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().starts_with("schedule * * * * * *: 500")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_while_the_instances_are_given_up() {
    let host = Host::start().await;
    let service = "kind = \"service\"\n[service]\nrestart = \"never\"\n";
    deploy(&host, "unsteady", &format!("{service}{}", every_second("Unsteady.Count"))).await;
    host.call("unsteady", "Unsteady.Crash", json!({})).await.refused(500);
    let missed = async |least: u64| {
        until(&format!("{least} runs are missed"), async || {
            let status = host.deployment("unsteady").await;
            let schedule = &status["schedules"][0];
            let is_seen = schedule["next"].is_null() && schedule["missed"].as_u64() >= Some(least);
            is_seen.then(|| status["stats"]["calls"].clone())
        })
        .await
    };
    let calls = missed(1).await;
    assert_eq!(missed(3).await, calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_schedule_is_refused_with_its_place() {
    let host = Host::start().await;
    for (lines, reason) in [
        (
            "cron = '61 * * * *'\nendpoint = 'Echo.Nothing'",
            "schedule 1, \"61 * * * *\" of Echo.Nothing: \"61\" is no minute: number out of bounds",
        ),
        ("cron = '0 0 30 2 *'\nendpoint = 'Echo.Nothing'", "this time never comes: there is no such day"),
        ("cron = '* * * *'\nendpoint = 'Echo.Nothing'", "expected five fields (minute, hour, "),
        (
            "cron = '* * * * *'\nendpoint = 'Echo.Nothing'\ntimezone = 'Europe/Berln'",
            "there is no time zone \"Europe/Berln\"; did you mean Europe/Berlin?",
        ),
        (
            "cron = '* * * * *'\nendpoint = 'Echo.Nothin'",
            "there is no endpoint Echo.Nothin; did you mean Echo.Nothing?",
        ),
        (
            "cron = '* * * * *'\nendpoint = 'Echo.Sum'",
            "schedule 1, \"* * * * *\" of Echo.Sum: request: missing field a",
        ),
        (
            "cron = '* * * * *'\nendpoint = 'Echo.Sum'\nrequest = '{\"a\": 1, \"c\": 2}'",
            "of Echo.Sum: request: unknown field \"c\": expected a, b (line 1, column 12)",
        ),
        (
            "cron = '* * * * *'\nendpoint = 'Echo.Nothing'\nrequest = '[]'",
            "request: expected a JSON object in a string",
        ),
    ] {
        let component = with_manifest(&guest("echo"), &format!("[[schedule]]\n{lines}\n"));
        let detail = host.deploy_as("echo", component).await.refused(422);
        assert!(detail.contains(reason), "{lines}: {detail}");
    }
    let many = "[[schedule]]\ncron = '* * * * *'\nendpoint = 'Echo.Nothing'\n".repeat(101);
    let detail = host.deploy_as("echo", with_manifest(&guest("echo"), &many)).await.refused(422);
    assert!(detail.starts_with("the manifest has 101 schedules, and may have 100"), "{detail}");
    let streaming = "[[schedule]]\ncron = '* * * * *'\nendpoint = 'Ways.Talk'\n";
    let detail = host.deploy_as("streams", with_manifest(&guest("streams"), streaming)).await.refused(422);
    assert!(detail.contains("Ways.Talk streams, and nobody is there to take the messages"), "{detail}");
}
