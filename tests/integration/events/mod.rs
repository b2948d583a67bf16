//! Messages: published by everybody, handled by functions, tried again, and kept where nobody could do with them.

mod crash;
mod doors;
mod faults;
mod lists;
mod many;
mod outbox;

use micro_tests::{Client, Host, Value, built_guest, guest, json, until, with_manifest};
use reqwest::Method;

/// Publishes a text by the sidecar.
async fn publish(host: &Client, topic: &str, text: &str) {
    publish_with(host, topic, text, &[]).await;
}

async fn publish_with(host: &Client, topic: &str, text: &str, headers: &[(&str, &str)]) {
    let path = format!("/broker?topic={topic}");
    let headers = [&[("content-type", "text/plain")], headers].concat();
    let reply = host.sidecar_send(Method::POST, &path, &headers, text.to_owned().into()).await;
    assert_eq!((reply.status, reply.text()), (200, ""), "publish {text} to {topic}");
}

/// The messages that the guest `worker` has worked on, when there are so many.
async fn done(host: &Client, count: usize) -> Vec<Value> {
    let all = until(&format!("{count} messages are done"), async || {
        let done = host.call("worker", "Worker.Done", json!({})).await.result();
        done.as_array().filter(|all| all.len() >= count).cloned()
    })
    .await;
    assert_eq!(all.len(), count, "{all:?}");
    all
}

/// The subscription of a deployment to a topic, when it is as it should be.
async fn subscription(host: &Client, name: &str, topic: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(&format!("the subscription of {name} to {topic} is so"), async || {
        let status = host.deployment(name).await;
        let all = status["subscriptions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["topic"] == topic && is_so(one))
    })
    .await
}

/// A host with the guest `worker`, whose subscriptions are there.
async fn with_worker() -> Host {
    let host = Host::start().await;
    host.deploy_as("worker", built_guest("worker")).await.ok();
    listens(&host, "work.x", "worker").await;
    listens(&host, "orders.placed", "desk").await;
    host
}

/// Waits until a group gets the messages of a topic.
async fn listens(host: &Client, topic: &str, group: &str) {
    until(&format!("{group} listens to {topic}"), async || {
        let reply = host.admin(Method::GET, &format!("/topics/{topic}"), "").await;
        let groups = (reply.status == 200).then(|| reply.json()["groups"].clone())?;
        groups.as_array()?.iter().any(|one| one["name"] == group && one["members"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_a_request_of_its_subscriber() {
    let host = with_worker().await;
    let path = "/broker?topic=orders.placed&key=k";
    let headers = [("content-type", "application/json")];
    let reply = host.sidecar_send(Method::POST, path, &headers, r#"{"id":7,"note":"soon"}"#.into()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // What it published in turn came back to it.
    let done = done(&host, 2).await;
    assert_eq!(done, [json!("7 Some((\"orders.placed\", Some(\"k\"), false))"), json!("order 7")]);
    let one = subscription(&host, "worker", "work.>", |one| one["handled"] == 1).await;
    assert_eq!(
        (&one["group"], &one["queue"], &one["endpoint"]),
        (&json!("worker"), &Value::Null, &json!("Worker.Work"))
    );
    let one = subscription(&host, "worker", "orders.placed", |one| one["handled"] == 1).await;
    assert_eq!((&one["group"], &one["queue"]), (&json!("desk"), &json!("desk")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_and_ends_among_the_dead_letters() {
    let host = with_worker().await;
    let mut events = host.admin_lines("/events").await;
    for text in ["fail 2 times", "poison", "refuse this", "trap here", "away", "plain"] {
        publish(&host, "work.a", text).await;
    }
    let mut done = done(&host, 2).await;
    done.sort_by_key(ToString::to_string);
    assert_eq!(done, ["fail 2 times", "plain"]);
    let dead = events.find(|line| line.starts_with("data:") && line.contains("dead-letter")).await;
    assert!(dead.contains("work.a"), "{dead}");
    let one = subscription(&host, "worker", "work.>", |one| one["dead"] == 4 && one["in_work"] == 0).await;
    // Two tries of the first, four each of what always fails, and one of what is hopeless.
    assert_eq!((&one["handled"], &one["failed"]), (&json!(2), &json!(2 + 4 + 4 + 4 + 1)), "{one}");
    let metrics = host.sidecar("/metrics").await;
    let line =
        "micro_messages_handled_total{deployment=\"worker\",topic=\"work.>\",group=\"worker\",outcome=\"dead\"} 4";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_key_keep_their_order_while_one_of_them_is_tried_again() {
    let host = with_worker().await;
    for round in 0..3 {
        for key in ["a", "b"] {
            let text = format!("fail {} {key}{round}", (round + 1) % 3);
            publish_with(&host, "work.x", &text, &[("micro-key", key)]).await;
        }
    }
    let done = done(&host, 6).await;
    for key in ["a", "b"] {
        let of_key: Vec<_> = done.iter().filter_map(Value::as_str).filter_map(|text| text.split(' ').nth(2)).collect();
        let of_key: Vec<_> = of_key.into_iter().filter(|name| name.starts_with(key)).collect();
        assert_eq!(of_key, [format!("{key}0"), format!("{key}1"), format!("{key}2")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_may_take_messages_as_they_are() {
    let host = Host::start().await;
    let manifest = |topic| format!("kind = \"service\"\n[[subscribe]]\ntopic = {topic:?}\nretries = 0\n");
    let (ours, theirs) = (guest("messages"), guest("broker-messages"));
    for (name, component, topic) in [("messages", ours, "mail.*"), ("broker-messages", theirs, "mail.>")] {
        let deployed = host.deploy_as(name, with_manifest(&component, &manifest(topic))).await.ok();
        assert_eq!(deployed["warnings"], json!([]), "{deployed}");
        listens(&host, "mail.in", name).await;
    }
    publish_with(&host, "mail.in", "hello", &[("x-colour", "blue")]).await;
    let seen = async |name: &str| {
        until(&format!("{name} has seen it"), async || {
            let seen = host.call(name, "Box.Seen", json!({})).await.result();
            seen.as_array().filter(|seen| !seen.is_empty()).cloned()
        })
        .await
    };
    assert_eq!(seen("messages").await, ["messages broker mail.in blue hello"]);
    assert_eq!(seen("broker-messages").await, ["mail.in hello"]);
    publish(&host, "mail.in.deep", "poison").await;
    subscription(&host, "broker-messages", "mail.>", |one| one["dead"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_may_take_and_publish_messages_as_wasi_has_it() {
    let host = Host::start().await;
    let manifest = "[allow]\npublish = [\"answers\"]\n[[subscribe]]\ntopic = \"mail.>\"\nretries = 0\n";
    let deployed = host.deploy_as("mail", with_manifest(&guest("wasi-messages"), manifest)).await.ok();
    let grants = deployed["grants"].as_array().unwrap();
    let granted = |import: &str| grants.iter().find(|grant| grant["import"].as_str() == Some(import)).unwrap();
    assert_eq!(granted("wasi:messaging/producer@0.2.0-draft")["what"], "answers");
    listens(&host, "mail.in", "mail").await;
    let mut answers = host.sidecar_lines("/broker?topic=answers", "text/event-stream").await;
    publish_with(&host, "mail.in", "hello", &[("x-colour", "blue")]).await;
    let line = answers.find(|line| line.starts_with("data:")).await;
    let answer: Value = serde_json::from_str(line.trim_start_matches("data:")).unwrap();
    assert_eq!(answer["Body"], "bWFpbC5pbiB0ZXh0L3BsYWluIGJsdWUgaGVsbG8=", "mail.in text/plain blue hello");
    let header = &answer["Header"];
    assert_eq!((&header["content-type"], &header["x-two"]), (&json!("text/plain"), &json!("3")), "{answer}");
    assert_eq!(header["x-one"], Value::Null);
    // What it may not publish is its error, and its message's end.
    publish_with(&host, "mail.in", "hello", &[("x-answer-to", "secrets")]).await;
    subscription(&host, "mail", "mail.>", |one| one["handled"] == 1 && one["dead"] == 1).await;
    let letters = host.admin(Method::GET, "/dead-letters/mail", "").await.ok();
    let error = letters["letters"][0]["error"].as_str().unwrap();
    assert!(error.contains("mail may not publish to secrets"), "{error}");
    // A call like any other brings bytes and no topic.
    assert_eq!(host.post("/mail/IncomingHandler/Handle", "application/octet-stream", "plain").await.status, 200);
    let line = answers.find(|line| line.starts_with("data:")).await;
    assert!(line.contains("ICAgcGxhaW4="), "{line}");
    // In an older form of the draft each message has a topic.
    let manifest = "[allow]\npublish = [\"answers\"]\n[[subscribe]]\ntopic = \"older\"\n";
    host.deploy_as("older", with_manifest(&guest("wasi-messages-older"), manifest)).await.ok();
    listens(&host, "older", "older").await;
    publish(&host, "older", "hello").await;
    let line = answers.find(|line| line.starts_with("data:")).await;
    assert!(line.contains("b2xkZXI="), "older: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_shares_and_deployments_without_one_each_get_all() {
    let host = Host::start().await;
    let manifest = |name: &str| {
        format!("name = {name:?}\n[[subscribe]]\ntopic = \"jobs\"\nqueue = \"hands\"\nendpoint = \"Worker.Work\"\n")
    };
    for name in ["left", "right"] {
        host.deploy_as(name, with_manifest(&guest("worker"), &manifest(name))).await.ok();
    }
    for name in ["every", "each"] {
        let manifest = manifest(name).replace("queue = \"hands\"\n", "");
        host.deploy_as(name, with_manifest(&guest("worker"), &manifest)).await.ok();
        listens(&host, "jobs", name).await;
    }
    listens(&host, "jobs", "hands").await;
    for number in 0..20 {
        publish(&host, "jobs", &format!("job {number}")).await;
    }
    for name in ["every", "each"] {
        subscription(&host, name, "jobs", |one| one["handled"] == 20).await;
    }
    until("the hands have all", async || {
        let mut all = 0;
        for name in ["left", "right"] {
            all += host.deployment(name).await["subscriptions"][0]["handled"].as_u64()?;
        }
        assert!(all <= 20, "each comes to one of them");
        (all == 20).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_publishes_what_its_manifest_allows() {
    let host = Host::start().await;
    let manifest = "[allow]\npublish = [\"news.*\"]\n";
    let deployed = host.deploy_as("worker", with_manifest(&guest("worker"), manifest)).await.ok();
    let grants = deployed["grants"].as_array().unwrap();
    let events = grants.iter().find(|grant| grant["import"].as_str().unwrap().contains("/events@")).unwrap();
    assert_eq!((&events["state"], &events["what"]), (&json!("granted"), &json!("news.*")));
    let mut lines = host.sidecar_lines("/broker?topic=news.>", "text/event-stream").await;
    host.call("worker", "Worker.Publish", json!({"topic": "news.today", "text": "sun"})).await.ok();
    let line = lines.find(|line| line.starts_with("data:")).await;
    assert!(line.contains("\"Topic\":\"news.today\"") && line.contains("\"Body\":\"c3Vu\""), "{line}");
    let denied = host.call("worker", "Worker.Publish", json!({"topic": "orders", "text": "x"})).await;
    assert!(denied.refused(403).contains("worker may not publish to orders"), "{}", denied.text());
    let wrong = host.call("worker", "Worker.Publish", json!({"topic": "news.", "text": "x"})).await;
    assert!(wrong.refused(400).contains("a word of it is empty"), "{}", wrong.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_messages_up_can_be_looked_at_and_taken_away() {
    let mut host = with_worker().await;
    publish(&host, "work.a", "poison").await;
    publish(&host, "work.a", "plain").await;
    subscription(&host, "worker", "work.>", |one| one["dead"] == 1 && one["handled"] == 1).await;
    let letters = host.admin(Method::GET, "/dead-letters/worker", "").await.ok();
    let letter = &letters["letters"][0];
    assert_eq!((&letter["topic"], &letter["tries"], &letter["body"]), (&json!("work.a"), &json!(4), &json!("poison")));
    assert_eq!(letter["error"], "500 it is poison");
    let retried = host.admin(Method::POST, "/dead-letters/worker/retry", "").await.ok();
    assert_eq!(retried, json!({"retried": 1}));
    subscription(&host, "worker", "work.>", |one| one["dead"] == 2).await;
    let dropped = host.admin(Method::DELETE, "/dead-letters/worker", "").await.ok();
    assert_eq!(dropped, json!({"dropped": 1}));

    let messages = host.admin(Method::GET, "/topics/work.a/messages", "").await.ok();
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(3), "the poison came twice: {messages}");
    let replay = json!({"group": "worker", "from": "offset:2"}).to_string();
    let answer = host.admin(Method::POST, "/topics/work.a/replay", replay).await.ok();
    assert_eq!(answer["pattern"], "work.>");
    assert_eq!(done(&host, 2).await, ["plain", "plain"]);

    // It is all there after a restart; and a group that nobody is in can be forgotten.
    host.deploy_as("worker", guest("worker")).await.ok();
    host.restart().await;
    let topic = host.admin(Method::GET, "/topics/work.a", "").await.ok();
    assert_eq!((&topic["messages"], &topic["groups"][0]["name"]), (&json!(3), &json!("worker")), "{topic}");
    let forgotten = host.admin(Method::DELETE, "/topics/work.a/groups/worker", "").await.ok();
    assert_eq!(forgotten, json!({"removed": true}));
    assert_eq!(host.admin(Method::GET, "/topics/work.a", "").await.ok()["groups"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_subscription_is_refused_with_its_place() {
    let host = Host::start().await;
    for (lines, reason) in [
        ("endpoint = \"Worker.Wrk\"", "subscribe \"a\": there is no endpoint Worker.Wrk; did you mean Worker.Work?"),
        ("", "it names no endpoint, and the component exports nothing that takes messages as they are"),
    ] {
        let manifest = format!("[[subscribe]]\ntopic = \"a\"\n{lines}\n");
        let refused = host.deploy_as("worker", with_manifest(&guest("worker"), &manifest)).await.refused(422);
        assert!(refused.contains(reason), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_revision_takes_over_what_it_subscribes_to() {
    let host = with_worker().await;
    publish(&host, "work.a", "before").await;
    done(&host, 1).await;
    let manifest = "[[subscribe]]\ntopic = \"other.*\"\nendpoint = \"Worker.Work\"\n";
    host.deploy_as("worker", with_manifest(&guest("worker"), manifest)).await.ok();
    listens(&host, "other.x", "worker").await;
    publish(&host, "other.x", "after").await;
    assert_eq!(done(&host, 2).await, ["before", "after"]);
    let status = host.deployment("worker").await;
    assert_eq!(status["subscriptions"].as_array().map(Vec::len), Some(1), "{status}");
    host.admin(Method::DELETE, "/deployments/worker", "").await.ok();
    // The groups of its earlier revision, too, but for the queue that others may share.
    for (topic, left) in [("other.x", 0), ("work.a", 0), ("orders.placed", 1)] {
        let gone = host.admin(Method::GET, &format!("/topics/{topic}"), "").await;
        assert_eq!(gone.json()["groups"].as_array().map_or(0, Vec::len), left, "{topic}: {}", gone.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_its_id_when_it_comes_again() {
    let host = with_worker().await;
    publish(&host, "work.a", "id").await;
    subscription(&host, "worker", "work.>", |one| one["dead"] == 1).await;
    let letters = host.admin(Method::GET, "/dead-letters/worker", "").await.ok();
    let id = letters["letters"][0]["error"].as_str().and_then(|error| error.strip_prefix("500 ")).unwrap().to_owned();
    assert_eq!(id.len(), 36, "{letters}");
    host.admin(Method::POST, "/dead-letters/worker/retry", "").await.ok();
    assert_eq!(done(&host, 1).await, [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_leaves_no_room_for_its_letter_is_told_without_its_body() {
    let host = with_worker().await;
    // There is just room for its content type, its key and its id, and for a header that looks like the host's own.
    let large = format!("poison {}", "x".repeat(1_024 * 1_024 - 122));
    publish_with(&host, "work.a", &large, &[("micro-key", "k"), ("micro-dead-body-bytes", "1")]).await;
    publish_with(&host, "work.a", "behind it", &[("micro-key", "k")]).await;
    assert_eq!(done(&host, 1).await, ["behind it"]);
    let letters = host.admin(Method::GET, "/dead-letters/worker", "").await.ok();
    let letter = &letters["letters"][0];
    assert_eq!((&letter["topic"], &letter["tries"], &letter["body"]), (&json!("work.a"), &json!(4), &json!("")));
    assert_eq!(letter["header"]["micro-dead-body-bytes"], large.len().to_string());
    let retried = host.admin(Method::POST, "/dead-letters/worker/retry", "").await.ok();
    assert_eq!(retried, json!({"retried": 0}), "there is nothing to try again with");
    assert_eq!(host.admin(Method::DELETE, "/dead-letters/worker", "").await.ok(), json!({"dropped": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_forgotten_begins_anew_though_a_message_waits_to_be_tried_again() {
    let host = Host::start().await;
    let manifest = "[[subscribe]]\ntopic = \"slow\"\nendpoint = \"Worker.Work\"\nbackoff = \"1m\"\n";
    host.deploy_as("worker", with_manifest(&guest("worker"), manifest)).await.ok();
    listens(&host, "slow", "worker").await;
    publish(&host, "slow", "poison").await;
    subscription(&host, "worker", "slow", |one| one["failed"] == 1).await;
    host.admin(Method::DELETE, "/topics/slow/groups/worker", "").await.ok();
    listens(&host, "slow", "worker").await;
    publish(&host, "slow", "plain").await;
    assert_eq!(done(&host, 1).await, ["plain"]);
}
