//! Components that take HTTP requests as they are: what they see, what their clients see, and where they are reached.

use bytes::Bytes;
use micro_tests::{Connection, Host, HostProcess, guest, json, until, with_manifest};
use reqwest::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const BOTH: [&str; 2] = ["web", "web3"];

/// The guest `name` with these lines at the head of its manifest, under a name of its own.
async fn deploy_with(host: &Host, service: &str, name: &str, manifest: &str) {
    host.deploy_as(service, with_manifest(&guest(name), manifest)).await.ok();
}

#[tokio::test]
async fn a_handler_sees_the_request_without_the_name_that_led_to_it() {
    let host = Host::start().await;
    for (name, web) in [("web", "wasi:http 0.2"), ("web3", "wasi:http 0.3")] {
        let status = host.deploy(name).await;
        assert_eq!((&status["web"], &status["warnings"]), (&json!(web), &json!([])));
        let headers =
            [("x-mine", "1"), ("connection", "x-private"), ("x-private", "1"), ("x-micro-web-base-path", "/no")];
        let reply = host.send(Method::PUT, &format!("/{name}/a%20b/c?x=1&y=%2F"), &headers, Bytes::new()).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/plain"));
        let authority = host.api.trim_start_matches("http://");
        let text = reply.text().to_lowercase();
        for line in [
            "target /a%20b/c?x=1&y=%2f".into(),
            format!("authority {authority}"),
            "x-mine: 1".into(),
            format!("x-micro-web-base-path: /{name}"),
            format!("x-forwarded-host: {authority}"),
            "x-forwarded-proto: http".into(),
            "x-forwarded-for: 127.0.0.1".into(),
            format!("x-request-id: {}", reply.header("x-request-id")),
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line} is missing in {text}");
        }
        assert!(text.contains("put") && text.contains("http") && !text.contains("private"), "{text}");
        let id = reply.header("x-request-id");
        let lines = host.logs(name).await;
        assert!(lines.iter().any(|line| line["request"] == id), "{id} is not in {lines:?}");
    }
}

#[tokio::test]
async fn all_methods_reach_a_handler() {
    let host = Host::start().await;
    for name in BOTH {
        host.deploy(name).await;
        for method in ["OPTIONS", "DELETE", "PATCH", "TRACE", "BREW"] {
            let mut connection = Connection::http1(&host.api).await;
            let (upload, response) = connection.begin(method, &format!("/{name}"), &[]).await;
            drop(upload);
            assert_eq!(response.status(), 200);
            let text = response.text().await.to_uppercase();
            assert!(text.contains(method) && text.contains("\nTARGET /\n"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_component_of_another_making_is_served() {
    let host = Host::start().await;
    host.deploy("web-wstd").await;
    let reply = host.send(Method::POST, "/web-wstd/some/path?q", &[], Bytes::from_static(b"the body")).await;
    assert_eq!((reply.status, reply.text()), (200, "the body"));
    assert_eq!((reply.header("x-path"), reply.header("x-method")), ("/some/path?q", "POST"));
}

#[tokio::test]
async fn a_response_begins_before_the_request_ends() {
    let host = Host::start().await;
    for (name, path) in
        [("web", "/web/mirror"), ("web3", "/web3/mirror"), ("web3", "/web3/passed"), ("web-wstd", "/web-wstd")]
    {
        host.deploy(name).await;
        for mut connection in [Connection::http1(&host.api).await, Connection::http2(&host.api).await] {
            let (upload, mut response) = connection.begin("POST", path, &[]).await;
            assert_eq!(response.status(), 200);
            for piece in ["one", "two", "three"] {
                upload.data(piece);
                assert_eq!(response.next().await.unwrap().unwrap(), piece, "{path}");
            }
            drop(upload);
            assert!(response.next().await.is_none());
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let host = Host::start().await;
    for (name, path) in [("web", "/web/mirror"), ("web3", "/web3/mirror"), ("web3", "/web3/passed")] {
        host.deploy(name).await;
        let mut connection = Connection::http2(&host.api).await;
        let (upload, response) = connection.send("POST", path, &[("te", "trailers")]);
        upload.data("body");
        upload.trailers(&[("x-checksum", "abc")]);
        let (body, trailers) = response.await.rest().await.unwrap();
        assert_eq!(&*body, b"body", "{path}");
        assert_eq!(trailers.get("x-checksum").map(reqwest::header::HeaderValue::as_bytes), Some(&b"abc"[..]), "{path}");
    }
}

#[tokio::test]
async fn a_large_upload_takes_no_memory() {
    const PIECE: usize = 1024 * 1024;
    const PIECES: usize = 100;
    let host = HostProcess::start().await;
    for name in BOTH {
        host.deploy(name).await;
        let before = peak_memory(&host);
        let mut connection = Connection::http1(&host.api).await;
        let (upload, response) = connection.send("POST", &format!("/{name}/count"), &[]);
        let piece = Bytes::from(vec![7; PIECE]);
        (0..PIECES).for_each(|_| upload.data(piece.clone()));
        drop(upload);
        assert_eq!(response.await.text().await, (PIECE * PIECES).to_string());
        let took = peak_memory(&host).saturating_sub(before);
        assert!(took < 30 * 1024, "{name}: {took} KiB");
    }
}

/// The most that a process had in memory, in KiB.
fn peak_memory(host: &HostProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_large_response_comes_whole() {
    let host = Host::start().await;
    host.deploy("web").await;
    assert_eq!(host.get("/web/large").await.body.len(), 16 * 1024 * 1024);
}

#[tokio::test]
async fn where_there_is_no_body_none_is_sent() {
    let host = Host::start().await;
    for name in BOTH {
        host.deploy(name).await;
        let reply = host.send(Method::HEAD, &format!("/{name}/asked"), &[], Bytes::new()).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{name}");
        assert_eq!(reply.header("content-length"), "1", "as a GET would have it");
    }
    let reply = host.send(Method::HEAD, "/web/large", &[], Bytes::new()).await;
    assert_eq!((reply.status, reply.body.len(), reply.header("content-length")), (200, 0, ""));
    for status in [204, 304] {
        let mut connection = Connection::http1(&host.api).await;
        for _ in 0..2 {
            let (upload, response) = connection.begin("GET", &format!("/web/status?{status}"), &[]).await;
            drop(upload);
            assert_eq!((response.status(), response.header("content-length")), (status, ""));
            assert_eq!(response.text().await, "");
        }
    }
    assert_eq!(host.get("/web/status?404").await.status, 404);
    let stats = host.deployment("web").await["stats"].clone();
    assert_eq!(stats["errors"], 0, "a page that is not there is no failure: {stats}");
}

#[tokio::test]
async fn a_name_of_several_words_is_a_path_of_several() {
    let host = Host::start().await;
    host.deploy_as("demo", guest("web")).await.ok();
    host.deploy_as("demo.site", guest("web3")).await.ok();
    host.deploy("echo").await;
    let target = async |path: &str| {
        let text = host.get(path).await.text().to_string();
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_string();
        (line("x-micro-web-base-path: "), line("target "))
    };
    assert_eq!(target("/demo/site/x").await, ("/demo/site".into(), "/x".into()));
    assert_eq!(target("/demo.site/x").await, ("/demo.site".into(), "/x".into()));
    assert_eq!(target("/demo/sit/x").await, ("/demo".into(), "/sit/x".into()));
    assert_eq!(target("/d%65mo/x").await, ("/d%65mo".into(), "/x".into()));
    assert_eq!(target("/demo").await, ("/demo".into(), "/".into()));
    assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.result(), json!(3));
    assert_eq!(host.get("/nobody/x").await.status, 404);

    let spaced = Host::start_with_namespace("acme").await;
    spaced.deploy_as("acme.site", guest("web")).await.ok();
    assert!(spaced.get("/site/x").await.text().contains("x-micro-web-base-path: /site\n"));
}

#[tokio::test]
async fn a_host_name_belongs_to_one_deployment() {
    let host = Host::start().await;
    let manifest = "host = [\"site.example.com\"]";
    deploy_with(&host, "site", "web", manifest).await;
    let on = async |name: &'static str, path: &'static str| {
        host.send(Method::GET, path, &[("host", name)], Bytes::new()).await
    };
    // The gateway's own pages are not on it.
    for path in ["/", "/rpc", "/openapi.json", "/site/x"] {
        let reply = on("Site.example.com:8080", path).await;
        assert!(reply.text().contains(&format!("target {path}\n")), "{}", reply.text());
        assert!(!reply.text().contains("base-path"), "{}", reply.text());
    }
    assert!(on("other.example.com", "/").await.text().contains("version"));
    let reply = host.deploy_as("thief", with_manifest(&guest("web3"), manifest)).await;
    assert_eq!(reply.refused(422), "thief: host site.example.com is taken by site");
    let reply = host.deploy_as("typed", with_manifest(&guest("echo"), "host = [\"typed.example.com\"]")).await;
    assert!(reply.refused(422).contains("takes no HTTP requests"));
}

#[tokio::test]
async fn a_route_without_an_endpoint_leads_to_the_handler() {
    let host = Host::start().await;
    let manifest = "[[route]]\npath = \"/blog/{*rest}\"\n[[route]]\nmethod = \"options\"\nhost = \"api.example.com\"\npath = \"/{*rest}\"";
    deploy_with(&host, "site", "web3", manifest).await;
    assert!(host.get("/blog/2026/x?y").await.text().contains("target /blog/2026/x?y\n"));
    assert_eq!(host.get("/blogs").await.status, 404);
    let on = [("host", "api.example.com")];
    assert_eq!(host.send(Method::OPTIONS, "/any/path", &on, Bytes::new()).await.status, 200);
    assert_eq!(host.send(Method::GET, "/any/path", &on, Bytes::new()).await.status, 404);
}

#[tokio::test]
async fn the_sidecar_serves_handlers_too() {
    let host = Host::start().await;
    host.deploy("web").await;
    assert!(host.sidecar("/web/x").await.text().contains("target /x\n"));
    let registry = host.sidecar("/registry?service=web").await;
    assert!(registry.text().contains("wasi:http 0.2"), "{}", registry.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_revisions_change() {
    let host = Arc::new(Host::start().await);
    for name in BOTH {
        host.deploy(name).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (host, is_over) = (host.clone(), is_over.clone());
            clients.spawn(async move {
                let mut served = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let reply = host.post(&format!("/{name}/count"), "", vec![1; 100_000]).await;
                    assert_eq!((reply.status, reply.text()), (200, "100000"));
                    served += 1;
                }
                served
            });
        }
        for number in 0..10 {
            deploy_with(&host, name, name, &format!("version = \"{number}\"")).await;
        }
        is_over.store(true, Ordering::Relaxed);
        let served: Vec<usize> = clients.join_all().await;
        assert!(served.iter().all(|served| *served > 0), "{served:?}");
        until("all are counted", async || {
            let stats = host.deployment(name).await["stats"].clone();
            (stats["calls"] == served.iter().sum::<usize>() && stats["errors"] == 0).then_some(())
        })
        .await;
    }
}
