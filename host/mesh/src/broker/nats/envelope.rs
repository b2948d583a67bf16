//! The shape of messages on NATS, which is that of go-micro's NATS broker: a JSON object with the header, and the body in
//! Base64. What has another shape is a body as it stands, and its header is NATS's own.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::broker::{BrokerError, MAX_HEADER_NAMES, Message};

/// As Go writes it: names are sorted, and each field is there.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "Header")]
    header: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "Body")]
    body: String,
}

/// As Go may have written it: what was not set is null.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "Header")]
    header: Nullable<BTreeMap<String, String>>,
    #[serde(rename = "Body")]
    body: Nullable<String>,
}

/// What must be there, and may be null. An `Option` could also be left out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Nullable<T> {
    Some(T),
    None(()),
}

/// The payload of a message.
pub(super) fn write(topic: &str, message: &Message) -> Result<Bytes, BrokerError> {
    let written = Written { header: message.header.iter().collect(), body: STANDARD.encode(&message.body) };
    let text = serde_json::to_string(&written)
        .map_err(|error| BrokerError::Unavailable(format!("write a message for topic {topic}: {error}")))?;
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return Ok(text.into());
    }
    // Go escapes what a web page would trip over. All of these can only be inside of strings.
    let mut escaped = String::with_capacity(text.len() + 64);
    for char in text.chars() {
        match char {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    Ok(escaped.into())
}

/// The message in a payload.
pub(super) fn read(payload: &Bytes, headers: Option<&HeaderMap>) -> Message {
    if let Some(message) = read_envelope(payload) {
        return message;
    }
    let pairs = headers.into_iter().flat_map(HeaderMap::iter);
    let header = pairs.filter_map(|(name, values)| Some((name.to_string(), values.first()?.as_str())));
    Message { header: header.take(MAX_HEADER_NAMES).collect(), body: payload.clone() }
}

fn read_envelope(payload: &[u8]) -> Option<Message> {
    let Read { header, body } = serde_json::from_slice(payload).ok()?;
    let body = match body {
        Nullable::Some(text) => STANDARD.decode(text).ok()?.into(),
        Nullable::None(()) => Bytes::new(),
    };
    let header = match header {
        Nullable::Some(pairs) => pairs.into_iter().take(MAX_HEADER_NAMES).collect(),
        Nullable::None(()) => crate::broker::Header::default(),
    };
    Some(Message { header, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_go_writes_it() {
        let message = Message::new("hi").with("b", "<2> & \"q\"").with("Content-Type", "application/json");
        assert_eq!(
            write("t", &message).unwrap(),
            r#"{"Header":{"Content-Type":"application/json","b":"\u003c2\u003e \u0026 \"q\""},"Body":"aGk="}"#
        );
        assert_eq!(write("t", &Message::default()).unwrap(), r#"{"Header":{},"Body":""}"#);
    }

    #[test]
    fn what_go_wrote_is_read() {
        let message = read(&Bytes::from_static(br#"{"Header":{"a":"\u003c1\u003e"},"Body":"aGk="}"#), None);
        assert_eq!((message.header.get("a"), &message.body[..]), (Some("<1>"), &b"hi"[..]));
        assert_eq!(read(&Bytes::from_static(br#"{"Header":null,"Body":null}"#), None), Message::default());
    }

    #[test]
    fn what_has_another_shape_is_a_body() {
        let mut headers = HeaderMap::new();
        headers.insert("x", "1");
        for text in
            ["", "text", "{}", r#"{"Header":{}}"#, r#"{"Header":{},"Body":"%"}"#, r#"{"Header":{},"Body":"","z":1}"#]
        {
            let message = read(&Bytes::from(text), Some(&headers));
            assert_eq!((message.header.get("x"), &message.body[..]), (Some("1"), text.as_bytes()), "{text}");
        }
    }
}
