//! The door for everybody: HTTP in, calls out, by go-micro's path rules.
//!
//! | path | what |
//! |---|---|
//! | `/{service}/{path…}` | a call, see [`path`]; a request for a deployment that takes them as they are, see [`web`]; a run, where the service is a command, see [`cgi`] |
//! | `/rpc` | a call named in the body, see [`mod@rpc`] |
//! | `/openapi.json` | what all deployments offer, see [`openapi`] |
//! | `/` | the version |
//!
//! Told to take events, it publishes what would be a call, see [`event`].

mod body;
mod cgi;
mod error;
mod event;
mod forwarded;
mod openapi;
pub mod path;
pub mod rpc;
mod stream;
mod web;

pub(crate) use body::read_up_to;
pub(crate) use error::error_response;
pub(crate) use rpc::rpc;
pub(crate) use stream::is_web_socket;

use crate::doors::Doors;
use crate::runtime::{Destination, Runtime, query_with};
use crate::telemetry::{Arrival, Span};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use forwarded::Peer;
use futures::future::BoxFuture;
use micro_mesh::call::RequestId;
use micro_mesh::trace::Trace;
use micro_mesh::{Call, Client, Error, Payload, Reply};
use std::borrow::Cow;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

/// A path longer than this names nothing.
const MAX_URI: usize = 8 * 1024;

/// Headers that speak of a request, and not of what is published with it.
pub(crate) const OF_THE_REQUEST: [HeaderName; 6] = [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, UPGRADE];

/// The header that tells which log lines belong to a reply.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header that asks for a version of the service.
const VERSION: HeaderName = HeaderName::from_static("micro-version");

/// What errors of the gateway itself are signed with.
const ID: &str = "go.micro.api";

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) client: Client,
    pub(crate) runtime: Arc<Runtime>,
    /// Put in front of a path's name, and tried first.
    pub(crate) namespace: Arc<str>,
    pub(crate) doors: Arc<Doors>,
    /// Whether requests are events and no calls.
    pub(crate) takes_events: bool,
}

/// The gateway: a few pages, and calls. Each connection has one of its own, which its requests share.
#[derive(Clone)]
pub(crate) struct Door(Arc<Side>);

/// What a connection sees of the gateway.
struct Side {
    inside: Arc<Inside>,
    /// Who is on the other side, where that is known.
    peer: Option<Peer>,
}

/// What is behind the door.
struct Inside {
    gateway: Gateway,
    pages: Router,
}

impl Inside {
    /// Whether the request is for the host name of a deployment, where the gateway has no pages.
    fn is_elsewhere(&self, request: &Request) -> bool {
        let paths = self.gateway.runtime.paths();
        paths.has_hosts() && web::host(request.uri(), request.headers()).is_some_and(|host| paths.is_owned(host))
    }
}

/// The paths that are no calls.
const PAGES: [&str; 4] = ["/", "/favicon.ico", "/rpc", "/openapi.json"];

impl Door {
    pub(crate) fn new(gateway: Gateway) -> Door {
        let [version_page, icon, rpc_page, document] = PAGES;
        let pages = Router::new()
            .route(version_page, get(version))
            .route(icon, get(|| async { StatusCode::OK }))
            .route(rpc_page, any(rpc))
            .route(document, get(openapi::document))
            .with_state(gateway.clone());
        Door(Arc::new(Side { inside: Arc::new(Inside { gateway, pages }), peer: None }))
    }

    /// The door for one connection.
    pub(crate) fn seen_from(&self, peer: IpAddr) -> Door {
        Door(Arc::new(Side { inside: self.0.inside.clone(), peer: Some(Peer::new(peer)) }))
    }
}

/// Calls pass by the router, whose layers of boxes cost as much as all else that the gateway does for a call.
impl tower_service::Service<Request> for Door {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let inside = &self.0.inside;
        if PAGES.contains(&request.uri().path()) && !inside.is_elsewhere(&request) {
            return Box::pin(inside.pages.clone().call(request));
        }
        let side = self.0.clone();
        if side.inside.gateway.takes_events {
            return Box::pin(async move { Ok(event::serve(&side.inside.gateway, request).await) });
        }
        Box::pin(async move { Ok(serve_call(&side.inside.gateway, request, side.peer.as_ref()).await) })
    }
}

async fn version() -> Response {
    axum::Json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// The handler of a router whose other paths are calls.
pub(crate) async fn call(State(gateway): State<Gateway>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| Peer::new(info.0.ip()));
    serve_call(&gateway, request, peer.as_ref()).await
}

async fn serve_call(gateway: &Gateway, request: Request, peer: Option<&Peer>) -> Response {
    let arrival = gateway.runtime.tracer().arrival(&request);
    let (parts, body) = request.into_parts();
    let host = web::host(&parts.uri, &parts.headers);
    let path = parts.uri.path();
    let destination = match gateway.runtime.destination(host, &parts.method, path, &gateway.namespace) {
        // Boxed, so that calls need no room for it.
        Destination::Handler { service, prefix } => {
            return Box::pin(web::serve(gateway, service, prefix, (parts, body), peer, arrival)).await;
        }
        Destination::Command { service } if !cgi::is_endpoint(&service, path) => {
            return Box::pin(cgi::serve(gateway, service, (parts, body), peer, arrival)).await;
        }
        other => other,
    };
    if parts.method == Method::GET && is_web_socket(&parts.headers) {
        return match read_head(gateway, destination, &parts, parts.headers.clone()) {
            Ok(call) => Box::pin(stream::web_socket(gateway, call, parts, arrival)).await,
            Err(error) => error_response(error),
        };
    }
    if parts.method == Method::POST && stream::is_lines(&parts.headers) {
        return match read_head(gateway, destination, &parts, parts.headers.clone()) {
            Ok(call) => Box::pin(stream::lines(gateway, call, (parts.extensions, body), arrival)).await,
            Err(error) => error_response(error),
        };
    }
    match read_call(gateway, destination, parts, body).await {
        Ok(call) => answer(gateway, call, arrival).await,
        Err(error) => error_response(error),
    }
}

/// Makes a call and puts its outcome into a response.
pub(crate) async fn answer(gateway: &Gateway, mut call: Call, arrival: Arrival) -> Response {
    let span = arrival.call(&mut call);
    let id = call.id;
    let form = stream::Form::of(&call.header);
    let service = call.service.clone();
    match gateway.client.call(call).await {
        Ok(reply) => with_id(reply_response(reply, form, span), id),
        Err(error) => refuse(gateway, &service, id, error, span),
    }
}

/// The response to a call that failed before there was anything to show.
fn refuse(gateway: &Gateway, service: &str, id: RequestId, error: Error, mut span: Span) -> Response {
    let error = gateway.runtime.say_why_absent(service, error);
    span.failed(&error);
    let response = error_response(error);
    span.answered(response.status());
    with_id(response, id)
}

/// The response with the id by which its log lines are found.
fn with_id(mut response: Response, id: RequestId) -> Response {
    if let Ok(id) = HeaderValue::from_bytes(&id.to_hex()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn check_uri(parts: &Parts) -> Result<(), Error> {
    if parts.uri.path().len() + parts.uri.query().map_or(0, str::len) > MAX_URI {
        return Err(Error::new(ID, 414, format!("the path is longer than {MAX_URI} bytes")));
    }
    Ok(())
}

/// The call that a request makes by its path, its query and its headers.
fn read_head(gateway: &Gateway, destination: Destination, parts: &Parts, header: HeaderMap) -> Result<Call, Error> {
    check_uri(parts)?;
    let mut query = parts.uri.query().map(Cow::Borrowed);
    let (service, endpoint) = match destination {
        Destination::Endpoint { service, endpoint, fields } => {
            if !fields.is_empty() {
                query = Some(Cow::Owned(query_with(&fields, parts.uri.query())));
            }
            (service, endpoint)
        }
        Destination::Rules | Destination::Command { .. } | Destination::Handler { .. } => {
            let target = path::resolve(parts.uri.path()).map_err(|reason| Error::not_found(ID, reason))?;
            (find_service(gateway, target.name), target.endpoint.into())
        }
    };
    let payload = Payload::Bytes { content_type: Cow::Borrowed(""), body: bytes::Bytes::new() };
    let mut call = new_call(service, endpoint, payload, header)?;
    call.query = query.map(|query| query.into_owned().into());
    Ok(call)
}

/// A call with what its HTTP headers say.
fn new_call(
    service: impl Into<Arc<str>>,
    endpoint: impl Into<Arc<str>>,
    payload: Payload,
    header: HeaderMap,
) -> Result<Call, Error> {
    let mut call = Call::new(service, endpoint, payload);
    call.header = metadata(header);
    if let Some((id, trace)) = Trace::read(&call.header) {
        (call.id, call.trace) = (id, Some(trace));
    }
    if let Some(version) = call.header.get(VERSION) {
        let text = version.to_str().map_err(|_| Error::bad_request(ID, "the header micro-version is not text"))?;
        call.version = Some(text.into());
    }
    Ok(call)
}

async fn read_call(gateway: &Gateway, destination: Destination, mut parts: Parts, body: Body) -> Result<Call, Error> {
    let takes_body = match parts.method {
        Method::GET => false,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => true,
        _ => {
            return Err(Error::method_not_allowed(ID, format!("{} is not a call: use GET or POST", parts.method)));
        }
    };
    let content_type = match parts.headers.get(CONTENT_TYPE).map(HeaderValue::to_str) {
        _ if !takes_body => Cow::Borrowed(""),
        None => Cow::Borrowed(""),
        Some(Ok(micro_mesh::call::JSON)) => Cow::Borrowed(micro_mesh::call::JSON),
        Some(Ok(other)) => Cow::Owned(other.to_string()),
        Some(Err(_)) => return Err(Error::bad_request(ID, "the header content-type is not text")),
    };
    let header = std::mem::take(&mut parts.headers);
    let mut call = read_head(gateway, destination, &parts, header)?;
    if takes_body {
        let body = body::read_for(gateway, &call.service, body).await?;
        call.payload = Payload::Bytes { content_type, body };
    }
    Ok(call)
}

/// The name with the namespace, if there is such a service, and else the bare name.
fn find_service(gateway: &Gateway, name: Cow<'_, str>) -> Arc<str> {
    if !gateway.namespace.is_empty() {
        let full = format!("{}.{name}", gateway.namespace);
        if gateway.client.cache().get(&full).is_some() {
            return full.into();
        }
    }
    name.into()
}

/// What of a request's headers travels with the call: all but those that speak of its body and of this host.
fn metadata(mut headers: HeaderMap) -> HeaderMap {
    for own in [CONTENT_TYPE, CONTENT_LENGTH, HOST] {
        headers.remove(own);
    }
    headers
}

fn reply_response(reply: Reply, form: stream::Form, mut span: Span) -> Response {
    let (content_type, body) = match reply.payload {
        Payload::Bytes { content_type, body } => (content_type, body),
        Payload::Stream(exchange) => return stream::response(*exchange, form, span),
        Payload::Value(_) => return error_response(Error::internal(ID, "a reply that cannot leave the process")),
    };
    let mut response = Response::new(Body::from(body));
    if let Some(status) = reply.status {
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        response.headers_mut().extend(reply.header);
        span.answered(response.status());
        return response;
    }
    let content_type = match content_type {
        Cow::Borrowed(text) => Ok(HeaderValue::from_static(text)),
        Cow::Owned(text) => HeaderValue::try_from(text),
    };
    if let Ok(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    span.answered(response.status());
    response
}
