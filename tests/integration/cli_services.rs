//! The command line for what lives on: canaries, streams, stores, schedules, and typed imports.

use crate::cli::{file, text};
use micro_tests::{HostProcess, Value, function, guest, json, until, versioned, with_manifest};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_shown_promoted_and_taken_out() {
    let host = HostProcess::start().await;
    let micro = host.program();
    host.deploy_as("versioned", versioned("one")).await.ok();
    let none = micro.run(&["promote", "versioned"]).await;
    assert!(none.code == 1 && none.stderr.contains("has no canary to promote"), "{none:?}");

    let two = file(host.folder(), "versioned.wasm", &versioned("two"));
    let deployed = micro.succeed(&["deploy", text(&two), "--canary", "10%"]).await;
    assert!(deployed.contains("revision 2 gets 10% of the calls"), "{deployed}");
    let table = micro.succeed(&["ps"]).await;
    assert!(table.contains(" 10% ") && table.contains(" function "), "{table}");
    let status = micro.succeed(&["status", "versioned"]).await;
    assert!(status.contains("\ncanary     revision 2 gets 10% of the calls: 0 answered, "), "{status}");
    assert!(status.contains("\n2 10%     ") && status.contains("\n1 *       "), "{status}");
    let json = micro.succeed(&["status", "versioned", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["canary"]["percent"], &json["canary"]["revision"]), (&json!(10.0), &json!(2)));

    let promoted = micro.succeed(&["promote", "versioned"]).await;
    assert!(promoted.starts_with("versioned is ready at revision 2\n"), "{promoted}");
    micro.succeed(&["deploy", text(&file(host.folder(), "versioned.wasm", &versioned("3"))), "--canary", "5"]).await;
    let back = micro.succeed(&["rollback", "versioned"]).await;
    assert!(back.starts_with("versioned is ready at revision 2; canary revision 3 is taken out\n"), "{back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_shown_with_its_replicas_and_schedules() {
    let host = HostProcess::start().await;
    let micro = host.program();
    let manifest = "name = 'unsteady'\nkind = 'service'\n[service]\nreplicas = 2\n[[schedule]]\ncron = '0 3 * * *'\n\
                    endpoint = 'Unsteady.Count'\ntimezone = 'Europe/Berlin'\n";
    host.deploy_as("unsteady", with_manifest(&guest("unsteady"), manifest)).await.ok();
    let table = micro.succeed(&["ps"]).await;
    assert!(table.contains("  service  ") && table.contains("  2/2  "), "{table}");
    let status = micro.succeed(&["status", "unsteady"]).await;
    assert!(status.contains("\nreplicas   2 of 2 ready, 0 restarts\n"), "{status}");
    let schedule = "\n0 3 * * *  Unsteady.Count  Europe/Berlin  in ";
    assert!(status.contains("\nSCHEDULE   ENDPOINT        ZONE") && status.contains(schedule), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_printed_as_they_come() {
    let host = HostProcess::start().await;
    let micro = host.program();
    host.deploy("streams").await;
    let mut ticks = micro.spawn(&["stream", "streams", "Ways.Tick", r#"{"from": 41}"#]);
    let mut lines = BufReader::new(ticks.stdout.take().unwrap()).lines();
    for expected in ["41", "42", "43"] {
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(expected));
    }
    // As ctrl-C does. The guest's end of the stream is dropped.
    ticks.kill().await.unwrap();
    until("the guest is told", async || {
        host.logs("streams").await.iter().any(|line| line["message"] == "the clock was dropped").then_some(())
    })
    .await;

    let refused = micro.run(&["stream", "streams", "Ways.Tick", r#"{"from": 666}"#]).await;
    assert_eq!(refused.code, 1);
    let error = refused.stdout.strip_prefix("error streaming streams.Ways.Tick: ").expect("who says so");
    let error: Value = serde_json::from_str(error).expect("the error JSON");
    assert!(error["detail"].as_str().unwrap().contains("not from there"), "{error}");
    let worn_out = micro.run(&["stream", "streams", "Ways.Tick", r#"{"from": 2999999999}"#]).await;
    assert_eq!(worn_out.code, 1, "{worn_out:?}");
    let (first, last) = worn_out.stdout.split_once('\n').unwrap();
    assert_eq!(first, "2999999999");
    assert!(last.starts_with("error streaming ") && last.contains("the clock is worn out"), "{last}");
    let nobody = micro.run(&["stream", "nobody", "Ways.Tick"]).await;
    assert!(nobody.code == 1 && nobody.stdout.contains("service nobody: not found"), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_sent_from_a_file_or_as_they_are_typed() {
    let host = HostProcess::start().await;
    let micro = host.program();
    host.deploy("streams").await;
    let numbers = file(host.folder(), "numbers.ndjson", b"1\n2\n\n30");
    let sum = micro.succeed(&["stream", "streams", "Ways.Add", r#"{"start": 100}"#, "--send", text(&numbers)]).await;
    assert_eq!(sum, "{\"result\":133}\n");
    let thirteen = micro.run_with_input(&["stream", "streams", "Ways.Add", r#"{"start": 1}"#, "--send", "-"], "13\n");
    let thirteen = thirteen.await;
    assert!(thirteen.code == 1 && thirteen.stdout.contains("thirteen is not added"), "{thirteen:?}");

    let mut talk = micro.spawn(&["stream", "streams", "Ways.Talk", "--send", "-"]);
    let mut said = talk.stdin.take().unwrap();
    let mut heard = BufReader::new(talk.stdout.take().unwrap()).lines();
    for (word, answer) in [("\"a\"\n", "\"hello\""), ("\"b\"\n", "\"a\""), ("\"c\"\n", "\"b\"")] {
        said.write_all(word.as_bytes()).await.unwrap();
        said.flush().await.unwrap();
        assert_eq!(heard.next_line().await.unwrap().as_deref(), Some(answer));
    }
    drop(said);
    assert_eq!(heard.next_line().await.unwrap().as_deref(), Some("\"c\""));
    assert_eq!(heard.next_line().await.unwrap(), None);
    assert!(talk.wait().await.unwrap().success());

    for (arguments, reason) in [
        (&["stream", "streams", "Talk", "--send", "-"][..], "endpoint Talk: not found; expected Ways.Add"),
        (&["stream", "streams", "Ways.Talk", "[]", "--send", "-"], "expected object, got array"),
        (&["stream", "streams", "Ways.Talk", "--send", "/no/such/file"], "read the messages from /no/such/file"),
    ] {
        let outcome = micro.run(arguments).await;
        assert!(outcome.code != 0, "{outcome:?}");
        assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains(reason), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_are_looked_into_and_changed() {
    let host = HostProcess::start().await;
    let micro = host.program();
    let nothing = micro.run(&["store", "list"]).await;
    assert!(nothing.code == 0 && nothing.stderr.contains("nothing is kept"), "{nothing:?}");
    assert_eq!(micro.succeed(&["store", "put", "shop", "colour", "blue"]).await, "shop has colour at version 1\n");
    let logo = file(host.folder(), "logo", &[0, 159, 255]);
    let from_file = format!("@{}", text(&logo));
    micro.succeed(&["store", "put", "shop", "images/logo 1?", &from_file, "--ttl", "1h"]).await;
    let typed = micro.run_with_input(&["store", "put", "shop", "ünicode/..", "-"], "typed\n").await;
    assert_eq!(typed.code, 0, "{typed:?}");

    assert_eq!(micro.succeed(&["store", "get", "shop", "colour"]).await, "blue");
    let json = micro.succeed(&["--output", "json", "store", "get", "shop", "images/logo 1?"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, json!({"store": "shop", "key": "images/logo 1?", "version": 2, "base64": "AJ//"}));
    assert_eq!(micro.succeed(&["store", "get", "shop", "ünicode/.."]).await, "typed\n");
    assert_eq!(micro.succeed(&["store", "keys", "shop"]).await, "colour\nimages/logo 1?\nünicode/..\n");
    assert_eq!(micro.succeed(&["store", "keys", "shop", "--prefix", "im", "--limit", "5"]).await, "images/logo 1?\n");
    let page = micro.succeed(&["--output", "json", "store", "keys", "shop", "--limit", "1"]).await;
    assert_eq!(page, "{\"keys\":[\"colour\"],\"next\":\"colour\"}\n");
    let list = micro.succeed(&["store", "list"]).await;
    assert!(list.starts_with("STORE  ENTRIES  SIZE\nshop   3        "), "{list}");

    let conflict = micro.run(&["store", "put", "shop", "colour", "red", "--if_version", "0"]).await;
    assert!(conflict.code == 1 && conflict.stderr.contains("the value is at version 1"), "{conflict:?}");
    micro.succeed(&["store", "put", "shop", "colour", "red", "--if-version", "1"]).await;
    assert_eq!(micro.succeed(&["store", "get", "shop", "colour"]).await, "red");
    assert_eq!(micro.succeed(&["store", "delete", "shop", "colour"]).await, "colour is removed from shop\n");
    assert_eq!(micro.succeed(&["store", "delete", "shop", "colour"]).await, "shop has no colour\n");
    for (arguments, reason) in [
        (&["store", "get", "shop", "colour"][..], "store shop has no value at \"colour\""),
        (&["store", "get", "shop", ".."], "cannot stand in the path of a request"),
        (&["store", "put", "a shop", "a", "b"], "store \"a shop\" cannot be named so"),
    ] {
        let outcome = micro.run(arguments).await;
        assert!(outcome.code == 1 && outcome.stderr.contains(reason), "{outcome:?}");
    }
    let soon = micro.run(&["store", "put", "shop", "a", "b", "--ttl", "soon"]).await;
    assert!(soon.code == 2 && soon.stderr.contains("expected a time like 90s or 1h"), "{soon:?}");
    let stranger = host.sidecar("/v1/stores").await;
    assert_eq!(stranger.status, 401, "stores need the token");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wit_of_a_deployment_can_be_imported_from() {
    let host = HostProcess::start().await;
    let micro = host.program();
    host.deploy_as("greeter", function("greeter")).await.ok();
    let wit = micro.succeed(&["wit", "greeter"]).await;
    assert!(wit.starts_with("package demo:greeter@0.1.0;\n\ninterface say {\n"), "{wit}");
    assert!(wit.contains("  /// Greets somebody by name.\n  hello: func(request: request) -> response;"), "{wit}");
    assert!(!wit.contains("wasi:") && !wit.contains("world"), "{wit}");
    let json: Value = serde_json::from_str(&micro.succeed(&["--output", "json", "wit", "greeter"]).await).unwrap();
    assert_eq!(json["wit"], wit);
    let nobody = micro.run(&["wit", "nobody"]).await;
    assert!(nobody.code == 1 && nobody.stderr.contains("deployment nobody: not found"), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_an_event_on_a_line_of_its_own() {
    let host = HostProcess::start().await;
    let mut events = host.program().spawn(&["events"]);
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let line = until("an event is printed", async || {
        host.deploy_as("rubbish", "rubbish").await.refused(422);
        let next = tokio::time::timeout(std::time::Duration::from_millis(500), lines.next_line());
        next.await.ok().and_then(Result::ok).flatten()
    })
    .await;
    assert!(line.contains("  refused             rubbish  "), "{line}");
}
