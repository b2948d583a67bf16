//! The gateway's paths and `/rpc`, on both doors.

use bytes::Bytes;
use micro_tests::{Host, guest, json};
use reqwest::Method;

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_services_and_endpoints() {
    let host = Host::start().await;
    for name in ["hello", "demo.hello", "v1.hello"] {
        host.deploy_as(name, guest("hello-world-export")).await.ok();
    }
    for path in [
        "/hello/hello?name=John",
        "/hello/hello/hello?name=John",
        "/demo/hello/hello/hello?name=John",
        "/demo.hello/hello?name=John",
        "/demo.hello/Hello/Hello?name=John",
        "/v1/hello/hello?name=John",
        "/v1/hello/hello/hello?name=John",
        "//hello/./x/../hello/?name=John",
        "/h%65llo/hello?name=John",
    ] {
        let reply = host.get(path).await;
        assert_eq!(reply.result(), json!("Hello John"), "{path}");
        assert!(!reply.header("x-request-id").is_empty(), "{path}");
    }
    let on_sidecar = host.sidecar("/hello/hello?name=John").await;
    assert_eq!(on_sidecar.result(), json!("Hello John"), "the sidecar takes the same paths");
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let reply = host.send(method.clone(), "/hello/hello", &[], Bytes::from_static(b"{\"name\": \"Jo\"}")).await;
        assert_eq!(reply.result(), json!("Hello Jo"), "{method}");
    }
    assert_eq!(host.get("/hello").await.refused(404), "endpoint Hello.Call: not found; did you mean Hello.Hello?");
    assert_eq!(host.get("/").await.ok(), json!({"version": env!("CARGO_PKG_VERSION")}));
    assert_eq!(host.get("/favicon.ico").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namespace_is_tried_before_the_bare_name() {
    let host = Host::start_with_namespace("demo").await;
    let answer = async |path: &str| host.get(path).await.result();
    host.deploy_as("tally", micro_tests::versioned("bare")).await.ok();
    assert_eq!(answer("/tally/version/get").await, json!("bare"), "nobody has the full name");
    host.deploy_as("demo.tally", micro_tests::versioned("full")).await.ok();
    assert_eq!(answer("/tally/version/get").await, json!("full"));
    assert_eq!(answer("/demo.tally/version/get").await, json!("full"));
    host.admin(Method::DELETE, "/deployments/demo.tally", "").await.ok();
    assert_eq!(answer("/tally/version/get").await, json!("bare"));
    let reply = host.post("/rpc", "application/json", r#"{"service": "tally", "endpoint": "Version.Get"}"#).await;
    assert_eq!(reply.result(), json!("bare"), "a call by name is not given another one");
}

#[tokio::test(flavor = "multi_thread")]
async fn rpc_takes_json_forms_and_requests_that_are_texts() {
    let host = Host::start().await;
    host.deploy("echo").await;
    let json_type = "application/json";
    for (content_type, body) in [
        (json_type, r#"{"service": "echo", "endpoint": "Echo.Sum", "request": {"a": 1, "b": 2}}"#),
        (json_type, r#"{"service": "echo", "method": "Echo.Sum", "request": {"a": 1, "b": 2}}"#),
        (json_type, r#"{"service": "echo", "endpoint": "Echo.Sum", "request": "{\"a\": 1, \"b\": 2}"}"#),
        ("", r#"{"service": "echo", "endpoint": "Echo.Sum", "request": {"a": 1, "b": 2}}"#),
        (FORM, r#"{"service": "echo", "endpoint": "Echo.Sum", "request": {"a": 1, "b": 2}}"#),
        (FORM, "service=echo&endpoint=Echo.Sum&request=%7B%22a%22%3A1%2C%22b%22%3A2%7D"),
        (FORM, "service=echo&method=Echo.Sum&request={\"a\":1,\"b\":2}"),
    ] {
        assert_eq!(host.post("/rpc", content_type, body).await.result(), json!(3), "{body}");
        let headers = [("content-type", content_type)];
        let on_sidecar = host.sidecar_send(Method::POST, "/rpc", &headers, body.into()).await;
        assert_eq!(on_sidecar.result(), json!(3), "{body} on the sidecar");
    }
    let nothing = host.post("/rpc", json_type, r#"{"service": "echo", "endpoint": "Echo.Nothing"}"#).await;
    assert_eq!(nothing.ok(), json!({}));
    // Bytes come as base64: the reply is one JSON object.
    let bytes = r#"{"service": "echo", "endpoint": "Echo.Bytes", "request": {"value": "AAEC"}}"#;
    assert_eq!(host.post("/rpc", json_type, bytes).await.result(), json!("AAEC"));
    for (body, status, expected) in [
        (r#"{"endpoint": "Echo.Sum"}"#, 400, "invalid service"),
        (r#"{"service": "echo"}"#, 400, "invalid endpoint"),
        (r#"{"service": "echo", "#, 400, "not valid JSON"),
        (r#"{"service": "nobody", "endpoint": "A.B"}"#, 404, "service nobody: not found"),
        (r#"{"service": "echo", "endpoint": "Echo.Sum", "request": "{"}"#, 400, "not valid JSON"),
        (r#"{"service": "echo", "endpoint": "Echo.Sum", "request": {"a": "x"}}"#, 400, "field a: expected integer"),
    ] {
        let detail = host.post("/rpc", json_type, body).await.refused(status);
        assert!(detail.contains(expected), "{body}: {detail}");
    }
    host.get("/rpc").await.refused(405);
    host.post("/rpc", FORM, "service=echo&endpoint=Echo.Sum").await.refused(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_may_give_less_time_than_the_function_has() {
    let host = Host::start().await;
    host.deploy_limited("slow", "timeout = \"1h\"").await;
    let headers = [("content-type", "application/json"), ("timeout", "1")];
    let body = r#"{"service": "slow", "endpoint": "Slow.Sleep", "request": {"ms": 3000000}}"#;
    let detail = host.send(Method::POST, "/rpc", &headers, body.into()).await.refused(504);
    assert!(detail.contains("no reply within"), "{detail}");
}
