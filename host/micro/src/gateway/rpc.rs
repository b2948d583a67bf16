//! `/rpc`: a call whose service and endpoint are named in the body, as JSON or as a form. Where the body is messages, one
//! on each line, the query names them.

use super::{Gateway, answer, body, error_response, stream};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;
use micro_mesh::{Call, Error, Payload};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

const ID: &str = "go.micro.rpc";

/// The header with which a caller limits the time of its call, in seconds.
const TIMEOUT: &str = "timeout";

/// What the body says.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Rpc {
    service: String,
    endpoint: String,
    /// What `endpoint` was called before.
    method: String,
    /// An object, or a string that holds one.
    request: Option<Box<RawValue>>,
}

pub(crate) async fn rpc(State(gateway): State<Gateway>, request: Request) -> Response {
    let arrival = gateway.runtime.tracer().arrival(&request);
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return error_response(Error::method_not_allowed(ID, "use POST"));
    }
    if stream::is_lines(&parts.headers) {
        let named = read_form(parts.uri.query().unwrap_or_default().as_bytes(), b"");
        return match named.and_then(|rpc| rpc.call(parts.headers)) {
            Ok(call) => stream::lines(&gateway, call, (parts.extensions, body), arrival).await,
            Err(error) => error_response(error),
        };
    }
    match read(&gateway, parts, body).await {
        Ok(call) => answer(&gateway, call, arrival).await,
        Err(error) => error_response(error),
    }
}

async fn read(gateway: &Gateway, parts: Parts, body: Body) -> Result<Call, Error> {
    let body = body::read(gateway, body).await?;
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rpc = Rpc::read(content_type, parts.uri.query().unwrap_or_default().as_bytes(), &body)?;
    let mut call = rpc.call(parts.headers)?;
    call.header.insert(ACCEPT, HeaderValue::from_static(micro_mesh::call::JSON));
    Ok(call)
}

impl Rpc {
    /// Reads a body of JSON, or of a form together with the query.
    pub fn read(content_type: &str, query: &[u8], body: &[u8]) -> Result<Rpc, Error> {
        // curl says "form" of whatever it is given; an object in braces is JSON.
        if content_type.contains("json") || body.trim_ascii_start().starts_with(b"{") {
            return serde_json::from_slice(body)
                .map_err(|error| Error::bad_request(ID, format!("not valid JSON: {error}")));
        }
        read_form(query, body)
    }

    /// The call that it names, with what HTTP headers say.
    pub fn call(self, headers: HeaderMap) -> Result<Call, Error> {
        let endpoint = if self.endpoint.is_empty() { self.method } else { self.endpoint };
        if self.service.is_empty() {
            return Err(Error::bad_request(ID, "invalid service"));
        }
        if endpoint.is_empty() {
            return Err(Error::bad_request(ID, "invalid endpoint"));
        }
        let message = request_text(self.request.as_deref())?;
        let call = super::new_call(self.service, endpoint, Payload::json(message), headers)?;
        let timeout = call.header.get(TIMEOUT).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(match timeout {
            Some(seconds) => call.within(Duration::from_secs(seconds)),
            None => call,
        })
    }
}

fn read_form(query: &[u8], body: &[u8]) -> Result<Rpc, Error> {
    let mut rpc = Rpc::default();
    for (name, value) in form_urlencoded::parse(query).chain(form_urlencoded::parse(body)) {
        match &*name {
            "service" => rpc.service = value.into_owned(),
            "endpoint" => rpc.endpoint = value.into_owned(),
            "method" => rpc.method = value.into_owned(),
            "request" => {
                let raw = RawValue::from_string(value.into_owned());
                rpc.request = Some(
                    raw.map_err(|error| Error::bad_request(ID, format!("error decoding request string: {error}")))?,
                );
            }
            _ => {}
        }
    }
    match rpc.request {
        Some(_) => Ok(rpc),
        None => Err(Error::bad_request(ID, "error decoding request string: EOF")),
    }
}

/// The request as JSON text; one that is a string holds the text.
fn request_text(request: Option<&RawValue>) -> Result<String, Error> {
    let Some(raw) = request else { return Ok(String::new()) };
    if raw.get().starts_with('"') {
        return serde_json::from_str(raw.get())
            .map_err(|error| Error::bad_request(ID, format!("error decoding request string: {error}")));
    }
    Ok(if raw.get() == "null" { String::new() } else { raw.get().to_string() })
}
