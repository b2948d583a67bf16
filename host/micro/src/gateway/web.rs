//! Requests that go to a guest as they are, and what it answers.
//!
//! What a guest sees of a request: its method, path and query; the authority that the client asked for; its headers but
//! for those of the connection; and these, which the gateway sets itself:
//!
//! | header | holds |
//! |---|---|
//! | `x-micro-web-base-path` | the part of the path that named the deployment, where one did |
//! | `x-request-id` | the id of the request, as the response has it |
//! | `x-forwarded-…` | the way that it came, see [`forwarded`] |

use super::forwarded::Peer;
use super::{Gateway, ID, MAX_URI, VERSION, forwarded, refuse, with_id};
use crate::doors::allow_leisure;
use crate::runtime::WebCall;
use crate::telemetry::{Arrival, TRACESTATE};
use axum::body::Body;
use axum::http::header::{CONNECTION, EXPECT, HOST, TE};
use axum::http::request::Parts;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use axum::response::Response;
use bytes::Bytes;
use micro_engine::WebRequest;
use micro_mesh::call::RequestId;
use micro_mesh::trace::{TRACEPARENT, Trace};
use micro_mesh::{Call, Error, Payload};
use std::borrow::Cow;
use std::sync::Arc;

/// The part of the path that named the deployment, as go-micro's web tells it.
const BASE_PATH: HeaderName = HeaderName::from_static("x-micro-web-base-path");

/// The endpoint of requests that go to a handler, where calls are traced.
const HANDLER: &str = "HTTP";

/// Who is asked for where a client of HTTP/1.0 does not say.
const NOBODY: Authority = Authority::from_static("localhost");

/// Passes a request to the handler of a deployment. `prefix` is how much of its path is the deployment's name.
pub(super) async fn serve(
    gateway: &Gateway,
    service: Arc<str>,
    prefix: usize,
    request: (Parts, Body),
    peer: Option<&Peer>,
    arrival: Arrival,
) -> Response {
    let (mut parts, body) = request;
    allow_leisure(&parts.extensions);
    let mut traced = traced(&service, &parts.headers);
    let mut span = arrival.call(&mut traced);
    let id = traced.id;
    if let Some(place) = traced.header.remove(TRACEPARENT) {
        parts.headers.insert(TRACEPARENT, place);
    }
    if !traced.header.contains_key(TRACESTATE) {
        parts.headers.remove(TRACESTATE);
    }
    let call = match read(&service, prefix, (parts, body), peer, id) {
        Ok(call) => call,
        Err(error) => return refuse(gateway, &service, id, error, span),
    };
    match gateway.runtime.serve_web(call).await {
        Ok(response) => {
            span.answered(response.status());
            let response = response.map(|body| match body.into_whole() {
                Ok(whole) => Body::from(whole),
                Err(streamed) => Body::new(streamed),
            });
            with_id(response, id)
        }
        Err(error) => refuse(gateway, &service, id, error, span),
    }
}

/// A call that stands for the request where calls are traced, with the place that its client gives it in a trace.
fn traced(service: &Arc<str>, headers: &HeaderMap) -> Call {
    let nothing = Payload::Bytes { content_type: Cow::Borrowed(""), body: Bytes::new() };
    let mut call = Call::new(service.clone(), HANDLER, nothing);
    for name in [TRACEPARENT, TRACESTATE] {
        if let Some(value) = headers.get(&name) {
            call.header.insert(name, value.clone());
        }
    }
    if let Some((id, trace)) = Trace::read(&call.header) {
        (call.id, call.trace) = (id, Some(trace));
    }
    call
}

fn read(
    service: &Arc<str>,
    prefix: usize,
    (parts, body): (Parts, Body),
    peer: Option<&Peer>,
    id: RequestId,
) -> Result<WebCall, Error> {
    let Parts { method, uri, mut headers, .. } = parts;
    if method == Method::CONNECT {
        return Err(Error::method_not_allowed(ID, "CONNECT: this host is no proxy"));
    }
    if uri.path().len() + uri.query().map_or(0, str::len) > MAX_URI {
        return Err(Error::new(ID, 414, format!("the path is longer than {MAX_URI} bytes")));
    }
    let version = match headers.get(VERSION).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(version)) => Some(Arc::from(version)),
        Some(Err(_)) => return Err(Error::bad_request(ID, "the header micro-version is not text")),
    };
    let authority = authority(&uri, &headers)?;
    set_headers(&mut headers, uri.path().get(..prefix).unwrap_or_default(), &authority, peer, id);
    let uri = absolute(uri, prefix, authority)?;
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    let request = WebRequest::new(request);
    Ok(WebCall { service: service.clone(), version, id, request })
}

/// Whom the client asked for.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Error> {
    if let Some(authority) = uri.authority() {
        return Ok(authority.clone());
    }
    match headers.get(HOST) {
        None => Ok(NOBODY),
        Some(host) => Authority::try_from(host.as_bytes())
            .map_err(|_| Error::bad_request(ID, format!("the header host is no name of a host: {host:?}"))),
    }
}

/// The URI that the guest sees: absolute, and without the deployment's name.
fn absolute(uri: Uri, prefix: usize, authority: Authority) -> Result<Uri, Error> {
    let mut parts = uri.into_parts();
    let whole = parts.path_and_query.take();
    parts.path_and_query = Some(match &whole {
        Some(whole) if prefix > 0 => {
            let rest = whole.as_str().get(prefix..).unwrap_or_default();
            let rest = match rest.starts_with('/') {
                true => PathAndQuery::try_from(rest),
                // `/site` and `/site?page=1` are the site's first page.
                false => PathAndQuery::try_from(format!("/{rest}")),
            };
            rest.map_err(|error| Error::bad_request(ID, format!("the path: {error}")))?
        }
        _ => whole.unwrap_or(PathAndQuery::from_static("/")),
    });
    parts.authority = Some(authority);
    parts.scheme = Some(Scheme::HTTP);
    Uri::from_parts(parts).map_err(|error| Error::bad_request(ID, format!("the path: {error}")))
}

/// Takes away what is of the connection alone or what only the gateway may say, and says it.
fn set_headers(headers: &mut HeaderMap, base: &str, authority: &Authority, peer: Option<&Peer>, id: RequestId) {
    if headers.contains_key(CONNECTION) {
        let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let named: Vec<HeaderName> =
            named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    // The host has answered it: it says `100 Continue` when the guest asks for the body.
    headers.remove(EXPECT);
    if headers.get(TE).is_some_and(|accepted| accepted != "trailers") {
        headers.remove(TE);
    }
    forwarded::set(headers, authority.as_str(), peer);
    headers.remove(BASE_PATH);
    if !base.is_empty() {
        forwarded::insert(headers, BASE_PATH, HeaderValue::try_from(base));
    }
    forwarded::insert(headers, super::REQUEST_ID, HeaderValue::from_bytes(&id.to_hex()));
}

/// The host name that a request asks for, without a port.
pub(super) fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.host());
    }
    let host = headers.get(HOST)?.to_str().ok()?;
    // An address of version 6 stands in brackets, and names nobody.
    Some(host.split_once(':').map_or(host, |(name, _)| name))
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
