//! Requests that are made to be misunderstood: by a proxy in front, by the host, or by whoever reads its folders.

use bytes::Bytes;
use micro::server::DoorLimits;
use micro_tests::{Connection, Host, Wire, guest, json};
use reqwest::Method;
use std::time::Duration;

/// What a smuggler hides behind his request. Should it be served, there is a second response.
const HIDDEN: &str = "GET /hello/hello?name=hidden HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

async fn host_with_hello() -> Host {
    // Connections end soon after their requests, which is how the tests know that no more responses come.
    let short = Duration::from_millis(500);
    let host = Host::start_with_doors(DoorLimits { head: short, idle: short, ..DoorLimits::default() }).await;
    host.deploy_as("hello", guest("hello-world-export")).await.ok();
    host
}

/// Sends bytes to a door and gives the status of each response, in order, and all the text.
async fn statuses(url: &str, bytes: impl AsRef<[u8]>) -> (Vec<u16>, String) {
    let mut wire = Wire::open(url).await;
    wire.send(bytes).await;
    let text = wire.rest().await;
    let statuses = text.match_indices("HTTP/1.1 ").map(|(at, word)| {
        let status = text.get(at + word.len()..at + word.len() + 3).unwrap_or_default();
        status.parse().unwrap_or_else(|_| panic!("no status in {text}"))
    });
    (statuses.collect(), text.clone())
}

async fn assert_unhurt(host: &Host) {
    // On a connection of its own: one from before may end, as all do here, at the moment in which it is used again.
    let close = [("connection", "close")];
    let reply = host.send(Method::GET, "/hello/hello?name=neighbour", &close, Bytes::new()).await;
    assert_eq!(reply.result(), json!("Hello neighbour"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_length_is_in_doubt_hides_no_other() {
    let host = host_with_hello().await;
    let body = r#"{"name": "Jo"}"#;
    let post = |headers: &str, body: &str| {
        format!(
            "POST /hello/hello HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
        )
    };
    let chunked = format!("e\r\n{body}\r\n0\r\n\r\n");
    let cases: [(&str, u16, String); 17] = [
        // By RFC 9112, section 6.3, the chunks count, and nothing after them.
        ("both lengths", 200, post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &chunked)),
        ("both lengths, turned", 200, post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &chunked)),
        ("two lengths", 400, post("Content-Length: 14\r\nContent-Length: 3\r\n", body)),
        ("a list of lengths", 400, post("Content-Length: 14, 3\r\n", body)),
        ("a length with a sign", 400, post("Content-Length: +14\r\n", body)),
        ("a length below zero", 400, post("Content-Length: -1\r\n", body)),
        ("a length beyond all bounds", 400, post("Content-Length: 99999999999999999999999\r\n", body)),
        ("a space before the colon", 400, post("Content-Length : 14\r\n", body)),
        ("a folded line", 400, post("X-A: b\r\n Content-Length: 14\r\n", body)),
        ("chunks that are not the last coding", 400, post("Transfer-Encoding: chunked, identity\r\n", &chunked)),
        ("a coding nobody knows", 400, post("Transfer-Encoding: xchunked\r\n", &chunked)),
        ("two codings in two lines", 400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", &chunked)),
        ("a coding behind a tab", 400, post("Transfer-Encoding: \u{b}chunked\r\n", &chunked)),
        ("a carriage return alone", 400, post("X-A: b\rContent-Length: 14\r\n", body)),
        ("a chunk beyond all bounds", 400, post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nx\r\n")),
        ("a chunk without a size", 400, post("Transfer-Encoding: chunked\r\n", "\r\nx\r\n0\r\n\r\n")),
        ("a chunk longer than it says", 400, post("Transfer-Encoding: chunked\r\n", "1\r\n{}\r\n0\r\n\r\n")),
    ];
    for (what, expected, request) in &cases {
        for door in [&host.api, &host.sidecar] {
            let (statuses, text) = statuses(door, format!("{request}{HIDDEN}")).await;
            assert_eq!(statuses, [*expected], "{what}: {text}");
            assert!(!text.contains("hidden"), "{what}: {text}");
        }
        assert_unhurt(&host).await;
    }
    // An old version has no chunks.
    let old = post("Transfer-Encoding: chunked\r\n", &chunked).replace("HTTP/1.1", "HTTP/1.0");
    let (_, text) = statuses(&host.api, old + HIDDEN).await;
    assert!(text.starts_with("HTTP/1.0 400") || text.starts_with("HTTP/1.1 400"), "{text}");
    assert!(!text.contains("hidden"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_hosts_are_read_in_one_way_only() {
    let host = host_with_hello().await;
    for (what, expected, request) in [
        // RFC 9112, section 2.2, lets a line end so; what matters is that it is one request.
        ("lines without carriage returns", 200, "GET /hello/hello?name=Jo HTTP/1.1\nHost: 127.0.0.1\n\n".to_string()),
        ("nothing in a header's name", 400, "GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nX-\0A: b\r\n\r\n".to_string()),
        ("nothing in a header's value", 400, "GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: \0\r\n\r\n".to_string()),
        ("nothing in the path", 400, "GET /hel\0lo HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_string()),
        ("a space in the path", 400, "GET /hel lo HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_string()),
        ("no host", 400, "GET /hello/hello?name=Jo HTTP/1.1\r\n\r\n".to_string()),
        (
            "two hosts",
            400,
            "GET /hello/hello?name=Jo HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: localhost\r\n\r\n".to_string(),
        ),
        (
            "another host in the target",
            400,
            "GET http://localhost/hello/hello?name=Jo HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_string(),
        ),
        (
            "the same host in the target",
            200,
            "GET http://LOCALHOST:1/hello/hello?name=Jo HTTP/1.1\r\nHost: localhost:1\r\n\r\n".to_string(),
        ),
        ("no HTTP at all", 400, "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_string()),
        ("a version that is none", 400, "GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n".to_string()),
    ] {
        let (statuses, text) = statuses(&host.api, &request).await;
        assert_eq!(statuses, [expected], "{what}: {text}");
        assert_unhurt(&host).await;
    }
    // HTTP/1.0 knows no hosts.
    let mut wire = Wire::open(&host.api).await;
    wire.send("GET /hello/hello?name=Jo HTTP/1.0\r\n\r\n").await;
    assert!(wire.rest().await.ends_with("{\"result\":\"Hello Jo\"}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded() {
    let host = host_with_hello().await;
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n");
    let many = |count: usize| (0..count).map(|at| format!("X-{at}: y\r\n")).collect::<String>();
    let value = |size: usize| format!("X-A: {}\r\n", "y".repeat(size));
    for (what, expected, request) in [
        ("many headers", 200, get("/hello/hello?name=Jo", &many(90))),
        ("too many headers", 431, get("/hello/hello?name=Jo", &many(101))),
        ("a large header", 200, get("/hello/hello?name=Jo", &value(32 * 1024))),
        ("too large a header", 431, get("/hello/hello?name=Jo", &value(80 * 1024))),
        ("too long a path", 414, get(&"/x".repeat(5000), "")),
        ("too long a query", 414, get(&format!("/hello/hello?name={}", "x".repeat(9000)), "")),
        ("a path longer than any head", 431, get(&"/x".repeat(50_000), "")),
        ("too many parts", 404, get(&"/x".repeat(100), "")),
    ] {
        let (statuses, text) = statuses(&host.api, request).await;
        assert_eq!(statuses, [expected], "{what}: {text:.300}");
        assert_unhurt(&host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_http2_are_bounded_as_those_of_http1() {
    let host = host_with_hello().await;
    let mut connection = Connection::http2(&host.api).await;
    for (count, expected) in [(90, 200), (101, 431)] {
        let names: Vec<String> = (0..count).map(|at| format!("x-{at}")).collect();
        let headers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "y")).collect();
        let (_, reply) = connection.begin("GET", "/hello/hello?name=Jo", &headers).await;
        assert_eq!(reply.status(), expected);
    }
    let (_, reply) = connection.begin("GET", "/hello/hello?name=Jo", &[("host", "elsewhere")]).await;
    assert_eq!(reply.status(), 400, "another host than the target's");
    // Whoever says that he speaks HTTP/2, and then nothing, is not waited for.
    let mut wire = Wire::open(&host.api).await;
    wire.send("PRI ").await;
    wire.rest_bytes().await;
    assert_unhurt(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out_of_what_it_names() {
    let host = host_with_hello().await;
    let secret = std::fs::read_to_string(host.data_dir.join("token")).unwrap();
    for path in [
        "/../../etc/passwd",
        "/../token",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2ftoken",
        "/hello/..%2f..%2f..%2ftoken",
        "/hello/%2e%2e/%2e%2e/token",
        "/hello%2f..%2ftoken",
        "/..%5c..%5ctoken",
        "/hello/hello/%00",
        "/v1/status",
        "/./v1/../v1/deployments",
        "//v1//deployments",
    ] {
        for door in [&host.api, &host.sidecar] {
            let (statuses, text) = statuses(door, format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).await;
            assert!(matches!(statuses[..], [400 | 401 | 404]), "{path}: {text}");
            assert!(!text.contains(&secret) && !text.contains("root:"), "{path}: {text}");
        }
    }
    // Names of deployments and stores are names, however they are written, and never files.
    let token = format!("Authorization: Bearer {secret}\r\n");
    for name in ["..%2f..%2fx", "%2e%2e", "..", ".", "a%2fb", "a%5cb", "%00", "a%0ab", "%252e%252e%252f"] {
        for (method, path) in [
            ("PUT", format!("/v1/deployments/{name}")),
            ("GET", format!("/v1/deployments/{name}/wit")),
            ("GET", format!("/v1/deployments/{name}/logs")),
            ("DELETE", format!("/v1/deployments/{name}")),
        ] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}Content-Length: 1\r\n\r\nx");
            let (statuses, text) = statuses(&host.sidecar, request).await;
            assert!(matches!(statuses[..], [400 | 404 | 405 | 422]), "{method} {path}: {text}");
        }
    }
    // A store's name is a word in a table: some of these are names, and none is a place.
    let folders = || std::fs::read_dir(&host.data_dir).unwrap().count();
    let before = folders();
    for name in ["..%2f..%2fx", "%2e%2e", "a%2fb"] {
        let head = format!("PUT /v1/stores/{name}/values/key HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}");
        let (statuses, text) = statuses(&host.sidecar, format!("{head}Content-Length: 1\r\n\r\nx")).await;
        assert!(matches!(statuses[..], [200 | 400]), "{name}: {text}");
    }
    assert_eq!(folders(), before);
    assert_unhurt(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_dots_and_slashes_is_a_key() {
    let host = Host::start().await;
    for key in ["..%2f..%2ftoken", "a%2f..%2fb", "%2Fetc%2Fpasswd"] {
        let path = format!("/stores/mine/values/{key}");
        host.admin(Method::PUT, &path, "value").await.ok();
        let reply = host.admin(Method::GET, &path, "").await;
        assert_eq!((reply.status, reply.text()), (200, "value"), "{key}");
    }
    assert_ne!(std::fs::read_to_string(host.data_dir.join("token")).unwrap(), "value");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_none_is_refused_and_the_connection_goes_on() {
    let host = host_with_hello().await;
    for (what, headers) in [
        ("no key", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        ("no connection", "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"),
        ("an old version", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 1\r\n"),
        (
            "no such stream",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
    ] {
        let mut wire = Wire::open(&host.api).await;
        wire.send(format!("GET /hello/hello?name=Jo HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n")).await;
        let text = wire.until("\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 4"), "{what}: {text}");
        assert_unhurt(&host).await;
    }
    // What is not known is not taken up: the request is one like any other.
    let request = format!(
        "GET /hello/hello?name=Jo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: h2c, cow\r\n\r\n{HIDDEN}"
    );
    let (statuses, text) = statuses(&host.api, request).await;
    assert_eq!(statuses, [200, 200], "{text}");
    let (statuses, text) = statuses_of_connect(&host).await;
    assert_eq!(statuses, [405], "{text}");
}

async fn statuses_of_connect(host: &Host) -> (Vec<u16>, String) {
    statuses(&host.api, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n").await
}
