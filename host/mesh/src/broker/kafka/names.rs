//! What topics, groups and places in them are called on the server.
//!
//! Kafka takes all our names but for the `$` that the host's own topics begin with. It is written as a dot there, and a
//! dot at the beginning is read as a `$`: no topic of ours begins with one, since no word is empty.

use crate::broker::topic::check_topic;
use crate::broker::{BrokerError, Pattern};

/// What Kafka's own topics begin with, and those of programs around it.
const INTERNAL: &str = "__";

/// Where a group that lasts notes that it has begun. Nothing is published to it, and no topic of ours is called so.
pub const BEGUN: &str = "..groups";

/// The bits of a place that say where a message stands in its partition; the others say in which one.
const OFFSET_BITS: u32 = 48;

/// A topic's name on the server.
///
/// # Errors
/// [`BrokerError::BadName`] for what is no topic of ours.
pub fn to_server(topic: &str) -> Result<String, BrokerError> {
    check_topic(topic)?;
    if topic.starts_with(INTERNAL) {
        return Err(BrokerError::BadName(format!(
            "topic {topic:?} cannot be named so: Kafka begins the names of its own with {INTERNAL}, begin with a letter"
        )));
    }
    Ok(written(topic))
}

/// The topic that the server calls so, if it is one of ours.
pub fn from_server(name: &str) -> Option<String> {
    let topic = name.strip_prefix('.').map_or_else(|| name.to_owned(), |rest| format!("${rest}"));
    (!topic.starts_with(INTERNAL) && check_topic(&topic).is_ok()).then_some(topic)
}

fn written(topic: &str) -> String {
    topic.strip_prefix('$').map_or_else(|| topic.to_owned(), |rest| format!(".{rest}"))
}

/// What a consumer subscribes to: a topic, or an expression that finds all topics of a pattern.
pub fn subscription(pattern: &Pattern) -> String {
    if let Some(topic) = pattern.topic() {
        return written(topic);
    }
    let words: Vec<_> = pattern.as_str().split('.').map(expression).collect();
    format!("^{}$", words.join("\\."))
}

fn expression(word: &str) -> String {
    match word {
        "*" => "[^.]+".to_owned(),
        // One that begins with a dot is the host's own.
        ">" => "[^.].*".to_owned(),
        word => word.strip_prefix('$').map_or_else(|| word.to_owned(), |rest| format!("\\.{rest}")),
    }
}

/// A group's name on the server. Those of other patterns are other groups.
pub fn group(name: &str, pattern: &Pattern) -> String {
    format!("{name}:{pattern}")
}

/// A message's place in its topic.
pub fn place(partition: i32, offset: i64) -> u64 {
    let partition = u64::try_from(partition).unwrap_or(0);
    partition << OFFSET_BITS | u64::try_from(offset).unwrap_or(0)
}

/// The partition and the offset of a place.
pub fn split(place: u64) -> (i32, i64) {
    let offset = place & ((1 << OFFSET_BITS) - 1);
    (i32::try_from(place >> OFFSET_BITS).unwrap_or(i32::MAX), i64::try_from(offset).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (topic, name) in [("orders.a", "orders.a"), ("$dead.g", ".dead.g"), ("_a-b", "_a-b")] {
            assert_eq!(to_server(topic).unwrap(), name);
            assert_eq!(from_server(name).unwrap(), topic);
        }
        for name in ["__consumer_offsets", BEGUN, ".", "a..b", "a."] {
            assert_eq!(from_server(name), None, "{name}");
        }
        let error = to_server("__consumer_offsets").unwrap_err().to_string();
        assert!(error.contains("Kafka"), "{error}");
    }

    #[test]
    fn patterns_are_expressions() {
        for (pattern, expected) in [
            ("orders.a", "orders.a"),
            ("$dead.g", ".dead.g"),
            ("orders.*", "^orders\\.[^.]+$"),
            ("*.a.>", "^[^.]+\\.a\\.[^.].*$"),
            (">", "^[^.].*$"),
            ("$dead.>", "^\\.dead\\.[^.].*$"),
        ] {
            assert_eq!(subscription(&Pattern::new(pattern).unwrap()), expected);
        }
    }

    #[test]
    fn a_place_is_an_offset_in_the_first_partition() {
        assert_eq!((place(0, 7), split(7)), (7, (0, 7)));
        assert_eq!(split(place(12, 99)), (12, 99));
        assert!(place(1, 0) > place(0, i64::from(u32::MAX)));
    }
}
