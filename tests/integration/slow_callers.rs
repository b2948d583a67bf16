//! Callers who take their time, and callers who come in crowds. Whatever they do, the others are served.

use micro::server::DoorLimits;
use micro_tests::{Frame, HTTP2, Host, HostProcess, Wire, guest, json, until};
use reqwest::Method;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(300);
const HELLO: &str = "GET /hello/hello?name=Jo HTTP/1.1\r\nHost: a\r\n\r\n";

/// A host whose patience is short where the test wants to see its end.
async fn start(doors: DoorLimits) -> Host {
    let host = Host::start_with_doors(doors).await;
    host.deploy_as("hello", guest("hello-world-export")).await.ok();
    host
}

/// The whole response to one request on a connection of its own.
async fn hello(host: &Host) -> String {
    let mut wire = Wire::open(&host.api).await;
    wire.send(HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    wire.rest().await
}

async fn assert_unhurt(host: &Host) {
    let text = hello(host).await;
    assert!(text.ends_with("{\"result\":\"Hello Jo\"}"), "{text}");
}

async fn doors(host: &Host) -> micro_tests::Value {
    host.admin(Method::GET, "/status", "").await.ok()["doors"].clone()
}

/// Waits until nobody is there but the request for the status itself.
async fn assert_settles(host: &Host) {
    assert_unhurt(host).await;
    until("all are gone", async || {
        let doors = doors(host).await;
        (doors["gateway"]["connections"] == 0 && doors["requests"] == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_ends_the_connection() {
    let host = start(DoorLimits { head: SHORT, ..DoorLimits::default() }).await;
    let mut silent = Wire::open(&host.api).await;
    let mut slow = Wire::open(&host.api).await;
    slow.send("GET /hello/hello HTTP/1.1\r\nHo").await;
    // One that has been served, and begins a second request.
    let mut second = Wire::open(&host.api).await;
    second.send(HELLO).await;
    second.until("Hello Jo\"}").await;
    second.send("G").await;
    assert_unhurt(&host).await;
    for wire in [&mut silent, &mut slow, &mut second] {
        assert_eq!(wire.rest().await, "");
    }
    assert_settles(&host).await;
    assert!(doors(&host).await["slow"].as_u64().unwrap() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_idle_ends() {
    let host = start(DoorLimits { idle: SHORT, ..DoorLimits::default() }).await;
    let mut wire = Wire::open(&host.api).await;
    wire.send(HELLO).await;
    wire.until("Hello Jo\"}").await;
    assert_eq!(wire.rest().await, "");
    let mut second = Wire::open(&host.api).await;
    second.send([HTTP2, &Frame::settings(&[]).bytes(), &Frame::get(1, "/hello/hello?name=Jo").bytes()].concat()).await;
    let mut kinds = Vec::new();
    while let Some(frame) = second.frame().await {
        kinds.push(frame.kind);
    }
    assert!(kinds.contains(&Frame::GO_AWAY), "HTTP/2 is told: {kinds:?}");
    assert_eq!(doors(&host).await["slow"], 0, "that is no fault");
    assert_unhurt(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_go_on_is_408() {
    let host = start(DoorLimits { body: SHORT, ..DoorLimits::default() }).await;
    for (door, head) in [
        (
            &host.api,
            "POST /hello/hello HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"na",
        ),
        (
            &host.api,
            "POST /hello/hello HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n{",
        ),
        (
            &host.sidecar,
            "POST /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n",
        ),
    ] {
        let mut wire = Wire::open(door).await;
        wire.send(head).await;
        assert_unhurt(&host).await;
        let text = wire.rest().await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        assert!(text.contains("the body could not be read: it came too slowly"), "{text}");
    }
    assert_settles(&host).await;
    assert_eq!(doors(&host).await["slow"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_messages_may_take_as_long_as_it_will() {
    let host = start(DoorLimits { body: Duration::from_millis(20), ..DoorLimits::default() }).await;
    host.deploy("streams").await;
    let mut wire = Wire::open(&host.api).await;
    wire.send("POST /streams/ways/talk HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    wire.until("\"hello\"\n").await;
    // Meanwhile a body of another kind came to its end.
    let mut other = Wire::open(&host.api).await;
    other.send("POST /hello/hello HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n").await;
    assert!(other.rest().await.starts_with("HTTP/1.1 408 "));
    wire.send("4\r\n\"a\"\n\r\n").await;
    wire.until("\"a\"\n").await;
    wire.send("0\r\n\r\n").await;
    drop(wire);
    assert_settles(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_gathered_has_no_leisure_whatever_it_says_of_itself() {
    let host = start(DoorLimits { body: SHORT, ..DoorLimits::default() }).await;
    let mut wires = Vec::new();
    for (door, request, content_type) in [
        (&host.api, "POST /hello/hello", "application/grpc"),
        (&host.api, "PUT /hello/hello", "application/x-ndjson"),
        (&host.api, "POST /rpc", "application/grpc+proto"),
        (&host.sidecar, "POST /rpc", "application/grpc"),
    ] {
        let mut wire = Wire::open(door).await;
        let headers = format!("Host: 127.0.0.1\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked");
        wire.send(format!("{request} HTTP/1.1\r\n{headers}\r\n\r\n1\r\n{{\r\n")).await;
        wires.push(wire);
    }
    for mut wire in wires {
        let text = wire.rest().await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    }
    assert_settles(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_gathered_have_only_so_much_room_together() {
    let host = start(DoorLimits { max_body_bytes: 1 << 20, ..DoorLimits::default() }).await;
    host.deploy("big").await;
    let head = "POST /big/big/measure HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n";
    let mut held = Wire::open(&host.api).await;
    held.send(format!("{head}Content-Length: 1000001\r\n\r\n{}", "x".repeat(1_000_000))).await;
    until("it has come", async || (doors(&host).await["body_bytes"] == 1_000_000).then_some(())).await;
    let other = async || host.post("/big/big/measure", "application/octet-stream", vec![0; 500_000]).await;
    let refused = other().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{}", refused.text());
    assert!(refused.text().contains("as many bytes of requests as it may, 1.0 MiB"), "{}", refused.text());
    // Small ones find their way, and the one that has the room ends well.
    assert_unhurt(&host).await;
    let small = host.post("/big/big/measure", "application/octet-stream", vec![0; 60_000]).await;
    assert_eq!(small.result(), json!(60_000));
    held.send("x").await;
    held.until("{\"result\":1000001}").await;
    until("the room is free", async || (doors(&host).await["body_bytes"] == 0).then_some(())).await;
    assert_eq!(other().await.result(), json!(500_000));
    assert_unhurt(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_for_a_service_that_nobody_knows_is_not_waited_for() {
    let host = start(DoorLimits::default()).await;
    for length in ["Content-Length: 30000000", "Transfer-Encoding: chunked"] {
        let mut wire = Wire::open(&host.api).await;
        wire.send(format!("POST /nobody/a/b HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n1\r\n")).await;
        let text = wire.until("service nobody: not found").await;
        assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
    }
    assert_settles(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_not_read_ends_the_connection() {
    let host = start(DoorLimits { reader: SHORT, ..DoorLimits::default() }).await;
    host.deploy("big").await;
    host.deploy("streams").await;
    let mut whole = Wire::open_narrow(&host.api).await;
    whole.send("GET /big/big/text?size=8000000 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut streamed = Wire::open_narrow(&host.api).await;
    streamed.send("GET /streams/ways/tick?from=1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_unhurt(&host).await;
    until("both were given up", async || (doors(&host).await["slow"] == 2).then_some(())).await;
    assert_settles(&host).await;
    drop((whole, streamed));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_behind_a_reply_that_is_not_read_do_not_begin() {
    let host = start(DoorLimits::default()).await;
    host.deploy("big").await;
    let mut wire = Wire::open_narrow(&host.api).await;
    let request = "GET /big/big/text?size=8000000 HTTP/1.1\r\nHost: a\r\n\r\n";
    wire.send(request.repeat(100)).await;
    let calls = async || host.deployment("big").await["stats"]["calls"].as_u64().unwrap();
    until("the first was served", async || (calls().await >= 1).then_some(())).await;
    assert_unhurt(&host).await;
    for _ in 0..20 {
        assert!(calls().await <= 3, "replies are made that nobody reads");
        assert_unhurt(&host).await;
    }
    drop(wire);
    assert_settles(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_nothing_to_say_is_no_slow_reader() {
    let host = start(DoorLimits { reader: SHORT, head: SHORT, idle: SHORT, ..DoorLimits::default() }).await;
    let mut events = host.admin_lines("/events").await;
    let mut wire = Wire::open(&host.api).await;
    wire.send("GET /hello/hello HTTP/1.1\r\n").await;
    assert_eq!(wire.rest().await, "", "the time has passed");
    host.deploy_as("again", guest("hello-world-export")).await.ok();
    events.find(|line| line.contains("again")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_told_so_and_the_door_opens_again() {
    let host = start(DoorLimits { max_connections: 8, ..DoorLimits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut wire = Wire::open(&host.api).await;
        wire.send(HELLO).await;
        wire.until("Hello Jo\"}").await;
        held.push(wire);
    }
    for _ in 0..100 {
        let mut wire = Wire::open(&host.api).await;
        wire.send(HELLO).await;
        let text = wire.rest().await;
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nretry-after: 1\r\n") && text.contains("\"code\":503"), "{text}");
    }
    // All at the same time, more than are waited for.
    let mut many = Vec::new();
    for _ in 0..400 {
        let mut wire = Wire::open(&host.api).await;
        wire.send(HELLO).await;
        many.push(wire);
    }
    for mut wire in many {
        let text = wire.rest().await;
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
    }
    let full = doors(&host).await;
    assert_eq!((&full["gateway"]["connections"], &full["gateway"]["refused"]), (&json!(8), &json!(500)));
    held[0].send(HELLO).await;
    held[0].until("Hello Jo\"}").await;
    drop(held);
    until("the door is open again", async || (doors(&host).await["gateway"]["connections"] == 0).then_some(())).await;
    assert_settles(&host).await;
}

/// So many callers at the same time, who stay until the last of them has its answer.
async fn burst(host: &HostProcess, callers: usize) {
    let mut wires = Vec::new();
    for _ in 0..callers {
        let mut wire = Wire::open(&host.api).await;
        wire.send(HELLO).await;
        wires.push(wire);
    }
    for mut wire in wires {
        wire.until("Hello Jo\"}").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_burst_of_callers_took_is_given_back() {
    let host = HostProcess::start().await;
    host.deploy_as("hello", guest("hello-world-export")).await.ok();
    burst(&host, 64).await;
    let before = host.resident();
    burst(&host, 2_000).await;
    until("no more than a twentieth stays", async || (host.resident() <= before / 20 * 21).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_files_waits_and_goes_on() {
    let host = HostProcess::start().await;
    let pid = Pid::from_raw(host.id().cast_signed());
    // No more than are open: each new connection is one too many.
    let files = getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(1), ..files }).unwrap();
    let mut wire = Wire::open(&host.api).await;
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let mut other = Wire::open(&host.api).await;
    other.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    host.says("the gateway takes no connections for now").await;
    prlimit(pid, Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    for wire in [&mut wire, &mut other] {
        let text = wire.rest().await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_many_is_shed_and_the_host_can_still_be_governed() {
    let host = start(DoorLimits { max_requests: 4, ..DoorLimits::default() }).await;
    host.deploy_limited("slow", "timeout = \"1h\"").await;
    let mut held = Vec::new();
    let refused = until("there is no more room", async || {
        let mut wire = Wire::open(&host.api).await;
        wire.send("GET /slow/slow/sleep?ms=3000000 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        held.push(wire);
        let text = hello(&host).await;
        text.starts_with("HTTP/1.1 503 ").then_some(text)
    });
    let refused = refused.await;
    assert!(
        refused.contains("\r\nretry-after: 1\r\n") && refused.contains("as many requests as it may, 4"),
        "{refused}"
    );
    let shed = doors(&host).await["shed"].as_u64().unwrap();
    for _ in 0..20 {
        assert!(hello(&host).await.starts_with("HTTP/1.1 503 "));
    }
    assert_eq!(doors(&host).await["shed"], shed + 20);
    host.deploy_as("again", guest("hello-world-export")).await.ok();
    drop(held);
    until("there is room", async || hello(&host).await.starts_with("HTTP/1.1 200 ").then_some(())).await;
    assert_settles(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_and_reset_end_their_connection() {
    let host = start(DoorLimits::default()).await;
    let mut wire = Wire::open(&host.api).await;
    let mut flood = [HTTP2, &Frame::settings(&[]).bytes()].concat();
    for stream in (1..2000).step_by(2) {
        flood.extend(Frame::get(stream, "/hello/hello?name=Jo").bytes());
        flood.extend(Frame::reset(stream).bytes());
    }
    wire.send(flood).await;
    let mut last = None;
    while let Some(frame) = wire.frame().await {
        last = Some(frame);
    }
    let last = last.unwrap();
    assert_eq!((last.kind, last.error()), (Frame::GO_AWAY, 0xb), "ENHANCE_YOUR_CALM");
    assert_settles(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_only_so_many_streams() {
    let host = start(DoorLimits::default()).await;
    host.deploy_limited("slow", "timeout = \"1h\"\nconcurrency = 4\nqueue = 1000").await;
    let mut wire = Wire::open(&host.api).await;
    let mut flood = [HTTP2, &Frame::settings(&[]).bytes()].concat();
    for stream in (1..500).step_by(2) {
        flood.extend(Frame::get(stream, "/slow/slow/sleep?ms=3000000").bytes());
    }
    wire.send(flood).await;
    let mut refused = 0;
    while refused < 50 {
        let frame = wire.frame().await.expect("the connection stays");
        if frame.kind == Frame::RESET {
            assert_eq!(frame.error(), 0x7, "REFUSED_STREAM");
            refused += 1;
        }
    }
    // Those that were let in are counted when their turn comes, which may be after the others were refused.
    until("200 and the one that asks are inside", async || (doors(&host).await["requests"] == 201).then_some(())).await;
    assert_unhurt(&host).await;
    drop(wire);
    assert_settles(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_is_reset_and_its_connection_goes_on() {
    let host = start(DoorLimits { reader: SHORT, ..DoorLimits::default() }).await;
    host.deploy("big").await;
    let mut wire = Wire::open(&host.api).await;
    // The windows of streams are closed: SETTINGS_INITIAL_WINDOW_SIZE is 0.
    let settings = Frame::settings(&[0, 4, 0, 0, 0, 0]).bytes();
    wire.send([HTTP2, &settings, &Frame::get(1, "/big/big/text?size=1000000").bytes()].concat()).await;
    loop {
        let frame = wire.frame().await.expect("the connection stays");
        if frame.kind == Frame::RESET {
            assert_eq!(frame.stream, 1);
            break;
        }
    }
    wire.send(Frame::get(3, "/hello").bytes()).await;
    loop {
        let frame = wire.frame().await.expect("the connection stays");
        if (frame.kind, frame.stream) == (Frame::HEADERS, 3) {
            break;
        }
    }
    assert_eq!(doors(&host).await["slow"], 1);
    drop(wire);
    assert_settles(&host).await;
}
