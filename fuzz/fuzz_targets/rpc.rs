//! `/rpc`: the content type, the query and the body, each on a line, the body to the end.
#![no_main]

use axum::http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use micro::gateway::rpc::Rpc;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (Some(content_type), Some(query), Some(body)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Ok(content_type) = std::str::from_utf8(content_type) else { return };
    let mut headers = HeaderMap::new();
    if let Ok(timeout) = axum::http::HeaderValue::from_bytes(content_type.as_bytes()) {
        headers.insert("timeout", timeout);
    }
    match Rpc::read(content_type, query, body).and_then(|rpc| rpc.call(headers)) {
        Ok(call) => assert!(!call.service.is_empty() && !call.endpoint.is_empty()),
        Err(error) => assert!((400..500).contains(&error.code), "{error:?}"),
    }
});
