//! A caller's message → the fields of a request, and a reply → what the caller accepts.
//!
//! | the caller sends | it is read as |
//! |---|---|
//! | `application/json`, or a form or untyped body that is a JSON object | JSON; fields it leaves out come from the query |
//! | a form | like a query string, together with the query |
//! | nothing | the query string |
//! | anything else | bytes for the endpoint's one `list<u8>`; the other fields come from the query |

use bytes::Bytes;
use http::header::ACCEPT;
use micro_engine::schema::{Endpoint, Record};
use micro_engine::{Value, json, query};
use micro_mesh::{Call, Error, Payload, Reply};
use std::borrow::Cow;

/// The header that carries the query string of an HTTP request beside its body.
pub(crate) const QUERY: &str = "micro-query";

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = micro_mesh::call::JSON;

/// Reads the request of a call, in the order of the endpoint's fields.
pub(super) fn read(call: &Call, endpoint: &Endpoint) -> Result<Vec<Value>, Error> {
    let Payload::Bytes { content_type, body } = &call.payload else {
        return Err(Error::internal(&*call.service, "a value of another process"));
    };
    let message = &endpoint.request.message;
    let query = call.header.get(QUERY).and_then(|query| query.to_str().ok()).unwrap_or_default();
    let fields = match Form::of(content_type, body, endpoint) {
        Form::Json => read_json(message, body, query),
        Form::Query => query::read_query(message, &join(query, body), none_given(message)),
        Form::Raw(index) => {
            let mut given = none_given(message);
            let bytes = Value::Bytes(body.clone());
            given[index] = Some(if message.fields[index].ty.is_optional() { Value::some(bytes) } else { bytes });
            query::read_query(message, query, given)
        }
        Form::Unfit => {
            return Err(Error::new(
                &*call.service,
                415,
                format!(
                    "a body of type {content_type} does not fit endpoint {}: send application/json (it has not exactly one list<u8> for other bytes)",
                    endpoint.name
                ),
            ));
        }
    };
    fields.map_err(|detail| Error::bad_request(&*call.service, format!("{}: {detail}", endpoint.name)))
}

/// How a body is read.
#[derive(Debug, PartialEq)]
enum Form {
    Json,
    Query,
    /// As bytes, for the field at this place.
    Raw(usize),
    Unfit,
}

impl Form {
    fn of(content_type: &str, body: &[u8], endpoint: &Endpoint) -> Form {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let raw = endpoint.request.raw_field();
        let is_json = media_type.eq_ignore_ascii_case(JSON) || media_type.ends_with("+json");
        let is_form = media_type.eq_ignore_ascii_case(FORM);
        match raw {
            _ if is_json => Form::Json,
            _ if body.is_empty() => Form::Query,
            // curl says "form" of whatever it is given: an object in braces is JSON …
            _ if is_form && looks_like_object(body) => Form::Json,
            // … and what no form can hold is a file.
            Some(index) if is_form && !is_form_encoded(body) => Form::Raw(index),
            _ if is_form => Form::Query,
            Some(index) => Form::Raw(index),
            None if media_type.is_empty() || looks_like_object(body) => Form::Json,
            None => Form::Unfit,
        }
    }
}

fn read_json(message: &Record, body: &[u8], query: &str) -> Result<Vec<Value>, String> {
    if query.is_empty() {
        return json::read_fields(message, body);
    }
    query::read_query(message, query, json::read_given_fields(message, body)?)
}

fn none_given(message: &Record) -> Vec<Option<Value>> {
    message.fields.iter().map(|_| None).collect()
}

fn join<'a>(query: &'a str, form: &'a [u8]) -> Cow<'a, str> {
    let form = String::from_utf8_lossy(form);
    match (query.is_empty(), form.is_empty()) {
        (_, true) => Cow::Borrowed(query),
        (true, _) => form,
        _ => Cow::Owned(format!("{query}&{form}")),
    }
}

fn looks_like_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// Encoded forms are pairs of printable ASCII without spaces.
fn is_form_encoded(body: &[u8]) -> bool {
    body.contains(&b'=') && body.iter().all(u8::is_ascii_graphic)
}

/// Writes the reply of a call in the form that the caller accepts: JSON, or plain bytes where the reply is a `list<u8>`.
pub(super) fn write(
    call: &Call,
    endpoint: &Endpoint,
    reply: Option<&Value>,
    content_type: Option<&str>,
) -> Result<Reply, Error> {
    if let Some(Value::Bytes(bytes)) = reply
        && endpoint.reply.is_bytes()
        && !accepts_only_json(call)
    {
        let content_type = content_type.map_or_else(|| sniff(bytes), |given| Cow::Owned(given.to_string()));
        return Ok(Reply::new(Payload::Bytes { content_type, body: bytes.clone() }));
    }
    let mut out = Vec::with_capacity(128);
    json::write_reply(&endpoint.reply, reply, &mut out)
        .map_err(|reason| Error::internal(&*call.service, format!("the reply cannot be shown: {reason}")))?;
    Ok(Reply::new(Payload::json(out)))
}

fn accepts_only_json(call: &Call) -> bool {
    let accept = call.header.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("json")
}

/// The content type that bytes tell of themselves.
fn sniff(bytes: &Bytes) -> Cow<'static, str> {
    match infer::get(bytes) {
        Some(kind) => Cow::Borrowed(kind.mime_type()),
        None if std::str::from_utf8(bytes).is_ok() => Cow::Borrowed("text/plain; charset=utf-8"),
        None => Cow::Borrowed("application/octet-stream"),
    }
}

#[cfg(test)]
mod tests;
