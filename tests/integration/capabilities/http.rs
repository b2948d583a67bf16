//! Requests that functions send.

use super::{AllAtHome, deploy, host, host_lines};
use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::{get, post};
use futures::StreamExt as _;
use micro::server::Permits;
use micro_tests::{Host, Value, guest, json, with_manifest};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// A server outside of the host, and the port that it listens on.
async fn outside() -> u16 {
    let router = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/echo", post(|body: Body| async { Body::from_stream(body.into_data_stream()) }))
        .route("/away", get(|| async { Redirect::temporary("http://elsewhere.test/") }))
        .route(
            "/header/{name}",
            get(|axum::extract::Path(name): axum::extract::Path<String>, headers: HeaderMap| async move {
                headers.get(name).map_or("none".into(), |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            }),
        )
        .route("/large-head", get(|| async { [("x-large", "x".repeat(512 * 1024))] }))
        .route("/never", get(|| async { std::future::pending::<String>().await }))
        .route("/peer", get(|peer: axum::extract::ConnectInfo<SocketAddr>| async move { peer.0.port().to_string() }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    port
}

async fn send(host: &Host, url: &str) -> Result<Value, String> {
    post_to(host, "GET", url, "").await
}

async fn post_to(host: &Host, method: &str, url: &str, body: &str) -> Result<Value, String> {
    let reply = host.call("outgoing", "Outgoing.Send", json!({"method": method, "url": url, "body": body})).await;
    match reply.status {
        200 => Ok(reply.json()),
        500 => Err(reply.detail()),
        _ => panic!("{} {}", reply.status, reply.text()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_host_is_reached_and_bodies_go_both_ways() {
    let (host, port) = (Host::start().await, outside().await);
    deploy(&host, "outgoing", &format!("http = [\"localhost:{port}\"]")).await;
    let url = format!("http://localhost:{port}");
    assert_eq!(send(&host, &format!("{url}/hello")).await, Ok(json!({"status": 200, "body": "hello"})));
    assert_eq!(send(&host, &format!("{url}/missing")).await.unwrap()["status"], 404);
    let large = "0123456789".repeat(50_000);
    assert_eq!(post_to(&host, "POST", &format!("{url}/echo"), &large).await.unwrap()["body"], large.as_str());
    assert_eq!(send(&host, &format!("{url}/header/host")).await.unwrap()["body"], format!("localhost:{port}"));
    let first = send(&host, &format!("{url}/peer")).await.unwrap();
    assert_eq!(send(&host, &format!("{url}/peer")).await.unwrap(), first, "the connection is kept for the next call");
    assert_eq!(host_lines(&host, "outgoing").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_named_is_not_reached() {
    let (host, port) = (Host::start().await, outside().await);
    deploy(&host, "outgoing", &format!("http = [\"localhost:{port}\"]")).await;
    for url in [
        format!("http://127.0.0.1:{port}/hello"),
        format!("http://[::1]:{port}/hello"),
        format!("https://localhost:{}/", port.wrapping_add(1).max(1)),
        "http://example.com/".into(),
        "http://169.254.169.254/latest/meta-data".into(),
    ] {
        let error = send(&host, &url).await.unwrap_err();
        assert!(error.contains("HttpRequestDenied"), "{url}: {error}");
    }
    let lines = host_lines(&host, "outgoing").await;
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[3].contains("the request to http://example.com was refused: [allow] does not name it"), "{lines:?}");
    assert!(lines[3].contains("http = [\"example.com\"] below [allow] in micro.toml permits it"), "{lines:?}");
    assert_eq!(host.deployment("outgoing").await["stats"]["denied"], 5);
    for (method, url) in
        [("CONNECT", format!("http://localhost:{port}")), ("GET", format!("http://a@localhost:{port}/"))]
    {
        assert!(post_to(&host, method, &url, "").await.is_err(), "{method} {url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_home_is_blocked_unless_the_address_is_named() {
    let (host, port) = (host().await, outside().await);
    let url = format!("http://api.test:{port}/hello");
    deploy(&host, "outgoing", &format!("http = [\"*.test:*\", \"localhost:{port}\"]")).await;
    let error = send(&host, &url).await.unwrap_err();
    assert!(error.contains("DestinationIpProhibited"), "{error}");
    let lines = host_lines(&host, "outgoing").await;
    assert!(lines[0].contains("it is at 127.0.0.1, a loopback address, which [allow] does not name"), "{lines:?}");
    assert!(lines[0].contains(&format!("http = [\"127.0.0.1:{port}\"]")), "{lines:?}");
    deploy(&host, "outgoing", &format!("http = [\"*.test:*\", \"127.0.0.0/8:{port}\"]")).await;
    assert_eq!(send(&host, &url).await.unwrap()["body"], "hello");
    let error = send(&host, &format!("http://nobody.invalid:{port}/")).await.unwrap_err();
    assert!(error.contains("HttpRequestDenied"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_resolved_once_for_each_connection() {
    let names = Arc::new(AllAtHome::default());
    let host = Host::start_with_permits(Permits { resolver: Some(names.clone()), ..Permits::default() }).await;
    let port = outside().await;
    deploy(&host, "outgoing", &format!("http = [\"api.test:{port}\", \"127.0.0.1:{port}\"]")).await;
    for _ in 0..3 {
        assert_eq!(send(&host, &format!("http://api.test:{port}/hello")).await.unwrap()["body"], "hello");
    }
    assert_eq!(names.0.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_the_functions_own_affair_and_checked_as_any_request() {
    let (host, port) = (host().await, outside().await);
    deploy(&host, "outgoing", &format!("http = [\"api.test:{port}\", \"127.0.0.1:{port}\"]")).await;
    assert_eq!(send(&host, &format!("http://api.test:{port}/away")).await.unwrap()["status"], 307);
    assert!(send(&host, "http://elsewhere.test/").await.unwrap_err().contains("HttpRequestDenied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_or_never_comes_ends_in_an_error() {
    let (host, port) = (Host::start().await, outside().await);
    let manifest = format!("[limits]\ntimeout = \"500ms\"\n[allow]\nhttp = [\"localhost:{port}\"]\n");
    host.deploy_as("outgoing", with_manifest(&guest("outgoing"), &manifest)).await.ok();
    let error = send(&host, &format!("http://localhost:{port}/large-head")).await.unwrap_err();
    assert!(error.contains("HttpResponseHeaderSectionSize"), "{error}");
    let never = json!({"method": "GET", "url": format!("http://localhost:{port}/never"), "body": ""});
    // Both end at the same time: the request by its error, which the guest passes on, or the call.
    let reply = host.call("outgoing", "Outgoing.Send", never).await;
    assert!(reply.status == 504 || reply.detail().contains("HttpResponseTimeout"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_call_goes_on_to_others() {
    let (host, port) = (Host::start().await, outside().await);
    deploy(&host, "outgoing", &format!("http = [\"localhost:{port}\"]")).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = json!({"method": "GET", "url": format!("http://localhost:{port}/header/traceparent"), "body": ""});
    let headers = [("content-type", "application/json"), ("traceparent", trace)];
    let body = body.to_string().into();
    let reply = host.send(reqwest::Method::POST, "/outgoing/outgoing/send", &headers, body).await;
    let seen = reply.ok()["body"].as_str().unwrap_or_default().to_string();
    assert!(seen.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{seen}");
}

fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/capabilities/tls").join(name)
}

/// A server that speaks TLS as `secure.test`, by a certificate that only the tests' authority vouches for.
async fn secure() -> u16 {
    let certificates =
        CertificateDer::pem_file_iter(tls_file("server.pem")).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(tls_file("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(certificates, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that believes nobody goes away in the middle.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret").await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked() {
    let port = secure().await;
    let permits = Permits { resolver: Some(Arc::new(AllAtHome::default())), ..Permits::default() };
    let allow = format!("http = [\"https://*.test:{port}\", \"127.0.0.1:{port}\"]");
    let host = Host::start_with_permits(permits.clone()).await;
    deploy(&host, "outgoing", &allow).await;
    let error = send(&host, &format!("https://secure.test:{port}/")).await.unwrap_err();
    assert!(error.contains("TlsCertificateError"), "nobody vouches for it: {error}");
    let believing = Permits { authorities: Some(tls_file("authority.pem")), ..permits };
    let host = Host::start_with_permits(believing).await;
    deploy(&host, "outgoing", &allow).await;
    assert_eq!(send(&host, &format!("https://secure.test:{port}/")).await.unwrap()["body"], "secret");
    let error = send(&host, &format!("https://other.test:{port}/")).await.unwrap_err();
    assert!(error.contains("TlsCertificateError"), "it is for another name: {error}");
    let error = send(&host, &format!("http://secure.test:{port}/")).await.unwrap_err();
    assert!(error.contains("HttpRequestDenied"), "the pattern says https: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_share_the_connections_of_the_deployment() {
    let (host, port) = (Arc::new(Host::start().await), outside().await);
    deploy(&host, "outgoing", &format!("http = [\"localhost:{port}\"]")).await;
    let calls = futures::stream::iter(0..200).map(|_| {
        let (host, url) = (host.clone(), format!("http://localhost:{port}/hello"));
        async move { send(&host, &url).await }
    });
    let replies: Vec<_> = calls.buffer_unordered(100).collect().await;
    assert!(replies.iter().all(|reply| reply.as_ref().is_ok_and(|reply| reply["body"] == "hello")), "{replies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_wasi_0_3_are_bound_by_the_same_rules() {
    let (host, port) = (host().await, outside().await);
    let allow = format!("http = [\"api.test:{port}\", \"127.0.0.1:{port}\"]\ntcp = [\"db.test:5432\"]");
    host.deploy("outgoing3").await;
    let refused = host.call("outgoing3", "Outgoing.Get", json!({"url": "http://api.test/"})).await.refused(500);
    assert!(refused.contains("HttpRequestDenied"), "{refused}");
    deploy(&host, "outgoing3", &allow).await;
    let get = |url: String| host.call("outgoing3", "Outgoing.Get", json!({ "url": url }));
    assert_eq!(get(format!("http://api.test:{port}/hello")).await.result(), "200 hello");
    let refused = get(format!("http://other.test:{port}/hello")).await.refused(500);
    assert!(refused.contains("HttpRequestDenied"), "{refused}");
    let look_up = |name: &str| host.call("outgoing3", "Outgoing.LookUp", json!({ "name": name }));
    assert!(look_up("db.test").await.result()[0].to_string().contains("127"), "the resolver says where it is");
    assert!(look_up("api.test").await.refused(500).contains("AccessDenied"));
    assert_eq!(host_lines(&host, "outgoing3").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_texts_of_a_request_are_no_longer_than_its_headers_may_be() {
    let host = Host::start().await;
    deploy(&host, "outgoing", "http = [\"localhost:1\"]").await;
    deploy(&host, "outgoing3", "http = [\"localhost:1\"]").await;
    let long = "x".repeat(70_000);
    assert_eq!(post_to(&host, &long, "http://localhost:1/", "").await, Err("method".into()));
    let [authority, path] = [format!("http://{long}/"), format!("http://localhost:1/{long}")];
    for (url, what) in [(&authority, "authority"), (&path, "path")] {
        assert_eq!(send(&host, url).await, Err(what.into()));
        assert_eq!(host.call("outgoing3", "Outgoing.Get", json!({"url": url})).await.refused(500), what);
    }
}
