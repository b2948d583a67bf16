//! How messages look on the wire: the value of a record is what go-micro's brokers write, its key is the message's.

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};

use crate::broker::{KEY, Message, envelope};

/// Reads a record. One that has another shape is a body, with the record's own headers; its key is the message's where
/// that says nothing else.
pub fn message(record: &BorrowedMessage<'_>) -> Message {
    let value = Bytes::copy_from_slice(record.payload().unwrap_or_default());
    let own = record.headers().into_iter().flat_map(Headers::iter);
    let own = own.filter_map(|pair| Some((pair.key, str::from_utf8(pair.value.unwrap_or_default()).ok()?)));
    let mut message = envelope::read(&value, own);
    let key = record.key().and_then(|key| str::from_utf8(key).ok()).filter(|key| !key.is_empty());
    if let (Some(key), None) = (key, message.key()) {
        message.header.set(KEY, key);
    }
    message
}
