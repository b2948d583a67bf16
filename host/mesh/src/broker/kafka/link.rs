//! What all parts of one broker share: who publishes, who makes and takes away topics, and how clients are set up.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::StreamConsumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::RwLock;

use super::parts::{Calls, log};
use super::{ADDRESS, ANSWER_TIME, NAME, names};
use crate::broker::closing::Held;
use crate::broker::{BrokerError, MAX_HEADER_BYTES, MAX_MESSAGE, closed};

/// How long the client tries to publish a message. One that it gave up is not sent later.
const PUBLISH_TIME: Duration = Duration::from_secs(5);

/// How long servers may take to answer that could not be reached before.
const REACH_TIME: Duration = Duration::from_secs(1);

/// The largest record: a message whose body is written in Base64, and whose header may be six times as long when all of
/// it is escaped.
const MAX_RECORD: usize = MAX_MESSAGE / 3 * 4 + MAX_HEADER_BYTES * 6 + 64 * 1_024;

/// Topics that are remembered to be there.
const MAX_KNOWN: usize = 10_000;

/// The client's settings for publishing. The bounds of its queue are messages and KiB.
const PUBLISHING: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("queue.buffering.max.ms", "0"),
    ("queue.buffering.max.messages", "10000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("topic.metadata.refresh.fast.interval.ms", "50"),
];

/// The client's settings for reading. What it has before it is asked for is bounded in KiB.
const READING: [(&str, &str); 15] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // What a group knows nothing of came later than the group.
    ("auto.offset.reset", "earliest"),
    // Only partitions that go to another member stop.
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("heartbeat.interval.ms", "500"),
    ("session.timeout.ms", "15000"),
    ("topic.metadata.refresh.interval.ms", "2000"),
    ("topic.blacklist", "^__"),
    ("allow.auto.create.topics", "false"),
    ("queued.min.messages", "1000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.max.bytes", "4194304"),
    ("fetch.wait.max.ms", "200"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.error.backoff.ms", "100"),
];

/// Listens to what the client says.
#[derive(Clone, Default)]
pub struct Ear {
    /// No server could be reached, and none was since.
    is_down: Arc<AtomicBool>,
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "kafka: {reason}");
        if code(&error) == Some(Code::AllBrokersDown) {
            self.is_down.store(true, Ordering::Relaxed);
        }
    }
}

/// The servers.
pub struct Link {
    place: String,
    config: ClientConfig,
    publishing: ClientConfig,
    ear: Ear,
    /// Gone when the broker is closed.
    producer: Mutex<Option<FutureProducer<Ear>>>,
    admin: AdminClient<Ear>,
    /// Topics that are there.
    known: Mutex<HashSet<String>>,
    /// Read while somebody enters a group, written while one is taken away that nobody should be in.
    pub entering: RwLock<()>,
}

impl Link {
    pub fn new(address: &str) -> Result<Self, BrokerError> {
        let places: Vec<_> = address.split(',').map(str::trim).collect();
        if places.iter().any(|place| place.is_empty() || place.contains(['/', '@', ' '])) {
            return Err(BrokerError::Setting(format!(
                "the address of broker {NAME} cannot be read: write hosts with their ports and commas between them, \
                 like {ADDRESS}"
            )));
        }
        let place = places.join(",");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &place).set("client.id", "micro").set("reconnect.backoff.max.ms", "500");
        let setting = |error: KafkaError| {
            BrokerError::Setting(format!("broker {NAME} cannot be set up for {place}: {error}: see its address"))
        };
        let mut publishing = config.clone();
        PUBLISHING.iter().for_each(|(name, value)| {
            publishing.set(*name, *value);
        });
        publishing.set("message.timeout.ms", PUBLISH_TIME.as_millis().to_string());
        publishing.set("message.max.bytes", MAX_RECORD.to_string());
        let ear = Ear::default();
        let producer = publishing.create_with_context(ear.clone()).map_err(setting)?;
        let admin = config.create_with_context(Ear::default()).map_err(setting)?;
        Ok(Self {
            place,
            config,
            publishing,
            ear,
            producer: Mutex::new(Some(producer)),
            admin,
            known: Mutex::default(),
            entering: RwLock::default(),
        })
    }

    /// The client that publishes, unless the broker was closed. One that can do nothing any more is made anew.
    pub fn producer(&self) -> Result<FutureProducer<Ear>, BrokerError> {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = current.as_mut().ok_or_else(closed)?;
        if let Some((error, reason)) = producer.client().fatal_error() {
            tracing::warn!(%error, "kafka: the client that publishes is made anew: {reason}");
            let anew = self.publishing.create_with_context(self.ear.clone());
            let old = std::mem::replace(producer, anew.map_err(|error| self.failed("publish", &error))?);
            // A client that goes waits for its threads.
            drop(tokio::task::spawn_blocking(move || drop(old)));
        }
        Ok(producer.clone())
    }

    /// Takes away who publishes.
    pub fn close(&self) -> Option<FutureProducer<Ear>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A client that reads, as a member of a group or, without one, only what it is told to.
    pub fn consumer(&self, group: Option<&str>) -> KafkaResult<StreamConsumer<Calls>> {
        let mut config = self.config.clone();
        READING.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        config.set("group.id", group.unwrap_or(NAME));
        config.create_with_context(Calls::new())
    }

    pub fn failed(&self, what: &str, error: &KafkaError) -> BrokerError {
        let place = &self.place;
        match code(error) {
            Some(Code::InvalidTopic) => BrokerError::BadName(format!(
                "{what}: kafka at {place} refuses the name: it has no two topics whose names differ only by . and _, \
                 use another"
            )),
            Some(Code::MessageSizeTooLarge) => BrokerError::TooLarge(format!(
                "{what}: kafka at {place} refuses a message of this size: raise max.message.bytes of the topic"
            )),
            _ => BrokerError::Unavailable(format!(
                "{what}: kafka at {place}: {error}: see that the servers run and can be reached"
            )),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a topic is there which was not seen before.
    async fn ensure(&self, name: &str) -> KafkaResult<()> {
        if self.known().contains(name) { Ok(()) } else { self.make(name).await }
    }

    /// Sees to it that a topic is there, with as many partitions and copies as the servers give to it.
    pub async fn make(&self, name: &str) -> KafkaResult<()> {
        let largest = MAX_RECORD.to_string();
        // Whoever began is noted in one partition; of others the servers know best how many.
        let partitions = if name == names::BEGUN { 1 } else { -1 };
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1)).set("max.message.bytes", &largest);
        let options = options();
        let made = self.admin.create_topics([&topic], &options).await?;
        match made.into_iter().next() {
            // Who may not make topics may still publish to those that are there.
            None
            | Some(
                Ok(_)
                | Err((_, Code::TopicAlreadyExists | Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)),
            ) => {}
            Some(Err((_, code))) => return Err(KafkaError::AdminOp(code)),
        }
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name.to_owned());
        Ok(())
    }

    /// Fails soon where no server can be reached, instead of when the client gives a message up.
    async fn reach(&self, producer: &FutureProducer<Ear>) -> KafkaResult<()> {
        if self.ear.is_down.load(Ordering::Relaxed) {
            let producer = producer.clone();
            waiting(move || producer.client().fetch_metadata(None, REACH_TIME).map(drop)).await?;
            self.ear.is_down.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Publishes once.
    pub async fn publish(&self, name: &str, key: Option<&str>, value: &[u8]) -> KafkaResult<()> {
        let producer = self.producer().map_err(|_| KafkaError::Canceled)?;
        self.reach(&producer).await?;
        self.ensure(name).await?;
        let mut record = FutureRecord::<str, [u8]>::to(name).payload(value);
        record.key = key;
        let sent = producer.send(record, Timeout::After(Duration::ZERO)).await;
        sent.map(drop).map_err(|(error, _)| {
            if matches!(code(&error), Some(Code::UnknownTopic | Code::UnknownTopicOrPartition)) {
                self.known().remove(name);
            }
            error
        })
    }

    /// Takes a topic away, and says whether it was there.
    pub async fn remove_topic(&self, name: &str) -> KafkaResult<bool> {
        self.known().remove(name);
        let removed = self.admin.delete_topics(&[name], &options()).await?;
        said(removed.into_iter().next(), Code::UnknownTopicOrPartition)
    }

    /// Takes a group away that nobody is in, and says whether it was there.
    pub async fn remove_group(&self, group: &str) -> KafkaResult<bool> {
        let removed = self.admin.delete_groups(&[group], &options()).await?;
        said(removed.into_iter().next(), Code::GroupIdNotFound)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_TIME)).operation_timeout(Some(ANSWER_TIME))
}

fn said(outcome: Option<Result<String, (String, Code)>>, missing: Code) -> KafkaResult<bool> {
    match outcome {
        None | Some(Ok(_)) => Ok(true),
        Some(Err((_, code))) if code == missing => Ok(false),
        Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
    }
}

/// What the servers or the client say is wrong.
fn code(error: &KafkaError) -> Option<Code> {
    if let KafkaError::AdminOp(code) = error { Some(*code) } else { error.rdkafka_error_code() }
}

/// Whether it makes no sense to publish it again.
pub fn is_final(error: &KafkaError) -> bool {
    matches!(code(error), Some(Code::InvalidTopic | Code::MessageSizeTooLarge))
}

/// Does what waits for an answer, off the runtime's threads.
pub async fn waiting<T: Send + 'static>(work: impl FnOnce() -> KafkaResult<T> + Send + 'static) -> KafkaResult<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(KafkaError::Canceled))
}

/// Does the same again while servers are not as far as to answer, as those are that just came up.
pub async fn asking<T: Send + 'static>(
    held: &Held,
    work: impl Fn() -> KafkaResult<T> + Clone + Send + 'static,
) -> KafkaResult<T> {
    held.patiently(ANSWER_TIME, || waiting(work.clone())).await
}
