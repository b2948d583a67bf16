//! The door for everybody: HTTP in, calls out, by go-micro's path rules.
//!
//! | path | what |
//! |---|---|
//! | `/{service}/{path…}` | a call, see [`path`] |
//! | `/rpc` | a call named in the body, see [`mod@rpc`] |
//! | `/openapi.json` | what all deployments offer, see [`openapi`] |
//! | `/` | the version |

mod body;
mod error;
mod openapi;
pub mod path;
pub mod rpc;
mod stream;

pub(crate) use body::read_up_to;
pub(crate) use error::error_response;
pub(crate) use rpc::rpc;

use crate::runtime::Runtime;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures::future::BoxFuture;
use micro_mesh::call::RequestId;
use micro_mesh::{Call, Client, Error, Payload, Reply};
use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A path longer than this names nothing.
const MAX_URI: usize = 8 * 1024;

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
}

/// The gateway: a few pages, and calls.
#[derive(Clone)]
pub(crate) struct Door(Arc<Inside>);

/// What is behind the door, in one piece: it is shared with every request.
struct Inside {
    gateway: Gateway,
    pages: Router,
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
        Door(Arc::new(Inside { gateway, pages }))
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
        if PAGES.contains(&request.uri().path()) {
            return Box::pin(self.0.pages.clone().call(request));
        }
        let inside = self.0.clone();
        Box::pin(async move { Ok(serve_call(&inside.gateway, request).await) })
    }
}

async fn version() -> Response {
    axum::Json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// The handler of a router whose other paths are calls.
pub(crate) async fn call(State(gateway): State<Gateway>, request: Request) -> Response {
    serve_call(&gateway, request).await
}

async fn serve_call(gateway: &Gateway, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method == Method::GET && stream::is_web_socket(&parts.headers) {
        return match read_head(gateway, &parts, parts.headers.clone()) {
            Ok(call) => stream::web_socket(gateway, call, parts).await,
            Err(error) => error_response(error),
        };
    }
    if parts.method == Method::POST && stream::is_lines(&parts.headers) {
        return match read_head(gateway, &parts, parts.headers.clone()) {
            Ok(call) => stream::lines(gateway, call, body).await,
            Err(error) => error_response(error),
        };
    }
    match read_call(gateway, parts, body).await {
        Ok(call) => answer(gateway, call).await,
        Err(error) => error_response(error),
    }
}

/// Makes a call and puts its outcome into a response.
pub(crate) async fn answer(gateway: &Gateway, call: Call) -> Response {
    let id = call.id;
    let form = stream::Form::of(&call.header);
    let service = call.service.clone();
    match gateway.client.call(call).await {
        Ok(reply) => with_id(reply_response(reply, form), id),
        Err(error) => refuse(gateway, &service, id, error),
    }
}

/// The response to a call that failed before there was anything to show.
fn refuse(gateway: &Gateway, service: &str, id: RequestId, error: Error) -> Response {
    with_id(error_response(gateway.runtime.say_why_absent(service, error)), id)
}

/// The response with the id by which its log lines are found.
fn with_id(mut response: Response, id: RequestId) -> Response {
    if let Ok(id) = HeaderValue::from_bytes(&id.to_hex()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The call that a request makes by its path, its query and its headers.
fn read_head(gateway: &Gateway, parts: &Parts, header: HeaderMap) -> Result<Call, Error> {
    if parts.uri.path().len() + parts.uri.query().map_or(0, str::len) > MAX_URI {
        return Err(Error::new(ID, 414, format!("the path is longer than {MAX_URI} bytes")));
    }
    let mut query = parts.uri.query().map(Cow::Borrowed);
    let (service, endpoint) = match gateway.runtime.paths().find(&parts.method, parts.uri.path()) {
        Some(found) => {
            if !found.fields.is_empty() {
                query = Some(Cow::Owned(found.query(parts.uri.query())));
            }
            (found.service, found.endpoint)
        }
        None => {
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
    if let Some(version) = call.header.get(VERSION) {
        let text = version.to_str().map_err(|_| Error::bad_request(ID, "the header micro-version is not text"))?;
        call.version = Some(text.into());
    }
    Ok(call)
}

async fn read_call(gateway: &Gateway, mut parts: Parts, body: Body) -> Result<Call, Error> {
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
    let mut call = read_head(gateway, &parts, header)?;
    if takes_body {
        call.payload = Payload::Bytes { content_type, body: body::read(body).await? };
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

fn reply_response(reply: Reply, form: stream::Form) -> Response {
    let (content_type, body) = match reply.payload {
        Payload::Bytes { content_type, body } => (content_type, body),
        Payload::Stream(exchange) => return stream::response(*exchange, form),
        Payload::Value(_) => return error_response(Error::internal(ID, "a reply that cannot leave the process")),
    };
    let mut response = Response::new(Body::from(body));
    if let Some(status) = reply.status {
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        response.headers_mut().extend(reply.header);
        return response;
    }
    let content_type = match content_type {
        Cow::Borrowed(text) => Ok(HeaderValue::from_static(text)),
        Cow::Owned(text) => HeaderValue::try_from(text),
    };
    if let Ok(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}
