//! What the keys are called, how offsets stand for the ids of entries, and what an entry holds.
//!
//! All keys begin with `micro:`, so that a server can be shared with others and one rule of access covers ours. A topic's
//! stream is `micro:topic:` and its name: no topic's name has a colon, so no two keys are the same.

use std::sync::Arc;

use bytes::Bytes;
use redis::{RedisResult, Value};
use serde_json::Map;

use crate::broker::{Header, Message, Pattern, Position};

/// The names of all topics, a set.
pub const TOPICS: &str = "micro:topics";
/// Counts the topics that came into being, so that members notice new ones.
pub const CREATED: &str = "micro:created";
/// Counts how often messages were given back for others to take, a hash by group.
pub const LEFT: &str = "micro:left";
/// Counts how often groups were set back or forward, a hash by group.
pub const SOUGHT: &str = "micro:sought";
/// All groups, a hash of their names to `durable` or `passing`.
pub const GROUPS: &str = "micro:groups";
/// All members, a sorted set by when they were last heard of.
pub const MEMBERS: &str = "micro:members";
/// What members are called after.
pub const SERIAL: &str = "micro:serial";
/// Messages for later, a sorted set by their time.
pub const LATER: &str = "micro:later";

/// The bits of an offset that count within a millisecond: over a million messages of one topic.
const SEQUENCE_BITS: u32 = 20;
const SEQUENCE_MAX: u64 = (1 << SEQUENCE_BITS) - 1;

/// An entry as the server gives it: its id, and names and values by turns.
pub type RawEntry = (String, Vec<Vec<u8>>);

/// The key of a topic's stream.
pub fn stream(topic: &str) -> String {
    format!("micro:topic:{topic}")
}

/// What a group is called on the server. Neither names nor patterns have spaces.
pub fn group(name: &str, pattern: &Pattern) -> String {
    format!("{name} {pattern}")
}

/// The number that stands for an id, `milliseconds-sequence`. It keeps their order up to the year 2527 and for 2^20
/// messages of a topic in one millisecond, more than a server takes; those behind would share a number.
pub fn offset(id: &str) -> u64 {
    let (millis, sequence) = parts(id);
    (millis << SEQUENCE_BITS) | sequence.min(SEQUENCE_MAX)
}

/// The milliseconds since 1970 in an id.
pub fn millis(id: &str) -> u64 {
    parts(id).0
}

fn parts(id: &str) -> (u64, u64) {
    let (millis, sequence) = id.split_once('-').unwrap_or((id, "0"));
    (millis.parse().unwrap_or(0), sequence.parse().unwrap_or(0))
}

/// The id that an offset stands for.
pub fn id(offset: u64) -> String {
    format!("{}-{}", offset >> SEQUENCE_BITS, offset & SEQUENCE_MAX)
}

/// The first id at or behind a position; none behind the last one.
pub fn from(position: Position) -> Option<String> {
    match position {
        Position::Latest => None,
        Position::Earliest => Some("-".to_owned()),
        Position::Offset(offset) => Some(id(offset)),
        Position::Time(millis) => Some(format!("{millis}-0")),
    }
}

/// The id that a group has got last which goes on at a position.
pub fn before(position: Position) -> String {
    let (millis, sequence) = match position {
        Position::Latest => return "$".to_owned(),
        Position::Earliest => (0, 0),
        Position::Offset(offset) => (offset >> SEQUENCE_BITS, offset & SEQUENCE_MAX),
        Position::Time(millis) => (millis, 0),
    };
    match (millis, sequence) {
        (0, 0) => "0-0".to_owned(),
        (millis, 0) => format!("{}-{}", millis - 1, u64::MAX),
        (millis, sequence) => format!("{millis}-{}", sequence - 1),
    }
}

/// A header as it is written.
pub fn header(header: &Header) -> String {
    let object: Map<_, _> = header.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    serde_json::Value::Object(object).to_string()
}

/// Reads what was written; from others, who may write to the stream too, as much as can be understood, and no header that is
/// too large.
pub fn message(fields: Vec<Vec<u8>>) -> Message {
    let mut message = Message::default();
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match &name[..] {
            b"Header" => {
                let object: Map<String, serde_json::Value> = serde_json::from_slice(&value).unwrap_or_default();
                let header = object.into_iter().map(|(name, value)| match value {
                    serde_json::Value::String(text) => (name, text),
                    other => (name, other.to_string()),
                });
                message.header = Header::bounded(header).unwrap_or_default();
            }
            b"Body" => message.body = Bytes::from(value),
            _ => {}
        }
    }
    message
}

/// An entry that is about to be handed out.
pub struct Entry {
    pub topic: Arc<str>,
    pub id: String,
    pub message: Message,
    /// How often it was handed out, this time included.
    pub attempt: u32,
}

/// Reads the entries that a script gives with how often each was handed out.
pub fn claimed(topic: &Arc<str>, reply: Vec<(String, Vec<Vec<u8>>, u32)>) -> impl Iterator<Item = Entry> {
    reply.into_iter().map(|(id, fields, attempt)| Entry {
        topic: topic.clone(),
        id,
        message: message(fields),
        attempt: attempt.max(1),
    })
}

/// Reads what `XREADGROUP` gives: nothing where nothing came in time, or entries by stream.
pub fn entries(reply: Value) -> RedisResult<Vec<(String, Vec<RawEntry>)>> {
    match reply {
        Value::Nil => Ok(Vec::new()),
        reply => Ok(redis::from_redis_value(reply)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{MAX_HEADER_BYTES, MAX_HEADER_NAMES};

    #[test]
    fn offsets_keep_the_order_of_ids() {
        let ids = ["0-1", "5-0", "5-1", "6-0", "1700000000000-7"];
        let offsets: Vec<_> = ids.iter().map(|id| offset(id)).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
        assert_eq!(offsets.iter().map(|offset| id(*offset)).collect::<Vec<_>>(), ids);
    }

    #[test]
    fn a_group_stands_just_before_where_it_goes_on() {
        assert_eq!(before(Position::Offset(offset("5-3"))), "5-2");
        assert_eq!(before(Position::Offset(offset("5-0"))), format!("4-{}", u64::MAX));
        assert_eq!((before(Position::Time(0)), before(Position::Latest)), ("0-0".to_owned(), "$".to_owned()));
    }

    #[test]
    fn what_others_wrote_is_understood_as_far_as_it_goes() {
        let fields = ["Header", r#"{"a":1,"b":"x"}"#, "more", "", "Body", "text"].map(|text| text.as_bytes().to_vec());
        let message = message(fields.to_vec());
        assert_eq!((message.header.get("a"), message.header.get("b")), (Some("1"), Some("x")));
        assert_eq!(message.body, "text");
    }

    #[test]
    fn a_header_that_is_too_large_is_not_looked_at() {
        let names = |count: usize| (0..count).map(|number| (number.to_string(), "v".to_owned()));
        let read = |header: Header| {
            let fields = [b"Header".to_vec(), self::header(&header).into_bytes(), b"Body".to_vec(), b"text".to_vec()];
            message(fields.to_vec())
        };
        let fits: Header = names(MAX_HEADER_NAMES).collect();
        assert_eq!(read(fits.clone()), Message { header: fits, body: "text".into() });
        assert_eq!(read(names(MAX_HEADER_NAMES + 1).collect()), Message::new("text"));
        assert_eq!(read([("x", "v".repeat(MAX_HEADER_BYTES))].into_iter().collect()), Message::new("text"));
    }
}
