use super::*;
use axum::Router;
use axum::body::Bytes;
use axum::extract::RawQuery;
use axum::http::HeaderMap;
use axum::routing::{get, post, put};

const TOKEN: &str = "sekrit";

/// A server that answers as told, with a client that looks for it.
struct Peer {
    host: Host,
    _data_dir: tempfile::TempDir,
}

impl Peer {
    async fn with(router: Router) -> Peer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Peer::at(&address.to_string())
    }

    fn at(address: &str) -> Peer {
        let data_dir = tempfile::tempdir().unwrap();
        std::fs::write(data_dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let host = Host::new(Address::parse(address).unwrap(), data_dir.path()).unwrap();
        Peer { host, _data_dir: data_dir }
    }
}

fn error(code: u16, detail: &str) -> (StatusCode, String) {
    let error = micro_mesh::Error::new("go.micro.server", code, detail);
    (error.http_status(), error.to_string())
}

#[test]
fn a_name_cannot_leave_its_path_segment() {
    assert_eq!(deployment_path("demo.greeter-2", ""), "/v1/deployments/demo.greeter-2");
    assert_eq!(deployment_path("../a b?c", "/logs"), "/v1/deployments/..%2Fa%20b%3Fc/logs");
}

#[tokio::test]
async fn a_deploy_carries_the_token_the_version_and_the_bytes() {
    let deploy = |headers: HeaderMap, RawQuery(query): RawQuery, body: Bytes| async move {
        assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
        assert_eq!(query.as_deref(), Some("version=1.0%2Bb"));
        assert_eq!(body, "bytes");
        "{\"name\": \"x\", \"revision\": 3, \"later\": [1], \"changed\": false}\n"
    };
    let peer = Peer::with(Router::new().route("/v1/deployments/x", put(deploy))).await;
    let options = DeployOptions { version: Some("1.0+b".into()), ..DeployOptions::default() };
    let answer = peer.host.deploy("x", b"bytes".to_vec(), &options).await.unwrap();
    assert_eq!((answer.value.revision, answer.value.changed), (3, Some(false)));
    // What this program does not know is still printed.
    assert!(answer.json.contains("\"later\": [1]"), "{}", answer.json);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_hosts_words() {
    let refuse = || async { error(422, "not a component\nat byte 7") };
    let peer = Peer::with(Router::new().route("/v1/deployments/x", put(refuse))).await;
    let refused = peer.host.deploy("x", Vec::new(), &DeployOptions::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), "not a component\nat byte 7");
    assert!(!refused.is_not_found());
}

#[tokio::test]
async fn a_call_keeps_the_digits_of_its_numbers() {
    let call = |headers: HeaderMap, body: String| async move {
        assert_eq!(headers["x-tenant"], "a b");
        assert_eq!(body, r#"{"service":"s","endpoint":"S.E","request":{"n":18446744073709551615}}"#);
        "{\"n\":1.50}"
    };
    let peer = Peer::with(Router::new().route("/rpc", post(call))).await;
    let request = RawValue::from_string("{\"n\":18446744073709551615}".into()).unwrap();
    let metadata = [("x-tenant".to_owned(), "a b".to_owned())];
    assert_eq!(peer.host.call("s", "S.E", &request, &metadata).await.unwrap(), "{\"n\":1.50}");
}

#[tokio::test]
async fn nobody_there_is_told_before_a_missing_token() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let expected = format!("no micro host at {address}: start one with 'micro server' or set --proxy-address");
    let peer = Peer::at(&address);
    assert_eq!(peer.host.services().await.unwrap_err().to_string(), expected);
    let no_token = Host::new(Address::parse(&address).unwrap(), Path::new("/nonexistent")).unwrap();
    assert_eq!(no_token.status().await.unwrap_err().to_string(), expected);
}

#[tokio::test]
async fn a_token_that_is_missing_or_wrong_is_told_by_its_place() {
    let router =
        Router::new().route("/health", get(|| async { "{}" })).route("/v1/status", get(|| async { error(401, "no") }));
    let mut peer = Peer::with(router).await;
    let wrong = peer.host.status().await.unwrap_err().to_string();
    assert!(wrong.contains("does not accept the token in ") && wrong.contains("--data-dir"), "{wrong}");
    peer.host.token_file = "/nonexistent/token".into();
    let missing = peer.host.status().await.unwrap_err().to_string();
    assert!(missing.starts_with("no token at /nonexistent/token; --data-dir "), "{missing}");
}

#[tokio::test]
async fn another_server_at_the_address_is_recognised() {
    let router = Router::new().route("/v1/status", get(|| async { "<html>" }));
    let peer = Peer::with(router).await;
    let strange = peer.host.status().await.unwrap_err().to_string();
    assert!(strange.contains("is it a micro host?"), "{strange}");
    let strange = peer.host.services().await.unwrap_err().to_string();
    assert!(strange.contains("HTTP 404 Not Found without micro's error JSON"), "{strange}");
}

#[tokio::test]
async fn logs_and_events_are_read_as_they_come() {
    let router = Router::new()
        .route(
            "/v1/deployments/x/logs",
            get(|RawQuery(query): RawQuery| async move {
                format!("{{\"message\":\"{}\"}}\nlast", query.unwrap_or_default())
            }),
        )
        .route("/v1/events", get(|| async { ": hi\n\nevent: removed\ndata: {}\n\n" }));
    let peer = Peer::with(router).await;
    let options = LogOptions { lines: Some(5), follow: true, grep: Some("a&b".into()), ..LogOptions::default() };
    let mut logs = peer.host.logs(Some("x"), &options).await.unwrap();
    let first = logs.next().await.unwrap();
    assert_eq!(first.as_deref(), Some("{\"message\":\"lines=5&follow=true&grep=a%26b\"}"));
    assert_eq!(logs.next().await.unwrap().as_deref(), Some("last"));
    assert_eq!(logs.next().await.unwrap(), None);

    let mut events = peer.host.events().await.unwrap();
    assert_eq!(events.next().await.unwrap().map(|event| event.name).as_deref(), Some("removed"));
    assert_eq!(events.next().await.unwrap(), None);
}
