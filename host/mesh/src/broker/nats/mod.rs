//! Topics on NATS servers, in the shape that go-micro's NATS broker has, so that programs with it and functions reach
//! each other.
//!
//! - [`Nats`] passes messages on and keeps none: who is not there misses them, and so does who is too slow.
//! - [`JetStream`] has the server keep them in a stream.
//!
//! A topic is the subject of the same name. What begins with `$` and a capital letter, or with `_INBOX`, is NATS's own and
//! can be neither published nor subscribed to; subscribing to `>` leaves it out.

mod acks;
mod core;
mod inbox;
mod jetstream;
mod link;
mod publish;
mod pump;
mod room;
mod stream;
mod subjects;

pub use self::core::Nats;
pub use jetstream::JetStream;

#[cfg(test)]
mod tests;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::topic::check_topic;
use super::{BrokerError, Message, Pattern, envelope};

/// The name of the backend that keeps nothing.
pub const NAME: &str = "nats";

/// The name of the backend that keeps messages.
pub const JETSTREAM: &str = "nats-jetstream";

/// The stream where no other is named.
pub const STREAM: &str = "micro";

/// Where a server is looked for when nobody says where it is.
pub const ADDRESS: &str = "nats://127.0.0.1:4222";

/// The most deliveries that one subscription may have unacknowledged; more are not asked for.
const MAX_PREFETCH: usize = 1_024;

/// Whether a subject belongs to NATS: its answers, its administration, its own streams.
fn is_of_nats(subject: &str) -> bool {
    let own = |rest: &str| rest.starts_with(|char: char| char.is_ascii_uppercase());
    subject.strip_prefix('$').is_some_and(own) || ["_INBOX", "_R_", "_GR_"].iter().any(|own| subject.starts_with(own))
}

/// Refuses what would reach into the server.
fn check_own(name: &str) -> Result<(), BrokerError> {
    if is_of_nats(name) {
        let reason = "NATS uses subjects that begin so for itself: begin with another word";
        return Err(BrokerError::BadName(format!("topic {name:?} cannot be named so: {reason}")));
    }
    Ok(())
}

/// Whether a message with this subject is one that the pattern names. The server's idea of `>` is wider than ours.
fn is_named(pattern: &Pattern, subject: &str) -> bool {
    pattern.matches(subject) && !is_of_nats(subject) && check_topic(subject).is_ok()
}

/// The message in a payload.
fn message(payload: &Bytes, headers: Option<&HeaderMap>) -> Message {
    let pairs = headers.into_iter().flat_map(HeaderMap::iter);
    envelope::read(payload, pairs.filter_map(|(name, values)| Some((name, values.first()?.as_str()))))
}
