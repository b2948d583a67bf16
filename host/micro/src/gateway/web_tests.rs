use super::*;

fn seen(uri: &str, prefix: usize) -> String {
    absolute(uri.parse().unwrap(), prefix, Authority::from_static("example.com:81")).unwrap().to_string()
}

#[test]
fn a_guest_sees_its_path_without_the_name_and_the_authority_that_was_asked_for() {
    assert_eq!(seen("/site/a/b%20c?x=1&y", 5), "http://example.com:81/a/b%20c?x=1&y");
    assert_eq!(seen("/site", 5), "http://example.com:81/");
    assert_eq!(seen("/site?x=1", 5), "http://example.com:81/?x=1");
    assert_eq!(seen("/site//a/../b", 5), "http://example.com:81//a/../b");
    assert_eq!(seen("/whole/path?q", 0), "http://example.com:81/whole/path?q");
    assert_eq!(seen("http://other/path", 0), "http://example.com:81/path");
    assert_eq!(seen("*", 0), "http://example.com:81*");
}

fn set(headers: &[(&'static str, &'static str)], peer: Option<&str>) -> HeaderMap {
    let mut map: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
    let peer = peer.map(|peer| Peer::new(peer.parse().unwrap()));
    set_headers(&mut map, "/site", &Authority::from_static("example.com"), peer.as_ref(), RequestId::from(1));
    map
}

#[test]
fn what_only_the_gateway_may_say_is_not_taken_from_a_stranger() {
    let told = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=10.0.0.1"),
        ("x-micro-web-base-path", "/evil"),
        ("x-request-id", "evil"),
    ];
    let headers = set(&told, Some("192.0.2.7"));
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-host"], "example.com");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-micro-web-base-path"], "/site");
    assert_eq!(headers["x-request-id"], format!("{:032x}", 1));
    assert!(!headers.contains_key("forwarded"));
    assert!(!set(&told, None).contains_key("x-forwarded-for"), "nobody knows who it was");

    let headers = set(&told, Some("::ffff:127.0.0.1"));
    assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 127.0.0.1");
    assert_eq!(headers["x-forwarded-host"], "evil");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-micro-web-base-path"], "/site");
}

#[test]
fn what_is_of_the_connection_alone_stays_there() {
    let headers = set(
        &[("connection", "close, x-private"), ("x-private", "1"), ("expect", "100-continue"), ("te", "gzip")],
        None,
    );
    for name in ["x-private", "expect", "te"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_eq!(set(&[("te", "trailers")], None)["te"], "trailers");
}

#[test]
fn a_host_name_has_no_port() {
    let uri: Uri = "/x".parse().unwrap();
    let of = |value| host(&uri, &HeaderMap::from_iter([(HOST, HeaderValue::from_static(value))])).map(str::to_string);
    assert_eq!(of("example.com:8080"), Some("example.com".into()));
    assert_eq!(of("example.com"), Some("example.com".into()));
    assert_eq!(host(&"http://a.example:1/".parse().unwrap(), &HeaderMap::new()), Some("a.example"));
}
