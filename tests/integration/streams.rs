//! Streams in every direction, over HTTP and over WebSockets.

use futures::{SinkExt as _, StreamExt as _};
use micro_tests::{Connection, DEADLINE, Host, Lines, Wire, guest, json, until, with_manifest};
use reqwest::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error as Refusal, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

async fn lines(host: &Host, path: &str, accept: &str) -> Lines {
    host.lines(path, accept).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stream_is_a_line_or_an_event_per_message() {
    let host = Host::start().await;
    host.deploy_as("feed", guest_feed()).await.ok();
    let reply = host.get("/feed/feed/count?to=3").await;
    assert_eq!((reply.text(), reply.header("content-type")), ("1\n2\n3\n", "application/x-ndjson"));
    let reply = host.send(Method::GET, "/feed/count?to=1", &[("accept", "text/event-stream")], "".into()).await;
    assert_eq!(reply.text(), "data: 1\n\nevent: end\ndata: {}\n\n");
    let reply = host.post("/feed/count", "application/json", r#"{"to": 0}"#).await;
    assert_eq!((reply.status, reply.text()), (200, ""));
    host.post("/feed/count", "application/json", r#"{"to": -1}"#).await.refused(400);
}

fn guest_feed() -> bytes::Bytes {
    micro_tests::function("feed")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_before_the_stream_is_a_status_and_one_inside_is_the_last_line() {
    let host = Host::start().await;
    host.deploy("streams").await;
    assert_eq!(host.get("/streams/ways/tick?from=666").await.refused(500), "not from there");
    let reply = host.get("/streams/ways/tick?from=2999999999").await;
    let lines: Vec<&str> = reply.text().lines().collect();
    assert_eq!((reply.status, lines[0]), (200, "2999999999"));
    assert!(lines[1].starts_with("{\"error\":") && lines[1].contains("the clock is worn out"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_bytes_that_fails_is_not_taken_for_whole() {
    let host = Host::start().await;
    host.deploy("streams").await;
    for mut connection in [Connection::http1(&host.api).await, Connection::http2(&host.api).await] {
        let accept = [("accept", "application/octet-stream")];
        let (_, mut reply) = connection.begin("GET", "/streams/ways/tick?from=2999999999", &accept).await;
        assert_eq!((reply.status(), reply.next().await.unwrap().unwrap()), (200, "2999999999".into()));
        let rest = reply.rest().await;
        assert!(rest.is_err(), "{rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stream_takes_a_line_per_message_and_answers_once() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let reply = host.post("/streams/ways/add?start=10", "application/x-ndjson", "1\n2\n\n3").await;
    assert_eq!(reply.text(), "{\"result\":16}\n");
    let reply = host.post("/streams/ways/add?start=0", "application/x-ndjson", "1\n13\n").await;
    assert!(reply.text().contains("thirteen is not added"), "{}", reply.text());
    let reply = host.post("/streams/ways/add?start=0", "application/x-ndjson", "1\n\"two\"\n").await;
    assert!(reply.text().contains("expected integer (u32), got string"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_both_ways_answers_each_message() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let reply = host.post("/streams/ways/talk", "application/x-ndjson", "\"a\"\n\"b\"\n").await;
    assert_eq!(reply.text(), "\"hello\"\n\"a\"\n\"b\"\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_the_stream_and_the_guest_is_told() {
    let host = Host::start().await;
    let service = with_manifest(&guest("streams"), "name = \"streams\"\nkind = \"service\"\n");
    host.deploy_as("streams", service).await.ok();
    let mut reading = lines(&host, "/streams/ways/tick?from=0", "application/x-ndjson").await;
    for expected in 0..100 {
        assert_eq!(reading.next().await.as_deref(), Some(expected.to_string().as_str()));
    }
    // Other calls are answered meanwhile, although the stream has no end.
    assert_eq!(host.call("streams", "Ways.Dropped", json!({})).await.result(), json!(0));
    drop(reading);
    until("the guest's clock is dropped", async || {
        (host.call("streams", "Ways.Dropped", json!({})).await.result() == json!(1)).then_some(())
    })
    .await;
    assert_eq!(host.deployment("streams").await["stats"]["in_flight"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_the_guest_back() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let mut reading = lines(&host, "/streams/ways/tick?from=0", "application/x-ndjson").await;
    assert_eq!(reading.next().await.as_deref(), Some("0"));
    let mut log = host.admin_lines("/deployments/streams/logs?follow=true").await;
    // Nobody reads now: what the guest makes is bounded by the buffers on the way.
    drop(reading);
    log.find(|line| line.contains("the clock was dropped")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_the_component_model_look_the_same_to_callers() {
    let host = Host::start().await;
    assert_eq!(host.deploy("native-streams").await["engine"], json!("concurrent"));
    let reply = host.post("/native-streams/native/upper", "application/x-ndjson", "\"a\"\n\"bc\"\n").await;
    assert_eq!(reply.text(), "\"A\"\n\"BC\"\n");
    let accept = [("accept", "application/octet-stream")];
    let reply = host.send(Method::GET, "/native-streams/native/bytes?count=70000", &accept, "".into()).await;
    assert!(reply.body.len() == 70_000 && reply.body[69_999] == (69_999_u32 % 256) as u8);
    assert_eq!(host.get("/native-streams/native/ticks?from=666").await.refused(500), "not from there");
    let body = "\"aGVsbG8=\"\n\"IHRoZXJl\"\n";
    let reply = host.post("/native-streams/native/count?start=100", "application/x-ndjson", body).await;
    assert_eq!(reply.text(), "{\"result\":111}\n");
    let mut reading = lines(&host, "/native-streams/native/ticks?from=5", "application/x-ndjson").await;
    assert_eq!(reading.next().await.as_deref(), Some("\"5\""));
    drop(reading);
    until("nothing runs any more", async || {
        (host.deployment("native-streams").await["stats"]["in_flight"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_carries_a_frame_per_message() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let mut socket = web_socket(&host, "/streams/ways/talk").await.expect("the socket opens");
    assert_eq!(frame(&mut socket).await, Message::text("\"hello\""));
    for word in ["\"a\"", "\"b\""] {
        socket.send(Message::text(word)).await.unwrap();
        assert_eq!(frame(&mut socket).await, Message::text(word));
    }
    // No more from here: the guest is told, and the call ends.
    socket.send(Message::text("")).await.unwrap();
    let close = frame(&mut socket).await;
    assert!(matches!(&close, Message::Close(Some(close)) if u16::from(close.code) == 1000), "{close:?}");

    let mut socket = web_socket(&host, "/streams/ways/add?start=1").await.expect("the socket opens");
    socket.send(Message::text("13")).await.unwrap();
    let error = frame(&mut socket).await;
    assert!(error.to_text().is_ok_and(|text| text.contains("thirteen is not added")), "{error:?}");
    let close = frame(&mut socket).await;
    assert!(matches!(&close, Message::Close(Some(close)) if u16::from(close.code) == 4000), "{close:?}");

    // What is wrong before the call is said by HTTP.
    for (path, status) in [("/streams/ways/nothing", 404), ("/streams/ways/dropped", 400), ("/streams/ways/add", 400)] {
        match web_socket(&host, path).await {
            Err(Refusal::Http(response)) => assert_eq!(response.status(), status, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_that_closes_ends_the_call() {
    let host = Host::start().await;
    let service = with_manifest(&guest("streams"), "name = \"streams\"\nkind = \"service\"\n");
    host.deploy_as("streams", service).await.ok();
    let mut socket = web_socket(&host, "/streams/ways/tick?from=7").await.expect("the socket opens");
    assert_eq!(frame(&mut socket).await, Message::text("7"));
    drop(socket);
    until("the guest's clock is dropped", async || {
        (host.call("streams", "Ways.Dropped", json!({})).await.result() == json!(1)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_counts_as_a_request_until_it_is_closed() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let requests = async || host.admin(Method::GET, "/status", "").await.ok()["doors"]["requests"].clone();
    let mut socket = web_socket(&host, "/streams/ways/talk").await.expect("the socket opens");
    assert_eq!(frame(&mut socket).await, Message::text("\"hello\""));
    assert_eq!(requests().await, json!(2), "and the one that asks");
    // Whoever closes gets an answer, and then the end.
    socket.send(Message::Close(None)).await.unwrap();
    let close = frame(&mut socket).await;
    assert!(matches!(close, Message::Close(_)), "{close:?}");
    let end = tokio::time::timeout(DEADLINE, socket.next()).await.expect("the end comes in time");
    assert!(end.is_none(), "{end:?}");
    until("its place is free", async || (requests().await == json!(1)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_goodbye_to_web_sockets_and_waits_for_them() {
    let mut host = Host::start().await;
    host.deploy("streams").await;
    let mut socket = web_socket(&host, "/streams/ways/talk").await.expect("the socket opens");
    assert_eq!(frame(&mut socket).await, Message::text("\"hello\""));
    let reading = tokio::spawn(async move {
        let close = frame(&mut socket).await;
        assert!(matches!(&close, Message::Close(Some(close)) if u16::from(close.code) == 1001), "{close:?}");
        let end = tokio::time::timeout(DEADLINE, socket.next()).await.expect("the end comes in time");
        assert!(end.is_none(), "{end:?}");
    });
    host.stop().await;
    reading.await.expect("it was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_too_large_is_refused_by_its_head() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let mut wire = Wire::open(&host.api).await;
    let headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    wire.send(format!("GET /streams/ways/talk HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n")).await;
    wire.until("\r\n\r\n").await;
    // Text, masked, of 2 MiB, of which nothing comes.
    wire.send([&[0x81, 0xff][..], &(2_u64 << 20).to_be_bytes(), &[0; 4]].concat()).await;
    wire.rest_bytes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_nobody_takes_any_more_are_not_read() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let mut connection = Connection::http2(&host.api).await;
    let lines = [("content-type", "application/x-ndjson")];
    let (upload, response) = connection.send("POST", "/streams/ways/add?start=0", &lines);
    upload.data("13\n");
    let text = response.await.text().await;
    assert!(text.contains("thirteen is not added"), "{text}");
    until("the rest of the lines is refused", async || upload.is_closed().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_that_gets_more_than_it_sends_does_not_stand_still() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let socket = web_socket(&host, "/streams/ways/talk").await.expect("the socket opens");
    let (mut sends, mut gets) = socket.split();
    let sending = tokio::spawn(async move {
        for _ in 0..2000 {
            sends.send(Message::text("\"twice\"")).await.expect("the socket takes frames");
        }
        sends.send(Message::text("")).await.expect("the socket takes frames");
        sends
    });
    let mut words = 0;
    loop {
        let frame = tokio::time::timeout(DEADLINE, gets.next()).await.expect("a frame comes in time");
        match frame.expect("the socket is open").expect("the frame is whole") {
            Message::Text(_) => words += 1,
            Message::Close(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(words, 4001);
    drop(sending.await.expect("all was sent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_break_off_are_not_taken_for_complete() {
    let host = Host::start().await;
    host.deploy("streams").await;
    let mut log = host.admin_lines("/deployments/streams/logs?follow=true").await;
    let mut socket = web_socket(&host, "/streams/ways/add?start=1").await.expect("the socket opens");
    socket.send(Message::text("2")).await.unwrap();
    drop(socket);
    log.find(|line| line.contains("the sum was dropped")).await;

    let address = host.api.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = "POST /streams/ways/add?start=1 HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n\
                transfer-encoding: chunked\r\n\r\n2\r\n3\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    until("the call has begun", async || (host.deployment("streams").await["stats"]["in_flight"] == 1).then_some(()))
        .await;
    drop(connection);
    log.find(|line| line.contains("the sum was dropped")).await;

    let long = format!("4\n{}", "5".repeat(2 << 20));
    let reply = host.post("/streams/ways/add?start=1", "application/x-ndjson", long).await;
    assert!(reply.text().contains("a line is longer than"), "{}", reply.text());
    log.find(|line| line.contains("the sum was dropped")).await;
    let finished = host.logs("streams").await.iter().filter(|line| line.to_string().contains("finished")).count();
    assert_eq!(finished, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_stream_counts_as_one() {
    let host = Host::start().await;
    host.deploy("streams").await;
    host.get("/streams/ways/tick?from=2999999999").await;
    until("the error is counted", async || {
        let stats = host.deployment("streams").await["stats"].clone();
        (stats["calls"] == 1 && stats["errors"] == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_message_does_not_end_a_stream_of_bytes() {
    let host = Host::start().await;
    host.deploy("native-streams").await;
    let body = "\"aGVsbG8=\"\n\"\"\n\"IHRoZXJl\"\n";
    let reply = host.post("/native-streams/native/count?start=100", "application/x-ndjson", body).await;
    assert_eq!(reply.text(), "{\"result\":111}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_to_the_service_of_that_name_whatever_paths_say() {
    let host = Host::start_with_namespace("demo").await;
    host.deploy("streams").await;
    // To the paths of this host it stands before the other.
    host.deploy_as("demo.streams", with_manifest(&guest("flaky"), "name = \"demo.streams\"\n")).await.ok();
    let headers = [("content-type", "application/x-ndjson")];
    let path = "/rpc?service=streams&endpoint=Ways.Add&request=%7B%22start%22%3A5%7D";
    let reply = host.sidecar_send(Method::POST, path, &headers, "1\n2\n".into()).await;
    assert_eq!(reply.text(), "{\"result\":8}\n");
    let nameless = host.sidecar_send(Method::POST, "/rpc?request=%7B%7D", &headers, "1\n".into()).await;
    assert_eq!(nameless.refused(400), "invalid service");
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_stream_is_no_larger_than_a_reply_may_be() {
    let host = Host::start().await;
    for (name, path) in [("streams", "/streams/ways/talk"), ("native-streams", "/native-streams/native/upper")] {
        host.deploy_limited(name, "reply = \"10B\"").await;
        let messages = "\"short\"\n\"longer than that\"\n\"after\"\n";
        let reply = host.post(path, "application/x-ndjson", messages).await;
        let text = reply.text().to_lowercase();
        assert!(text.contains("\"short\"\n{\"error\":") && text.contains("larger than 10 b"), "{text}");
        assert!(!text.contains("longer") && !text.contains("after"), "{text}");
        assert_eq!(host.deployment(name).await["limits"]["reply"]["hits"], 1, "{name}");
    }
    // The one reply to many messages.
    host.deploy_limited("streams", "reply = \"10B\"").await;
    let reply = host.post("/streams/ways/add?start=10", "application/x-ndjson", "1\n").await;
    assert!(reply.text().starts_with("{\"error\":"), "{}", reply.text());
}

async fn web_socket(host: &Host, path: &str) -> Result<Socket, Refusal> {
    let url = format!("{}{path}", host.api.replace("http://", "ws://"));
    tokio_tungstenite::connect_async(url).await.map(|(socket, _)| socket)
}

async fn frame(socket: &mut Socket) -> Message {
    let frame = tokio::time::timeout(DEADLINE, socket.next()).await.expect("a frame comes in time");
    frame.expect("the socket is open").expect("the frame is whole")
}
