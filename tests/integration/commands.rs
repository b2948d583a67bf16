//! Programs as functions: components that run, and core modules for WASIp1.

use bytes::Bytes;
use futures::StreamExt as _;
use micro_tests::{Host, guest, json, until, with_manifest};
use reqwest::Method;

const TEXT: &str = "text/plain";

/// A program for WASIp1 that calls these in turn, with 64 KiB of memory: what they read and write lies behind 1024.
fn module(body: &str) -> Bytes {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            ;; Go imports some of them twice.
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write_too (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            ;; Writes so many bytes from 1024 on.
            (func $write (param $length i32)
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (local.get $length))
                (drop (call $fd_write_too (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            ;; Reads what there is to 1024, and gives the length.
            (func $read (result i32)
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const 4096))
                (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (i32.load (i32.const 8)))
            (func (export "_start") (local $length i32) {body}))"#
    );
    wat::parse_str(text).unwrap().into()
}

/// Gives back what it reads.
fn cat() -> Bytes {
    module("(loop $more (call $write (local.tee $length (call $read))) (br_if $more (local.get $length)))")
}

/// Writes its arguments, each with a zero byte behind it.
fn arguments() -> Bytes {
    module(
        "(drop (call $args_sizes (i32.const 0) (i32.const 4)))
         (local.set $length (i32.load (i32.const 4)))
         (drop (call $args_get (i32.const 16) (i32.const 1024)))
         (call $write (local.get $length))",
    )
}

/// A host with the guest `command`.
async fn host() -> Host {
    let host = Host::start().await;
    host.deploy("command").await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_module_for_wasip1_reads_its_input_and_writes_the_reply() {
    let host = Host::start().await;
    let deployed = host.deploy_as("cat", cat()).await.ok();
    assert_eq!(deployed["endpoints"], json!(["Cat.Run"]));
    assert_eq!(
        (&deployed["command"], &deployed["imports"]),
        (&json!("wasi_snapshot_preview1"), &json!(["wasi_snapshot_preview1"]))
    );
    assert_eq!(deployed["digest"], json!(micro_engine::inspect::digest(&cat())));
    assert_eq!(deployed["warnings"], json!([]));
    let reply = host.post("/cat", TEXT, "grüße").await;
    assert_eq!((reply.status, reply.text()), (200, "grüße"));
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    assert!(!reply.header("x-request-id").is_empty());
    let big = Bytes::from(vec![0xff; 5_000_000]);
    assert_eq!(host.post("/cat/any/path/there/is", "image/png", big.clone()).await.body, big);
    assert_eq!(host.get("/cat").await.body, "");
    let exits = module("(call $exit (i32.const 7))");
    host.deploy_as("exits", exits).await.ok();
    assert!(host.get("/exits").await.refused(500).contains("the command ended with exit code 7 "));
    // The same module is the same revision.
    assert_eq!(host.deploy_as("cat", cat()).await.ok()["changed"], json!(false));
    assert_eq!(host.deployment("cat").await["stats"]["calls"], json!(3));

    host.deploy_as("arguments", with_manifest(&arguments(), "args = [\"-x\"]")).await.ok();
    assert_eq!(host.get("/arguments?a&b=c&d%20e").await.text(), "arguments\0-x\0a\0b=c\0d e\0");
    assert!(host.get("/arguments?a%00b").await.refused(400).contains("zero byte"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_cannot_run_here_is_refused_with_the_reason() {
    let host = Host::start().await;
    for (text, reason) in [
        (r#"(module (import "env" "foo" (func)) (func (export "_start")))"#, "\n  env.foo\n"),
        (r#"(module (func (export "add")))"#, "it exports no function _start"),
        (r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#, "takes or gives something"),
        (
            r#"(module (import "wasi_snapshot_preview1" "not_there" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
            "not_there",
        ),
        (
            r#"(module (memory (export "memory") 1) (data (i32.const 70000) "x") (func (export "_start")))"#,
            "does not start",
        ),
        (r#"(module (memory (export "memory") 1) (func (export "_start") i32.add))"#, "does not compile"),
    ] {
        let detail = host.deploy_as("bad", wat::parse_str(text).unwrap()).await.refused(422);
        assert!(detail.contains(reason), "{text}: {detail}");
    }
    let service = host.deploy_as("bad", with_manifest(&cat(), "kind = \"service\"")).await.refused(422);
    assert!(service.contains("which runs once and ends"), "{service}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_arguments_environment_and_headers_of_its_request() {
    let host = host().await;
    let manifest = "name = \"command\"\n[env]\nOWN = \"yes\"\nREQUEST_METHOD = \"theirs\"\n";
    host.deploy_as("command", with_manifest(&guest("command"), manifest)).await.ok();
    assert_eq!(host.get("/command?args&--x=1").await.text(), "command\nargs\n--x=1\n");
    let headers = [("x-some-thing", "here"), ("content-type", "text/x-own")];
    let reply = host.send(Method::PUT, "/command/a%20b?env&q", &headers, "12345".into()).await;
    for line in [
        "OWN=yes",
        "HTTP_X_SOME_THING=here",
        "CONTENT_TYPE=text/x-own",
        "CONTENT_LENGTH=5",
        "PATH_INFO=/a b",
        "SCRIPT_NAME=/command",
        "QUERY_STRING=env&q",
        "GATEWAY_INTERFACE=CGI/1.1",
        "REMOTE_ADDR=127.0.0.1",
        "HTTP_X_FORWARDED_FOR=127.0.0.1",
    ] {
        assert!(reply.text().lines().any(|found| found == line), "{line}: {}", reply.text());
    }
    let on_sidecar = host.sidecar("/command?env").await;
    for line in ["REMOTE_ADDR=127.0.0.1", "HTTP_X_FORWARDED_FOR=127.0.0.1", "HTTP_X_FORWARDED_PROTO=http"] {
        assert!(on_sidecar.text().lines().any(|found| found == line), "{line}: {}", on_sidecar.text());
    }
    let methods: Vec<&str> = reply.text().lines().filter(|line| line.starts_with("REQUEST_METHOD=")).collect();
    assert_eq!(methods[0], "REQUEST_METHOD=theirs", "what the manifest says comes first");
    for method in [Method::HEAD, Method::OPTIONS, Method::DELETE] {
        assert_eq!(host.send(method.clone(), "/command?x", &[], Bytes::new()).await.status, 200, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_knows_cgi_says_status_and_headers() {
    let host = host().await;
    let reply = host.get("/command/deep/er?cgi").await;
    assert_eq!((reply.status, reply.text()), (418, "<p>/deep/er"));
    assert_eq!((reply.header("content-type"), reply.header("x-own")), ("text/html", "yes"));
    let plain = host.post("/command?cat", TEXT, "name: John\nage: 7\n\nmore").await;
    assert_eq!((plain.status, plain.text()), (200, "name: John\nage: 7\n\nmore"));
    let located = host.post("/command?cat", TEXT, "Status: 201\nLocation: /x\n\n").await;
    assert_eq!((located.status, located.header("location"), located.text()), (201, "/x", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_is_an_error_with_its_code() {
    let host = host().await;
    let reply = host.get("/command?fail").await;
    let id = reply.header("x-request-id").to_string();
    let detail = reply.refused(500);
    assert!(detail.contains("the command ended with exit code ") && detail.contains(&id), "{detail}");
    let log = host.logs("command").await;
    let reason = log.iter().find(|record| record["message"] == "some reason").unwrap();
    assert_eq!((&reason["stream"], &reason["request"]), (&json!("stderr"), &json!(id)));
    assert!(host.get("/command?trap").await.refused(500).contains("it panicked or aborted"));
    assert_eq!(host.get("/command?exit").await.status, 200, "an exit with code 0 is no failure");
    let stats = &host.deployment("command").await["stats"];
    assert_eq!((&stats["calls"], &stats["errors"], &stats["in_flight"]), (&json!(3), &json!(2), &json!(0)));
    // What has begun can only be broken off.
    let url = format!("{}/command?fail-late", host.api);
    let begun = reqwest::get(url).await.unwrap();
    assert_eq!(begun.status(), 200);
    assert!(begun.bytes().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn input_and_output_pass_while_the_program_runs() {
    let host = host().await;
    let (send, lines) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(futures::stream::unfold(lines, async |mut lines| {
        Some((lines.recv().await?, lines))
    }));
    send.send(Ok("one\n")).await.unwrap();
    let request = reqwest::Client::new().post(format!("{}/command?lines", host.api)).body(body);
    let mut reply = request.send().await.unwrap().bytes_stream();
    assert_eq!(reply.next().await.unwrap().unwrap(), "got one\n");
    send.send(Ok("two\n")).await.unwrap();
    assert_eq!(reply.next().await.unwrap().unwrap(), "got two\n");
    drop(send);
    assert!(reply.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_bound_by_its_time_and_its_readers() {
    let host = Host::start().await;
    host.deploy_limited("command", "timeout = \"300ms\"\nconcurrency = 2").await;
    assert!(host.get("/command?spin").await.refused(504).contains("no reply within 300ms"));
    // One that never stops writing is broken off, whoever reads it.
    let flooded = reqwest::get(format!("{}/command?flood", host.api)).await.unwrap();
    assert_eq!(flooded.status(), 200);
    assert!(flooded.bytes().await.is_err());
    let unread = reqwest::get(format!("{}/command?flood", host.api)).await.unwrap();
    let is_idle = async || (host.deployment("command").await["stats"]["in_flight"] == json!(0)).then_some(());
    until("the program that nobody reads is ended", is_idle).await;
    drop(unread);
    assert_eq!(host.get("/command?world").await.text(), "Hello world");
    // A whole reply has a limit of its own.
    let call = host.call("command", "Command.Run", json!({"args": ["flood"]})).await;
    assert!([500, 504].contains(&call.status), "{}", call.status);
    // A caller who leaves ends the program.
    host.deploy_limited("command", "timeout = \"1h\"").await;
    let left = reqwest::Client::new().get(format!("{}/command?flood", host.api)).send().await.unwrap();
    assert_eq!(host.deployment("command").await["stats"]["in_flight"], json!(1));
    drop(left);
    until("the program whose caller left is ended", is_idle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_an_endpoint_as_any_other() {
    let host = host().await;
    let request = json!({"args": ["cat"], "stdin": "aGVsbG8="});
    let called = host
        .post(
            "/rpc",
            "application/json",
            json!({"service": "command", "endpoint": "Command.Run", "request": request}).to_string(),
        )
        .await;
    assert_eq!(called.result(), json!("aGVsbG8="));
    // By its own path the rules of messages hold.
    let reply = host.post("/command/command/run?args=cat", TEXT, "plain").await;
    assert_eq!(reply.text(), "plain");
    let accept = [("accept", "application/json"), ("content-type", TEXT)];
    let reply = host.send(Method::POST, "/command/command/run?args=count", &accept, "12345".into()).await;
    assert_eq!(reply.result(), json!("NQo="));
    assert!(host.get("/command/command/run?arg=x").await.refused(400).contains("did you mean args?"));
    let document = host.get("/openapi.json").await.ok();
    let operation = &document["paths"]["/command/command/run"]["post"];
    assert_eq!(operation["description"].as_str().map(str::is_empty), Some(false), "{operation}");
    // Guests call it by its name, and a route leads to it.
    let manifest = "[[route]]\nmethod = \"POST\"\npath = \"/command/shout\"\nendpoint = \"Command.Run\"\n";
    host.deploy_as("command", with_manifest(&guest("command"), manifest)).await.ok();
    assert_eq!(host.post("/command/shout?args=cat", TEXT, "by route").await.text(), "by route");
    assert_eq!(host.get("/command/shout?by-path").await.text(), "Hello by-path");
}
