//! Messages that are published to topics, and come to those who subscribed: one trait, a backend a file.
//!
//! The rules all backends keep, checked by [`contract`] as far as their [`Abilities`] go:
//! - A topic comes into being with the first message published to it.
//! - Those who subscribe as one group share its messages: each comes to one of them. Who subscribes without a group gets
//!   every message.
//! - A message that was published is kept when the publisher is told so, where the broker is durable.
//! - A delivery that is dropped without being [acknowledged](Delivery::ack) comes again, to the same or to another one
//!   of its group, where the broker is durable. Of the acknowledged ones none comes again, but for those whose
//!   acknowledgement was on its way when the process ended.
//! - The messages of one topic are handed out in the order in which they were published; who is given several at once
//!   keeps the order of what belongs together, by [`Message::key`].
//! - No more than [`SubscribeOptions::prefetch`] deliveries of a subscription are unacknowledged at a time.

mod closing;
pub mod contract;
mod delivery;
mod envelope;
pub mod kafka;
pub mod memory;
mod message;
pub mod nats;
pub mod rabbitmq;
pub mod redis;
#[cfg(test)]
#[path = "servers_tests.rs"]
mod servers;
pub mod sqlite;
mod together;
pub mod topic;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Error;
use crate::sqlite::ReadError;

pub use delivery::{Delivered, Delivery, Receipt, Subscription};
pub(crate) use delivery::{Done, Taken, Told};
pub use message::{CONTENT_TYPE, Header, KEY, MAX_HEADER_BYTES, MAX_HEADER_NAMES, MAX_MESSAGE, MESSAGE_ID, Message};
pub use topic::{MAX_TOPIC, Pattern};

pub use crate::store::Clock;

/// Who speaks in the errors that callers get of a broker, as go-micro calls it.
pub const ID: &str = "go.micro.broker";

/// Where messages are published and subscribed to. What a backend leaves out is [`BrokerError::Unsupported`].
#[async_trait]
pub trait Broker: Send + Sync {
    /// The backend's name, as in `sqlite`.
    fn name(&self) -> &str;

    /// What the backend can do beyond passing messages on.
    fn abilities(&self) -> Abilities;

    /// Publishes a message. When it returns, the broker has it.
    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError>;

    /// Publishes messages to one topic. Those with the same key go one after the other, up to the first that is not taken; all
    /// others are on their way together. Gives the places of those that were not published, in their order.
    async fn publish_all(&self, topic: &str, messages: Vec<(Message, PublishOptions)>) -> Vec<(usize, BrokerError)> {
        together::publish_each(self, topic, messages).await
    }

    /// Subscribes to all topics that a pattern names. Dropping the subscription ends it.
    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError>;

    /// The topics that there are, sorted by name.
    async fn topics(&self) -> Result<Vec<TopicUsage>, BrokerError> {
        Err(unsupported(self.name(), "list topics"))
    }

    /// The groups that get messages of a topic, sorted by name.
    async fn groups(&self, _: &str) -> Result<Vec<GroupUsage>, BrokerError> {
        Err(unsupported(self.name(), "list groups"))
    }

    /// Messages of a topic as they were published, from a position on, without taking them from anybody.
    async fn read(&self, _: &str, _: Position, _: usize) -> Result<Vec<Stored>, BrokerError> {
        Err(unsupported(self.name(), "read old messages"))
    }

    /// Lets a group that subscribed to this pattern go on from somewhere else: what lies behind comes again, or never.
    async fn seek(&self, _: &Pattern, _: &str, _: Position) -> Result<(), BrokerError> {
        Err(unsupported(self.name(), "set groups back"))
    }

    /// Takes something away for ever; says whether it was there.
    async fn remove(&self, _: Remove<'_>) -> Result<bool, BrokerError> {
        Err(unsupported(self.name(), "take messages away"))
    }

    /// Does what was asked before and stops. Whatever is asked later is [`BrokerError::Unavailable`]; closing again is
    /// no error.
    async fn close(&self) -> Result<(), BrokerError>;
}

/// What a backend can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing of its own that a backend can or cannot do")]
pub struct Abilities {
    /// Messages outlive the process, and come again to who did not acknowledge them.
    pub durable: bool,
    /// Old messages can be read and groups can be set back.
    pub replay: bool,
    /// A message can be published for later.
    pub delay: bool,
    /// Topics and groups can be listed.
    pub list: bool,
    /// Single messages can be taken away.
    pub remove: bool,
}

/// How a message is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// When it is delivered, in milliseconds since 1970; at once if the time has passed.
    pub deliver_at: Option<u64>,
    /// How long to wait while the broker has no room or cannot be reached; not at all, if there is none.
    pub patience: Duration,
}

/// How messages are subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Who shares the messages.
    pub group: Option<Group>,
    /// Deliveries that may be unacknowledged at a time; at least one.
    pub prefetch: usize,
    /// Where a group begins that is not known yet, or who has none.
    pub from: Position,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { group: None, prefetch: 64, from: Position::Latest }
    }
}

/// Those who share messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, as long as a topic's and with the same characters.
    pub name: String,
    /// Whether it goes on where it stood when everybody has left and somebody comes back.
    pub durable: bool,
}

impl Group {
    /// A group that is remembered.
    pub fn durable(name: impl Into<String>) -> Self {
        Self { name: name.into(), durable: true }
    }

    /// A group that exists for as long as somebody is in it.
    pub fn passing(name: impl Into<String>) -> Self {
        Self { name: name.into(), durable: false }
    }
}

/// A place in the messages of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Behind the last one.
    Latest,
    /// Before the first one that is kept.
    Earliest,
    /// At a message.
    Offset(u64),
    /// At the first message that was published then or later, in milliseconds since 1970.
    Time(u64),
}

/// What can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remove<'a> {
    /// A topic with all its messages.
    Topic(&'a str),
    /// One message.
    Message(&'a str, u64),
    /// A group and where it stands, in all topics of a pattern.
    Group(&'a Pattern, &'a str),
}

/// A topic and the room it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicUsage {
    /// The topic's name.
    pub name: String,
    /// Messages that are kept.
    pub messages: u64,
    /// Their bytes, headers too.
    pub bytes: u64,
    /// The offset of the first message that is kept.
    pub first: u64,
    /// The offset that the next message will have.
    pub next: u64,
}

/// Where a group stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupUsage {
    /// The group's name.
    pub name: String,
    /// What it subscribed to.
    pub pattern: String,
    /// Messages that it has yet to acknowledge, those that were handed out included.
    pub lag: u64,
    /// Messages that were handed out and are not acknowledged.
    pub in_flight: u64,
    /// Subscriptions that are in it now, as far as the broker tells.
    pub members: u64,
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Counted up in each topic.
    pub offset: u64,
    /// When it was published, in milliseconds since 1970.
    pub published: u64,
    /// The message.
    pub message: Message,
}

/// Why a broker did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No topic, pattern or group can be called that, or a position is none.
    #[error("{0}")]
    BadName(String),
    /// A message would be larger than it may be.
    #[error("{0}")]
    TooLarge(String),
    /// There is no room, and nothing may be thrown away to make some.
    #[error("{0}")]
    Full(String),
    /// This backend cannot do it at all.
    #[error("{0}")]
    Unsupported(String),
    /// The backend could not do it; asking again later may work.
    #[error("{0}")]
    Unavailable(String),
    /// A setting names no backend, or one that lacks what it needs.
    #[error("{0}")]
    Setting(String),
}

impl BrokerError {
    /// The HTTP status that says the same.
    pub fn code(&self) -> u16 {
        match self {
            Self::BadName(_) => 400,
            Self::TooLarge(_) => 413,
            Self::Full(_) => 507,
            Self::Unsupported(_) | Self::Setting(_) => 501,
            Self::Unavailable(_) => 503,
        }
    }
}

impl From<BrokerError> for Error {
    fn from(error: BrokerError) -> Self {
        Self::new(ID, error.code(), error.to_string())
    }
}

/// What [`open`] may need, depending on the backend.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The file of a backend that keeps one.
    pub path: Option<PathBuf>,
    /// Where the server of a backend listens that has one; the usual place, if there is none.
    pub address: Option<String>,
    /// The stream of a server that has several; the usual one, if there is none.
    pub stream: Option<String>,
    /// What may be kept.
    pub limits: Limits,
    /// What ages and times of delivery are measured by.
    pub clock: Clock,
}

/// How much a broker keeps of what it need not keep any more. What a group has yet to acknowledge is never thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all messages together.
    pub max_bytes: u64,
    /// How old a message gets.
    pub max_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 1_024 * 1_024 * 1_024, max_age: Duration::from_hours(7 * 24) }
    }
}

/// The backend that a host has where it is not told another.
pub const DEFAULT: &str = sqlite::NAME;

/// The names [`open`] takes.
pub const KINDS: [&str; 7] =
    [memory::NAME, sqlite::NAME, nats::NAME, nats::JETSTREAM, rabbitmq::NAME, redis::NAME, kafka::NAME];

/// Opens a broker by its backend's name. Needs a tokio runtime.
///
/// # Errors
/// [`BrokerError::Setting`] for a name that is none of [`KINDS`] or an option that is missing or wrong, and
/// [`BrokerError::Unavailable`] when the backend cannot be used.
pub async fn open(kind: &str, options: OpenOptions) -> Result<Arc<dyn Broker>, BrokerError> {
    let OpenOptions { path, address, stream, limits, clock } = options;
    match kind {
        memory::NAME => Ok(Arc::new(memory::Memory::new(clock))),
        sqlite::NAME => {
            let no_path = || BrokerError::Setting("broker sqlite needs a file: set its path".to_owned());
            Ok(Arc::new(sqlite::Sqlite::open(path.ok_or_else(no_path)?, limits, clock).await?))
        }
        nats::NAME => Ok(Arc::new(nats::Nats::open(address.as_deref()).await?)),
        nats::JETSTREAM => Ok(Arc::new(nats::JetStream::open(address.as_deref(), stream.as_deref(), limits).await?)),
        rabbitmq::NAME => {
            let address = address.as_deref().unwrap_or(rabbitmq::ADDRESS);
            Ok(Arc::new(rabbitmq::RabbitMq::open(address, clock).await?))
        }
        redis::NAME => {
            let address = address.as_deref().unwrap_or(redis::ADDRESS);
            Ok(Arc::new(redis::Redis::open(address, clock).await?))
        }
        kafka::NAME => Ok(Arc::new(kafka::Kafka::open(address.as_deref().unwrap_or(kafka::ADDRESS)).await?)),
        other => Err(BrokerError::Setting(format!("Broker {other} not found, known are: {}", KINDS.join(", ")))),
    }
}

impl From<ReadError> for BrokerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => closed(),
            ReadError::Failed(detail) => Self::Unavailable(detail),
        }
    }
}

/// Groups in the order in which [`Broker::groups`] gives them.
fn sorted(mut groups: Vec<GroupUsage>) -> Vec<GroupUsage> {
    groups.sort_by(|a, b| (&a.name, &a.pattern).cmp(&(&b.name, &b.pattern)));
    groups
}

/// What every backend answers after [`Broker::close`].
pub(crate) fn closed() -> BrokerError {
    BrokerError::Unavailable(
        "the broker is closed: the host is about to stop, publish again when it is back".to_owned(),
    )
}

/// What a backend answers to what it cannot do.
pub(crate) fn unsupported(broker: &str, what: &str) -> BrokerError {
    BrokerError::Unsupported(format!("broker {broker} cannot {what}: the broker sqlite can"))
}
