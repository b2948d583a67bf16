//! The shape that go-micro's brokers for NATS and Kafka give to messages: a JSON object with the header, and the body in
//! Base64. What has another shape is a body as it stands, and its header is the server's own.

use std::borrow::Cow;
use std::{fmt, iter};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BrokerError, Header, Message};

/// As Go may have written it: what was not set is null, and nothing is left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'a> {
    #[serde(rename = "Header", deserialize_with = "Option::deserialize")]
    header: Option<Bounded>,
    #[serde(borrow, rename = "Body", deserialize_with = "Option::deserialize")]
    body: Option<Text<'a>>,
}

/// A text that is copied only where it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A header that anybody may have sent, of any size.
#[derive(Default)]
struct Bounded(Header);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Names)
    }
}

/// Reads names and values.
struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Bounded;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Bounded, A::Error> {
        let mut failed = None;
        let sent = iter::from_fn(|| match pairs.next_entry::<Text<'_>, String>() {
            Ok(pair) => pair.map(|(Text(name), value)| (name, value)),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let header = Header::bounded(sent);
        match failed {
            Some(error) => Err(error),
            None => header.map(Bounded).ok_or_else(|| A::Error::custom("the header is too large")),
        }
    }
}

/// Names and values in the order of their names, as Go writes them.
struct Sorted<'a>(Vec<(&'a str, &'a str)>);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().copied())
    }
}

/// The payload of a message.
pub(super) fn write(topic: &str, message: &Message) -> Result<Bytes, BrokerError> {
    let mut header: Vec<_> = message.header.iter().collect();
    header.sort_unstable();
    let header = serde_json::to_string(&Sorted(header))
        .map_err(|error| BrokerError::Unavailable(format!("write a message for topic {topic}: {error}")))?;
    let mut text = String::with_capacity(header.len() + message.body.len().div_ceil(3) * 4 + 64);
    text.push_str("{\"Header\":");
    push_escaped(&mut text, &header);
    text.push_str(",\"Body\":\"");
    STANDARD.encode_string(&message.body, &mut text);
    text.push_str("\"}");
    Ok(text.into())
}

/// Go escapes what a web page would trip over. All of these can only be inside of strings.
fn push_escaped(text: &mut String, header: &str) {
    // The last one is what U+2028 and U+2029 begin with.
    if !header.bytes().any(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xE2)) {
        return text.push_str(header);
    }
    for char in header.chars() {
        match char {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            other => text.push(other),
        }
    }
}

/// The message in a payload, with the server's own headers where the payload has none, and where they are not too many.
pub(super) fn read<N: AsRef<str>, V: Into<String>>(payload: &Bytes, own: impl IntoIterator<Item = (N, V)>) -> Message {
    read_envelope(payload)
        .unwrap_or_else(|| Message { header: Header::bounded(own).unwrap_or_default(), body: payload.clone() })
}

fn read_envelope(payload: &[u8]) -> Option<Message> {
    let Read { header, body } = serde_json::from_slice(payload).ok()?;
    let body = body.map_or(Some(Vec::new()), |Text(text)| STANDARD.decode(&*text).ok())?;
    Some(Message { header: header.unwrap_or_default().0, body: body.into() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::broker::{MAX_HEADER_BYTES, MAX_HEADER_NAMES};

    const NONE: [(&str, &str); 0] = [];

    #[test]
    fn a_message_is_written_as_go_writes_it() {
        let message = Message::new("hi").with("b", "<2> & \"q\"").with("Content-Type", "application/json");
        assert_eq!(
            write("t", &message).unwrap(),
            r#"{"Header":{"Content-Type":"application/json","b":"\u003c2\u003e \u0026 \"q\""},"Body":"aGk="}"#
        );
        assert_eq!(write("t", &Message::default()).unwrap(), r#"{"Header":{},"Body":""}"#);
        let message = Message::new("").with("a", "\u{2028}\u{2029}\u{2030}ä");
        assert_eq!(write("t", &message).unwrap(), "{\"Header\":{\"a\":\"\\u2028\\u2029\u{2030}ä\"},\"Body\":\"\"}");
    }

    #[test]
    fn what_go_wrote_is_read() {
        let message = read(&Bytes::from_static(br#"{"Header":{"a":"\u003c1\u003e"},"Body":"aGk="}"#), NONE);
        assert_eq!((message.header.get("a"), &message.body[..]), (Some("<1>"), &b"hi"[..]));
        assert_eq!(read(&Bytes::from_static(br#"{"Header":null,"Body":null}"#), NONE), Message::default());
        let escaped = read(&Bytes::from_static(br#"{"Header":{"\u0061":"1"},"Body":"\u0061Gk="}"#), NONE);
        assert_eq!(escaped, Message::new("hi").with("a", "1"));
    }

    #[test]
    fn what_has_another_shape_is_a_body() {
        for text in
            ["", "text", "{}", r#"{"Header":{}}"#, r#"{"Header":{},"Body":"%"}"#, r#"{"Header":{},"Body":"","z":1}"#]
        {
            let message = read(&Bytes::from(text), [("x", "1")]);
            assert_eq!((message.header.get("x"), &message.body[..]), (Some("1"), text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_header_that_is_too_large_is_not_looked_at() {
        let names =
            |count: usize| (0..count).map(|name| (name.to_string(), "v".to_owned())).collect::<BTreeMap<_, _>>();
        let fits = Message { header: names(MAX_HEADER_NAMES).into_iter().collect(), body: "b".into() };
        assert_eq!(read(&write("t", &fits).unwrap(), NONE), fits);
        for header in [names(100_000), [("x".to_owned(), "v".repeat(MAX_HEADER_BYTES))].into()] {
            let sent = serde_json::json!({ "Header": header, "Body": "" }).to_string();
            assert_eq!(read(&sent.clone().into(), &header), Message::new(sent));
        }
    }
}
