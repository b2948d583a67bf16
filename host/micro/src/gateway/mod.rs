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
mod rpc;

pub(crate) use body::read_up_to;
pub(crate) use error::error_response;
pub(crate) use rpc::rpc;

use crate::runtime::QUERY;
use crate::runtime::Runtime;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use micro_mesh::{Call, Client, Error, Payload, Reply};
use std::borrow::Cow;
use std::sync::Arc;

/// A path longer than this names nothing.
const MAX_URI: usize = 8 * 1024;

/// The header that tells which log lines belong to a reply.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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

/// The gateway's routes.
pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/", get(version))
        .route("/favicon.ico", get(|| async { StatusCode::OK }))
        .route("/rpc", any(rpc))
        .route("/openapi.json", get(openapi::document))
        .fallback(call)
        .with_state(gateway)
}

async fn version() -> Response {
    axum::Json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// Any other path is a call.
pub(crate) async fn call(State(gateway): State<Gateway>, request: Request) -> Response {
    match read_call(&gateway, request).await {
        Ok(call) => answer(&gateway, call).await,
        Err(error) => error_response(error),
    }
}

/// Makes a call and puts its outcome into a response.
pub(crate) async fn answer(gateway: &Gateway, call: Call) -> Response {
    let id = call.id;
    let mut response = match gateway.client.call(call).await {
        Ok(reply) => reply_response(reply),
        Err(error) => error_response(error),
    };
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn read_call(gateway: &Gateway, request: Request) -> Result<Call, Error> {
    let (parts, body) = request.into_parts();
    if parts.uri.path().len() + parts.uri.query().map_or(0, str::len) > MAX_URI {
        return Err(Error::new(ID, 414, format!("the path is longer than {MAX_URI} bytes")));
    }
    let takes_body = match parts.method {
        Method::GET => false,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => true,
        _ => {
            return Err(Error::method_not_allowed(ID, format!("{} is not a call: use GET or POST", parts.method)));
        }
    };
    let target = path::resolve(parts.uri.path()).map_err(|reason| Error::not_found(ID, reason))?;
    let service = find_service(gateway, target.name);
    let body = if takes_body { body::read(body).await? } else { bytes::Bytes::new() };
    let content_type = match parts.headers.get(CONTENT_TYPE).map(HeaderValue::to_str) {
        _ if !takes_body => Cow::Borrowed(""),
        None => Cow::Borrowed(""),
        Some(Ok(micro_mesh::call::JSON)) => Cow::Borrowed(micro_mesh::call::JSON),
        Some(Ok(other)) => Cow::Owned(other.to_string()),
        Some(Err(_)) => return Err(Error::bad_request(ID, "the header content-type is not text")),
    };
    let mut call = Call::new(service, target.endpoint, Payload::Bytes { content_type, body });
    call.header = metadata(parts.headers);
    if let Some(query) = parts.uri.query()
        && let Ok(query) = HeaderValue::try_from(query)
    {
        call.header.insert(QUERY, query);
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

/// What of a request's headers travels with the call: all but those that speak of this connection.
fn metadata(mut headers: HeaderMap) -> HeaderMap {
    for own in [CONTENT_TYPE, CONTENT_LENGTH, HOST, HeaderName::from_static(QUERY)] {
        headers.remove(own);
    }
    headers
}

fn reply_response(reply: Reply) -> Response {
    let Payload::Bytes { content_type, body } = reply.payload else {
        return error_response(Error::internal(ID, "a reply that cannot leave the process"));
    };
    let mut response = Response::new(axum::body::Body::from(body));
    let content_type = match content_type {
        Cow::Borrowed(text) => Ok(HeaderValue::from_static(text)),
        Cow::Owned(text) => HeaderValue::try_from(text),
    };
    if let Ok(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}
