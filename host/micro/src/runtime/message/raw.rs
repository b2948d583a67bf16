//! Messages of endpoints that a `.proto` file describes: protobuf to and from the guest, and JSON for callers that
//! prefer it.

use super::{Form, accepts_only_json, join, none_given, read_json};
use bytes::Bytes;
use http::header::ACCEPT;
use micro_engine::proto::PROTOBUF;
use micro_engine::schema::{Endpoint, Raw};
use micro_engine::{Protos, Value, query};
use micro_mesh::{Call, Error, Payload, Reply};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// The arguments of `handle` and `open`: what surrounds the call, and its message as protobuf.
pub(super) fn read(call: &Call, endpoint: &Endpoint, raw: &Raw, protos: &Protos) -> Result<Vec<Value>, Error> {
    let Payload::Bytes { content_type, body } = &call.payload else {
        return Err(Error::bad_request(&*call.service, format!("{} takes bytes", endpoint.name)));
    };
    let query = call.query.as_deref().unwrap_or_default();
    let record = &endpoint.request.message;
    let from_fields = |fields| protos.from_fields(&raw.input, record, fields);
    let message = match Form::of(content_type, body, endpoint) {
        _ if is_protobuf(content_type) => Ok(body.clone()),
        Form::Json if query.is_empty() => protos.from_json(&raw.input, body),
        Form::Json => read_json(record, body, query).and_then(from_fields),
        Form::Query => query::read_query(record, &join(query, body), none_given(record)).and_then(from_fields),
        Form::Raw(index) => {
            let mut given = none_given(record);
            given[index] = Some(Value::some(Value::Bytes(body.clone())));
            query::read_query(record, query, given).and_then(from_fields)
        }
        Form::Unfit => {
            let detail = format!(
                "a body of type {content_type} does not fit endpoint {}: send application/json or {PROTOBUF}",
                endpoint.name
            );
            return Err(Error::new(&*call.service, 415, detail));
        }
    };
    let message =
        message.map_err(|reason| Error::bad_request(&*call.service, format!("{}: {reason}", endpoint.name)))?;
    let body = Value::Record(vec![Value::String(PROTOBUF.into()), Value::Bytes(message)]);
    Ok(vec![context(call), body])
}

/// A message as protobuf, whatever it came as.
pub(in super::super) fn read_message(
    content_type: &str,
    body: &Bytes,
    message: &str,
    protos: &Protos,
) -> Result<Bytes, String> {
    match is_protobuf(content_type) {
        true => Ok(body.clone()),
        false => protos.from_json(message, body),
    }
}

fn is_protobuf(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    ["application/protobuf", "application/x-protobuf", "application/grpc+proto", "application/octet-stream"]
        .iter()
        .any(|known| media_type.eq_ignore_ascii_case(known))
}

pub(super) fn context(call: &Call) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let deadline = |left: Duration| Value::Unsigned(u64::try_from((now + left).as_millis()).unwrap_or(u64::MAX));
    Value::Record(vec![
        Value::String(call.service.to_string()),
        Value::String(call.endpoint.to_string()),
        Value::String(call.caller.as_deref().unwrap_or_default().to_string()),
        Value::String(call.id.to_string()),
        call.time_left().map_or_else(Value::none, |left| Value::some(deadline(left))),
    ])
}

/// The reply of `handle` in the form that the caller asked in, or accepts.
pub(super) fn write(call: &Call, raw: &Raw, reply: Option<Value>, protos: &Protos) -> Result<Reply, Error> {
    let unfit = |what: String| Error::internal(&*call.service, format!("the reply: {what}"));
    let Some(Value::Record(fields)) = reply else { return Err(unfit("no body".into())) };
    let Ok([Value::String(content_type), Value::Bytes(content)]) = <[Value; 2]>::try_from(fields) else {
        return Err(unfit("no body".into()));
    };
    let accept = call.header.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let asked_in = call.payload.content_type().unwrap_or_default();
    let wants_bytes = accept.contains("protobuf") || is_protobuf(asked_in) && !accepts_only_json(call);
    if wants_bytes || !is_protobuf(&content_type) {
        return Ok(Reply::new(Payload::Bytes { content_type: Cow::Owned(content_type), body: content }));
    }
    protos.to_json(&raw.output, &content).map(|json| Reply::new(Payload::json(json))).map_err(unfit)
}
