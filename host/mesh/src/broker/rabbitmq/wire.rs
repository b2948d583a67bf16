//! How messages look on the wire, which is as go-micro writes them: the routing key is the topic, the table of headers
//! holds the message's, and the body is the payload as it is.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::broker::{BrokerError, CONTENT_TYPE, Header, Message, Pattern};

/// Marks a message that the server is to write to disk.
const PERSISTENT: u8 = 2;

/// Counts how often a quorum queue handed a message out before.
const COUNT: &str = "x-delivery-count";

/// What is said about a message, published at a time in milliseconds since 1970.
///
/// # Errors
/// [`BrokerError::TooLarge`] when the name of a header is longer than AMQP can say.
pub fn properties(topic: &str, header: &Header, now: u64) -> Result<BasicProperties, BrokerError> {
    let mut table = FieldTable::default();
    for (name, value) in header.iter() {
        let name = ShortString::try_new(name).map_err(|_| {
            BrokerError::TooLarge(format!(
                "a header of a message for topic {topic:?} has a name of {} bytes, and RabbitMQ takes 255: shorten it",
                name.len()
            ))
        })?;
        table.insert(name, AMQPValue::LongString(value.into()));
    }
    // AMQP counts seconds.
    Ok(BasicProperties::default().with_headers(table).with_delivery_mode(PERSISTENT).with_timestamp(now / 1_000))
}

/// Reads a message. Headers that are neither text, number nor truth are left out, as those are that the server adds, and all
/// of them where they are too many or too large.
pub fn message(properties: &BasicProperties, body: Vec<u8>) -> Message {
    let table = properties.headers().as_ref().map(FieldTable::inner);
    // Others than go-micro say it in the place that AMQP has for it.
    let is_typed = table.into_iter().flatten().any(|(name, _)| name.as_str().eq_ignore_ascii_case(CONTENT_TYPE));
    let kind = properties.content_type().as_ref().filter(|_| !is_typed);
    let kind = kind.map(|kind| (CONTENT_TYPE, kind.to_string()));
    let header = table.into_iter().flatten().filter(|(name, _)| name.as_str() != COUNT).filter_map(|(name, value)| {
        let text = match value {
            AMQPValue::LongString(text) => text.to_string(),
            AMQPValue::ShortString(text) => text.to_string(),
            AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into_owned(),
            AMQPValue::Boolean(truth) => truth.to_string(),
            AMQPValue::Float(number) => number.to_string(),
            AMQPValue::Double(number) => number.to_string(),
            other => number(other)?.to_string(),
        };
        Some((name.as_str(), text))
    });
    Message { header: Header::bounded(header.chain(kind)).unwrap_or_default(), body: body.into() }
}

/// How often a message was handed out, this time included: quorum queues count, others only tell again from first.
pub fn attempt(properties: &BasicProperties, is_again: bool) -> u32 {
    let table = properties.headers().as_ref().map(FieldTable::inner);
    let before = table.and_then(|table| number(table.get(COUNT)?));
    before.and_then(|before| u32::try_from(before).ok()).unwrap_or(0).max(u32::from(is_again)).saturating_add(1)
}

fn number(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => *number,
        _ => return None,
    })
}

/// A pattern as RabbitMQ writes it. `#` stands for no word too, so what comes has to be looked at again.
pub fn routing(pattern: &Pattern) -> String {
    match pattern.as_str() {
        ">" => "#".to_owned(),
        text => text.strip_suffix(".>").map_or_else(|| text.to_owned(), |front| format!("{front}.#")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{MAX_HEADER_BYTES, MAX_HEADER_NAMES};

    #[test]
    fn patterns_are_written_as_rabbitmq_does() {
        let written = |text: &str| routing(&Pattern::new(text).unwrap());
        assert_eq!([">", "a.>", "a.*", "a"].map(written), ["#", "a.#", "a.*", "a"]);
    }

    #[test]
    fn headers_of_others_become_text() {
        let mut table = FieldTable::default();
        table.insert("number".into(), AMQPValue::LongInt(-3));
        table.insert("yes".into(), AMQPValue::Boolean(true));
        table.insert("odd".into(), AMQPValue::Void);
        table.insert(COUNT.into(), AMQPValue::LongLongInt(2));
        let properties = BasicProperties::default().with_headers(table).with_content_type("text/plain".into());
        let message = message(&properties, Vec::new());
        let header: Vec<_> = message.header.iter().collect();
        assert_eq!(header, [("number", "-3"), ("yes", "true"), ("content-type", "text/plain")]);
        assert_eq!((attempt(&properties, false), attempt(&BasicProperties::default(), true)), (3, 2));
    }

    #[test]
    fn a_header_that_is_too_large_is_not_looked_at() {
        let names = |count: usize| {
            let header: Header = (0..count).map(|number| (number.to_string(), "v")).collect();
            properties("t", &header, 0).unwrap().with_content_type("text/plain".into())
        };
        let read = |properties| message(&properties, Vec::new()).header.len();
        assert_eq!(read(names(MAX_HEADER_NAMES - 1)), MAX_HEADER_NAMES);
        assert_eq!(read(names(MAX_HEADER_NAMES)), 0);
        let header = [("x", "v".repeat(MAX_HEADER_BYTES))].into_iter().collect();
        assert_eq!(read(properties("t", &header, 0).unwrap()), 0);
    }

    #[test]
    fn a_header_that_amqp_cannot_say_is_refused() {
        let header: Header = [("x".repeat(256), "")].into_iter().collect();
        assert!(matches!(properties("t", &header, 0), Err(BrokerError::TooLarge(_))));
    }
}
