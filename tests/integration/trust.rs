//! Who may govern a host: the token, the sidecar's door, and the files of the data folder.

use micro_tests::{Host, HostProcess, Value, guest, json};
use reqwest::Method;
use std::os::unix::fs::PermissionsExt as _;

async fn status_with(host: &HostProcess, token: &str) -> u16 {
    let header = format!("Bearer {token}");
    host.sidecar_send(Method::GET, "/v1/status", &[("authorization", &header)], "".into()).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_replaced_opens_nothing_any_more() {
    let host = HostProcess::start().await;
    let micro = host.program();
    let shown = async || micro.succeed(&["token", "show"]).await.trim().to_string();
    let first = shown().await;
    assert_eq!(status_with(&host, &first).await, 200);

    let said = micro.succeed(&["token", "rotate"]).await;
    let second = shown().await;
    assert!(said.contains("the admin token is a new one") && !said.contains(&second), "{said}");
    assert_eq!((status_with(&host, &first).await, status_with(&host, &second).await), (401, 200));
    micro.succeed(&["ps"]).await;

    // Whoever may write the file need not ask.
    std::fs::write(host.folder().join("token"), "of my own\n").unwrap();
    assert_eq!((status_with(&host, &second).await, status_with(&host, "of my own").await), (401, 200));
    let json: Value = read(&micro.succeed(&["--output", "json", "token", "rotate"]).await);
    assert_eq!(json, json!({ "token": shown().await }));
    host.sidecar_send(Method::POST, "/v1/token/rotate", &[], "".into()).await.refused(401);

    // Nor does a host have to run.
    let last = shown().await;
    let folder = host.kill().await;
    micro.succeed(&["token", "rotate"]).await;
    let host = HostProcess::start_in(folder).await;
    assert_eq!((status_with(&host, &last).await, status_with(&host, &shown().await).await), (401, 200));
    let (_, log) = host.ask_to_end().await;
    assert!(!log.contains(&last), "the log has a token: {log}");
}

fn read(text: &str) -> Value {
    text.parse().unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_call_the_gateway_and_not_the_sidecar() {
    let host = Host::start().await;
    host.deploy_as("hello", guest("hello-world-export")).await.ok();
    let path = "/hello/hello?name=Jo";
    let own = host.sidecar.trim_start_matches("http://").to_string();
    for (headers, expected) in [
        (vec![], 200),
        (vec![("host", "localhost:1")], 200),
        (vec![("host", own.as_str()), ("origin", host.sidecar.as_str())], 200),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("origin", host.api.as_str())], 403),
        (vec![("host", "evil.example")], 403),
        (vec![("host", "evil.example"), ("origin", "http://evil.example")], 403),
    ] {
        for path in [path, "/registry", "/health"] {
            let reply = host.sidecar_send(Method::GET, path, &headers, "".into()).await;
            assert_eq!(reply.status, expected, "{path} {headers:?}: {}", reply.text());
        }
        let reply = host.send(Method::GET, path, &headers, "".into()).await;
        assert_eq!(reply.status, 200, "the gateway is for everybody: {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_keeps_is_for_its_owner() {
    let host = Host::start().await;
    let mode = |name: &str| std::fs::metadata(host.data_dir.join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["token", "host.key", "lock", "micro.db", "store.db", "registry.db"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}
