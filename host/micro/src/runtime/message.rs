//! A caller's message → the fields of a request, and a reply → what the caller accepts.
//!
//! | the caller sends | it is read as |
//! |---|---|
//! | `application/json`, or a form or untyped body that is a JSON object | JSON; fields it leaves out come from the query |
//! | a form | like a query string, together with the query |
//! | nothing | the query string |
//! | anything else | bytes for the endpoint's one `list<u8>`; the other fields come from the query |

mod delivered;
pub(super) mod raw;

pub(super) use delivered::MESSAGE_HANDLERS;

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use micro_engine::schema::{Endpoint, Record};
use micro_engine::value::Arguments;
use micro_engine::{Protos, Value, json, query};
use micro_mesh::{Call, Error, Payload, Reply};
use std::borrow::Cow;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = micro_mesh::call::JSON;

/// Reads the request of a call, in the order of the endpoint's fields.
pub(super) fn read(call: &Call, endpoint: &Endpoint, protos: Option<&Protos>) -> Result<Vec<Value>, Error> {
    if let (Some(raw), Some(protos)) = (&endpoint.raw, protos) {
        return raw::read(call, endpoint, raw, protos);
    }
    if let Some(arguments) = delivered::read(call, endpoint) {
        return Ok(arguments);
    }
    let (content_type, body) = match &call.payload {
        Payload::Bytes { content_type, body } => (content_type, body),
        Payload::Value(value) => return read_arguments(call, endpoint, value.downcast_ref()),
        Payload::Stream(_) => return Err(Error::bad_request(&*call.service, "a request that is many messages")),
    };
    let message = &endpoint.request.message;
    let query = call.query.as_deref().unwrap_or_default();
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

/// The fields of a request that another guest made, whose types were compared at its deploy.
fn read_arguments(call: &Call, endpoint: &Endpoint, arguments: Option<&Arguments>) -> Result<Vec<Value>, Error> {
    let unfit = || {
        let detail = format!("{}: arguments of other types than the function takes", endpoint.name);
        Error::internal(&*call.service, detail)
    };
    let Some(Arguments(arguments)) = arguments else { return Err(unfit()) };
    match (endpoint.request.is_one_record, arguments.as_slice()) {
        (true, [Value::Record(fields)]) => Ok(fields.clone()),
        (false, fields) if fields.len() == endpoint.request.message.fields.len() => Ok(fields.to_vec()),
        _ => Err(unfit()),
    }
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
    // As Go reads it: nothing at all is a message with nothing in it.
    let body = if body.trim_ascii() == b"null" { b"{}" } else { body };
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
    protos: Option<&Protos>,
    reply: Option<Value>,
    content_type: Option<&str>,
) -> Result<Reply, Error> {
    if let (Some(raw), Some(protos)) = (&endpoint.raw, protos) {
        return raw::write(call, raw, reply, protos);
    }
    if endpoint.reply.is_http()
        && !accepts_only_json(call)
        && let Some(reply) = reply
    {
        return http(call, reply);
    }
    if let Some(Value::Bytes(bytes)) = &reply
        && endpoint.reply.is_bytes()
        && !accepts_only_json(call)
    {
        let content_type = content_type.map_or_else(|| sniff(bytes), |given| Cow::Owned(given.to_string()));
        return Ok(Reply::new(Payload::Bytes { content_type, body: bytes.clone() }));
    }
    let mut out = Vec::with_capacity(128);
    json::write_reply(&endpoint.reply, reply.as_ref(), &mut out)
        .map_err(|reason| Error::internal(&*call.service, format!("the reply cannot be shown: {reason}")))?;
    Ok(Reply::new(Payload::json(out)))
}

/// A reply that the function wrote as HTTP has it: status, headers, body.
fn http(call: &Call, reply: Value) -> Result<Reply, Error> {
    let unfit = |what: String| Error::internal(&*call.service, format!("the function's HTTP reply: {what}"));
    let Value::Record(fields) = reply else { return Err(unfit("no record".into())) };
    let Ok([Value::Unsigned(status), Value::List(header), Value::Bytes(body)]) = <[Value; 3]>::try_from(fields) else {
        return Err(unfit("other fields than status, header and body".into()));
    };
    let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
    let status = status.ok_or_else(|| unfit("the status is not between 200 and 599".into()))?;
    let mut out = Reply::new(Payload::Bytes { content_type: Cow::Borrowed(""), body });
    out.status = Some(status);
    for pair in header {
        let Value::Record(pair) = pair else { continue };
        let Ok([Value::String(name), Value::String(value)]) = <[Value; 2]>::try_from(pair) else { continue };
        let known = HeaderName::try_from(name.as_str()).ok().filter(|name| !OF_THE_CONNECTION.contains(name));
        let (Some(name), Ok(value)) = (known, HeaderValue::try_from(value)) else {
            return Err(unfit(format!("the header {name} is not one that it may send")));
        };
        out.header.append(name, value);
    }
    Ok(out)
}

/// Headers that are the server's own affair.
const OF_THE_CONNECTION: [HeaderName; 3] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

fn accepts_only_json(call: &Call) -> bool {
    let accept = call.header.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("json")
}

/// The content type that bytes tell of themselves.
pub(crate) fn sniff(bytes: &[u8]) -> Cow<'static, str> {
    match infer::get(bytes) {
        Some(kind) => Cow::Borrowed(kind.mime_type()),
        None if std::str::from_utf8(bytes).is_ok() => Cow::Borrowed("text/plain; charset=utf-8"),
        None => Cow::Borrowed("application/octet-stream"),
    }
}

#[cfg(test)]
mod tests;
