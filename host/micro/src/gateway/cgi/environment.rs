//! What a program is told of its request: the variables of CGI, and those that WAGI adds.

use super::decoded;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Version};
use std::net::IpAddr;

/// A header of this name would be the variable by which many HTTP clients find their proxy.
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Whom a request is for, with the port if it says one. By HTTP/2 that is in the URI, and by HTTP/1 what is there counts
/// (RFC 9112, section 3.2.2).
pub(super) fn host(parts: &Parts) -> &str {
    let header = || parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().map(http::uri::Authority::as_str).or_else(header).unwrap_or_default()
}

/// The variables for a request of `peer` whose path begins with the service's name.
pub(super) fn of(parts: &Parts, peer: Option<IpAddr>) -> Result<Vec<(String, String)>, String> {
    let path = parts.uri.path();
    let name_end = path.char_indices().skip(1).find(|(_, char)| *char == '/').map_or(path.len(), |(at, _)| at);
    let (script, rest) = path.split_at(name_end);
    let path_info = decoded(rest, "the path")?;
    let query = parts.uri.query().unwrap_or_default();
    let host = host(parts);
    let (server, port) = split_host(host);
    let full_path = parts.uri.path_and_query().map_or(path, |both| both.as_str());
    let protocol = match parts.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    };
    let mut variables: Vec<(String, String)> = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", concat!("micro/", env!("CARGO_PKG_VERSION"))),
        ("SERVER_PROTOCOL", protocol),
        ("SERVER_NAME", server),
        ("SERVER_PORT", port),
        ("REQUEST_METHOD", parts.method.as_str()),
        ("REQUEST_URI", full_path),
        ("SCRIPT_NAME", script),
        ("PATH_INFO", &path_info),
        ("PATH_TRANSLATED", &path_info),
        ("QUERY_STRING", query),
        ("X_RAW_PATH_INFO", rest),
        ("X_MATCHED_ROUTE", &format!("{script}/...")),
        ("X_FULL_URL", &format!("http://{host}{full_path}")),
    ]
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .into();
    variables.extend(peer.map(|peer| ("REMOTE_ADDR".to_string(), peer.to_canonical().to_string())));
    variables.extend(of_headers(&parts.headers));
    Ok(variables)
}

/// A header's values in one, as each of `HTTP_…`; those that speak of the body have names of their own.
fn of_headers(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    // With a '_' in it, it could pass for one that has a '-' there.
    let names = headers.keys().filter(|name| **name != PROXY && !name.as_str().contains('_'));
    names.map(|name| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let separator = if name == COOKIE { "; " } else { ", " };
        let value = values.collect::<Vec<_>>().join(separator);
        let upper = name.as_str().to_ascii_uppercase().replace('-', "_");
        let is_of_body = *name == CONTENT_TYPE || *name == CONTENT_LENGTH;
        (if is_of_body { upper } else { format!("HTTP_{upper}") }, value)
    })
}

/// The name and the port of `host:port`, of `[::1]:port` as well.
fn split_host(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, "80"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn variables(uri: &str, headers: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let mut request = Request::builder().method("PATCH").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let variables = of(&parts, Some("::ffff:10.1.2.3".parse().unwrap())).unwrap();
        move |wanted| {
            let mut found = variables.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.clone());
            let first = found.next();
            assert_eq!(found.next(), None, "{wanted} is there twice");
            first
        }
    }

    #[test]
    fn a_program_is_told_of_its_request_as_cgi_has_it() {
        let headers = [
            ("host", "example.org:8080"),
            ("content-type", "text/plain"),
            ("content-length", "3"),
            ("x-thing", "a"),
            ("x-thing", "b"),
            ("cookie", "c=1"),
            ("cookie", "d=2"),
            ("proxy", "http://evil"),
            ("x_thing", "spoofed"),
        ];
        let get = variables("/wc/a%20b/c?x=1&y", &headers);
        for (name, value) in [
            ("REQUEST_METHOD", "PATCH"),
            ("SCRIPT_NAME", "/wc"),
            ("PATH_INFO", "/a b/c"),
            ("X_RAW_PATH_INFO", "/a%20b/c"),
            ("X_MATCHED_ROUTE", "/wc/..."),
            ("QUERY_STRING", "x=1&y"),
            ("REQUEST_URI", "/wc/a%20b/c?x=1&y"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "10.1.2.3"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "3"),
            ("HTTP_HOST", "example.org:8080"),
            ("HTTP_X_THING", "a, b"),
            ("HTTP_COOKIE", "c=1; d=2"),
        ] {
            assert_eq!(get(name).as_deref(), Some(value), "{name}");
        }
        for name in ["HTTP_PROXY", "HTTP_CONTENT_TYPE"] {
            assert_eq!(get(name), None, "{name}");
        }
        let get = variables("/wc", &[("host", "[::1]")]);
        assert_eq!((get("PATH_INFO"), get("SCRIPT_NAME")), (Some(String::new()), Some("/wc".into())));
        assert_eq!((get("SERVER_NAME"), get("SERVER_PORT")), (Some("[::1]".into()), Some("80".into())));
    }

    #[test]
    fn the_target_says_before_the_header_for_which_host_a_request_is() {
        let get = variables("http://target.example:1/wc", &[("host", "header.example:2")]);
        assert_eq!((get("SERVER_NAME"), get("SERVER_PORT")), (Some("target.example".into()), Some("1".into())));
        assert_eq!(get("X_FULL_URL").as_deref(), Some("http://target.example:1/wc"));
    }
}
