//! Bodies, forms and query strings in; JSON or plain bytes out.

use bytes::Bytes;
use micro_tests::{Host, function, guest, json, with_manifest};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const FORM: &str = "application/x-www-form-urlencoded";
const BYTES: &str = "application/octet-stream";
/// What a PNG begins with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

async fn host_with(guests: &[&str]) -> Host {
    let host = Host::start().await;
    for guest in guests {
        host.deploy(guest).await;
    }
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn any_body_goes_to_the_one_list_of_bytes() {
    let host = host_with(&["big"]).await;
    for (content_type, body) in [
        (BYTES, Bytes::from_static(b"\0\xff\xfe")),
        ("image/png", Bytes::from_static(PNG)),
        ("text/plain; charset=utf-8", Bytes::from_static(b"hello")),
        ("text/plain", Bytes::from_static(b"{not json")),
        ("", Bytes::from_static(b"no type at all")),
        // What curl calls --data-binary by default.
        (FORM, Bytes::from_static(PNG)),
        (FORM, Bytes::from_static(b"# Hello\n\n*World*\n")),
        (FORM, Bytes::from_static(b"oneword")),
    ] {
        let measured = host.post("/big/big/measure", content_type, body.clone()).await;
        assert_eq!(measured.result(), json!(body.len()), "{content_type} {body:?}");
    }
    assert_eq!(host.post("/big/big/measure", "application/json", r#"{"bytes": "AAEC"}"#).await.result(), json!(3));
    assert_eq!(host.post("/big/big/measure", FORM, "bytes=AAEC").await.result(), json!(3), "a form with the field");
    assert_eq!(host.post("/big/big/measure", FORM, r#"{"bytes": "AAEC"}"#).await.result(), json!(3), "JSON by curl -d");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_bytes_leaves_the_other_fields_to_the_query() {
    let host = Host::start().await;
    host.deploy_as("markdown", function("markdown")).await.ok();
    let table = "| a |\n|---|\n| b |\n";
    let with = host.post("/markdown/render/html", "text/markdown", table).await;
    assert!(with.text().contains("<table>"), "{}", with.text());
    let without = host.post("/markdown/render/html?tables=false", "text/markdown", table).await;
    assert!(!without.text().contains("<table>"), "{}", without.text());
    let detail = host.post("/markdown/render/html?tabels=false", "text/markdown", table).await.refused(400);
    assert!(detail.contains("unknown query parameter \"tabels\": did you mean tables?"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fits_nothing_is_415() {
    let host = host_with(&["echo"]).await;
    let detail = host.post("/echo/echo/sum", "text/plain", "a is 1").await.refused(415);
    assert!(detail.contains("text/plain") && detail.contains("send application/json"), "{detail}");
    host.post("/echo/echo/sum", "image/png", Bytes::from_static(PNG)).await.refused(415);
    assert_eq!(
        host.post("/echo/echo/sum", "text/plain", r#"{"a": 1}"#).await.result(),
        json!(1),
        "an object in braces"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_told_by_its_type_or_its_braces() {
    let host = host_with(&["echo"]).await;
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
        FORM,
        "",
    ] {
        let reply = host.post("/echo/echo/sum", content_type, r#" {"a": 1, "b": 2}"#).await;
        assert_eq!(reply.result(), json!(3), "{content_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_fill_the_fields_by_their_types() {
    let host = host_with(&["echo"]).await;
    assert_eq!(host.post("/echo/echo/sum", FORM, "a=1&b=2").await.result(), json!(3));
    assert_eq!(host.post("/echo/echo/sum?b=2", FORM, "a=1").await.result(), json!(3), "together with the query");
    assert_eq!(host.post("/echo/echo/string", FORM, "value=J%C3%BCrgen+%26+Co").await.result(), json!("Jürgen & Co"));
    let detail = host.post("/echo/echo/sum", FORM, "a=one").await.refused(400);
    assert!(detail.contains("query parameter a: expected integer (u32), got \"one\""), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn query_strings_fill_the_fields_by_their_types() {
    let host = host_with(&["echo"]).await;
    for (path, result) in [
        ("sum?a=1&b=2", json!(3)),
        ("sum?a=1", json!(1)),
        ("bool?value", json!(true)),
        ("bool?value=0", json!(false)),
        ("u64?value=18446744073709551615", json!("18446744073709551615")),
        ("f64?value=NaN", json!("NaN")),
        ("f64?value=1.5", json!(1.5)),
        ("char?value=%C3%9F", json!("ß")),
        ("string?value=1", json!("1")),
        ("string?value=%7B%7D", json!("{}")),
        ("strings?value=a&value=b", json!(["a", "b"])),
        ("strings?value[]=a&value[]=b", json!(["a", "b"])),
        ("strings?value=%5B%22a%22%5D", json!(["a"])),
        ("points?value.0.x=1&value.0.y=2&value.1.x=3&value.1.y=4", json!([{"x": 1, "y": 2}, {"x": 3, "y": 4}])),
        ("color?value=blue-green", json!("blue_green")),
        ("permissions?value=read&value=execute-all", json!(["read", "execute_all"])),
        ("shape?value.circle=1.5", json!({"circle": 1.5})),
        ("shape?value=empty", json!("empty")),
        ("map?value[a]=1&value[b]=2", json!({"a": 1, "b": 2})),
        ("option?value=", json!("")),
        ("option", json!(null)),
        ("nested-option?value=5", json!({"some": 5})),
    ] {
        assert_eq!(host.get(&format!("/echo/echo/{path}")).await.result(), result, "{path}");
    }
    assert_eq!(host.get("/echo/echo/point?x=1&y=-2").await.ok(), json!({"x": 1, "y": -2}));
    assert_eq!(host.get("/echo/echo/kebab?firstName=J&http-status=1").await.ok()["first_name"], json!("J"));
}

#[tokio::test(flavor = "multi_thread")]
async fn query_strings_that_do_not_fit_are_refused_with_the_name() {
    let host = host_with(&["echo"]).await;
    for (path, expected) in [
        ("sum", "missing query parameter a: expected integer (u32)"),
        ("sum?a=x", "query parameter a: expected integer (u32), got \"x\""),
        ("sum?a=99999999999", "query parameter a: expected integer (u32)"),
        ("sum?a=1&c=2", "unknown query parameter \"c\""),
        ("bool?value=maybe", "query parameter value: expected boolean, got \"maybe\""),
        ("color?value=gren", "did you mean green?"),
        ("point?x=1", "missing query parameter y"),
        ("points?value.x=1", "expected a number for the place in a list"),
        ("tuple?value=1&value=b", "query parameter value: expected 3 values, got 2"),
    ] {
        let detail = host.get(&format!("/echo/echo/{path}")).await.refused(400);
        assert!(detail.contains(expected), "{path}: {detail}");
    }
    let deep = "a.".repeat(100);
    host.get(&format!("/echo/echo/point?{deep}x=1")).await.refused(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_completes_a_json_body() {
    let host = host_with(&["echo"]).await;
    let sum = |path: &'static str, body: &'static str| host.post(path, "application/json", body);
    assert_eq!(sum("/echo/echo/sum?b=2", r#"{"a": 1}"#).await.result(), json!(3));
    assert_eq!(sum("/echo/echo/sum?a=10&b=2", r#"{"a": 1}"#).await.result(), json!(3), "the body's own value stands");
    assert_eq!(sum("/echo/echo/sum?a=1", "").await.result(), json!(1), "an empty body");
    let detail = sum("/echo/echo/sum?b=x", r#"{"a": 1}"#).await.refused(400);
    assert!(detail.contains("query parameter b"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_leave_as_they_are_unless_json_is_wanted() {
    let host = host_with(&["big"]).await;
    let ask = async |accept: &str| {
        let headers = [("content-type", "application/json"), ("accept", accept)];
        host.send(Method::POST, "/big/big/bytes", &headers, Bytes::from_static(b"{\"size\": 3}")).await
    };
    for accept in ["", "*/*", "image/*"] {
        let plain = ask(accept).await;
        assert_eq!((plain.status, &plain.body[..]), (200, &[0, 1, 2][..]), "{accept}");
        assert!(!plain.header("content-type").contains("json"), "{accept}");
    }
    let json = ask("application/json").await;
    assert_eq!(json.result(), json!("AAEC"));
    assert_eq!(json.header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_of_bytes_is_told_by_the_manifest_or_by_the_bytes() {
    let host = host_with(&["echo"]).await;
    for (body, content_type) in [
        (Bytes::from_static(PNG), "image/png"),
        (Bytes::from_static(b"\xff\xd8\xff\xe0\0\x10JFIF"), "image/jpeg"),
        (Bytes::from_static("grüße".as_bytes()), "text/plain; charset=utf-8"),
        (Bytes::from_static(b"\xff\xfe\xfd"), "application/octet-stream"),
    ] {
        let back = host.post("/echo/echo/bytes", BYTES, body.clone()).await;
        assert_eq!((back.status, &back.body), (200, &body));
        assert_eq!(back.header("content-type"), content_type);
    }
    let manifest = "[reply]\ncontent-type = \"image/x-own\"";
    host.deploy_as("echo", with_manifest(&guest("echo"), manifest)).await.ok();
    let back = host.post("/echo/echo/bytes", BYTES, Bytes::from_static(PNG)).await;
    assert_eq!(back.header("content-type"), "image/x-own");
    let json = host.post("/echo/echo/sum", "application/json", "{\"a\":1}").await;
    assert_eq!(json.header("content-type"), "application/json", "JSON stays JSON");
}

/// Clients that do not escape what they should are common, and what they mean is plain.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_in_plain_utf8_is_read() {
    let host = Host::start().await;
    host.deploy_as("greeter", function("greeter")).await.ok();
    let mut connection = TcpStream::connect(host.api.trim_start_matches("http://")).await.unwrap();
    let request = "GET /greeter/say/hello?name=J\u{f6}rg HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    assert!(response.ends_with("{\"msg\":\"Hello J\u{f6}rg\"}"), "{response}");
}
