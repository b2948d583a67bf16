//! Messages that the server keeps in a stream, and brings again to who did not acknowledge them.
//!
//! A group is a durable consumer of the stream, named after the pattern and the group. A message's offset is its place in
//! the stream, so the offsets of one topic rise with gaps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info, ReplayPolicy};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::acks::Acks;
use super::inbox::Inbox;
use super::link::{ANSWER, Link};
use super::pump::{Pump, millis};
use super::stream::{Refusal, Stream};
use super::{JETSTREAM, MAX_PREFETCH, STREAM, check_own, is_of_nats, room};
use crate::broker::topic::{check_group, check_topic};
use crate::broker::{
    Abilities, Broker, BrokerError, GroupUsage, Limits, Message, Pattern, Position, PublishOptions, Remove, Stored,
    SubscribeOptions, Subscription, TopicUsage,
};

/// How long the server waits for word of a delivery before it gives it to somebody else.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// How long a consumer that is not to be remembered outlives its last request.
const INACTIVE: Duration = Duration::from_mins(5);

/// Messages that one reading gives; a larger limit is taken as this one.
const MAX_READ: usize = 1_000;

/// Questions that are under way at a time.
const AT_A_TIME: usize = 16;

/// How often a group is set back while its members keep it alive.
const ROUNDS: usize = 10;

/// The longest name of a consumer that NATS takes.
const MAX_CONSUMER: usize = 255;

/// A NATS server with JetStream.
pub struct JetStream {
    stream: Arc<Stream>,
    acks: Acks,
    takes_later: bool,
    max_age: Duration,
    members: Members,
}

/// How many subscriptions of this process are in each consumer, for those who ask: the server tells of requests, not of
/// members.
type Members = Arc<Mutex<HashMap<String, u64>>>;

/// One of them.
pub(super) struct Member {
    name: String,
    members: Members,
}

impl Member {
    fn new(name: &str, members: &Members) -> Self {
        *members.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() += 1;
        Self { name: name.to_owned(), members: members.clone() }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = members.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                members.remove(&self.name);
            }
        }
    }
}

/// A consumer as this process wants it.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) pattern: Pattern,
    pub(super) is_durable: bool,
    /// Where it stood when it was found or made: the place in the stream of what comes next.
    pub(super) from: u64,
    /// When the stream was made that has it.
    pub(super) made: String,
    /// When it was made itself, as far as it is known.
    pub(super) born: Option<DateTime>,
}

impl Reader {
    fn config(&self, deliver_policy: DeliverPolicy) -> Config {
        Config {
            name: Some(self.name.clone()),
            durable_name: self.is_durable.then(|| self.name.clone()),
            deliver_policy,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: -1,
            filter_subject: self.pattern.to_string(),
            replay_policy: ReplayPolicy::Instant,
            // Each member asks for no more than it may have, and so bounds what is under way; a bound of all together would
            // have to be moved with each one that comes and goes.
            max_ack_pending: -1,
            inactive_threshold: if self.is_durable { Duration::ZERO } else { INACTIVE },
            ..Config::default()
        }
    }

    /// Finds the consumer, or makes it to begin there. One that is to be remembered stays so, whoever asks.
    pub(super) async fn ensure(&mut self, stream: &Stream, policy: DeliverPolicy) -> Result<u64, BrokerError> {
        let failed = |refusal| stream.error("subscribe to", refusal);
        for _ in 0..ROUNDS {
            let found = match stream.consumer(&self.name).await.map_err(failed)? {
                Some(info) => Some(info),
                None => stream.create_consumer(self.config(policy)).await.map_err(failed)?,
            };
            let Some(Info { config, delivered, created, .. }) = found else { continue };
            let is_remembered = config.durable_name.is_some() && config.inactive_threshold.is_zero();
            if self.is_durable && !is_remembered {
                // Made by who did not want it remembered. The server takes the end of its time only when it is durable.
                let durable_name = Some(self.name.clone());
                let config = Config { durable_name, inactive_threshold: Duration::ZERO, ..config };
                stream.change_consumer(&config).await.map_err(failed)?;
                stream.change_consumer(&config).await.map_err(failed)?;
            }
            self.is_durable |= is_remembered;
            self.born = Some(created);
            return Ok(delivered.stream_sequence + 1);
        }
        Err(failed(Refusal::Silent(format!("consumer {} comes and goes", self.name))))
    }

    /// Takes away what need not be remembered, of which so many messages were given back at the end.
    pub(super) async fn leave(&self, stream: &Stream, given_back: usize) {
        if self.is_durable {
            return;
        }
        // Some may be in it on other hosts, or have come to stay.
        let stays = |info: Info| {
            info.config.durable_name.is_some() || info.num_waiting > 0 || info.num_ack_pending > given_back
        };
        let is_alone = name_of(&self.name).is_none();
        if is_alone || !stream.consumer(&self.name).await.ok().flatten().is_some_and(stays) {
            let _ = stream.delete_consumer(&self.name).await;
        }
    }
}

impl JetStream {
    /// Connects to the server at an address, and sees to its stream. The limits are those of a stream that is made here;
    /// one that somebody else made keeps its own.
    ///
    /// # Errors
    /// [`BrokerError::Setting`] for what is no address or no name of a stream, [`BrokerError::Unavailable`] when no server
    /// answers there or it has no JetStream.
    pub async fn open(address: Option<&str>, stream: Option<&str>, limits: Limits) -> Result<Self, BrokerError> {
        let name = stream.unwrap_or(STREAM);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(BrokerError::Setting(format!(
                "the stream of broker {JETSTREAM} cannot be named {name:?}: use letters, digits, - and _"
            )));
        }
        let link = Link::connect(JETSTREAM, address).await?;
        let (stream, takes_later) = Stream::open(link, name, limits).await?;
        let acks = Acks::begin(&stream.link, name).await?;
        let (stream, members) = (Arc::new(stream), Members::default());
        tokio::spawn(room::keep_young(Arc::downgrade(&stream), limits.max_age, stream.link.watch()?));
        Ok(Self { stream, acks, takes_later, max_age: limits.max_age, members })
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn acks(&self) -> &Acks {
        &self.acks
    }

    pub(super) fn max_age(&self) -> Duration {
        self.max_age
    }

    /// The group that somebody else's question is about.
    fn group_name(pattern: &Pattern, group: &str) -> Result<String, BrokerError> {
        check_own(pattern.as_str())?;
        check_group(group)?;
        consumer_name(pattern, group)
    }
}

/// What a group's consumer is called. NATS takes no dots and no wildcards there, and topics have none of their stand-ins.
fn consumer_name(pattern: &Pattern, group: &str) -> Result<String, BrokerError> {
    let name = format!("{group}:{pattern}").replace('.', ",").replace('*', "+").replace('>', "}");
    if name.len() > MAX_CONSUMER {
        return Err(BrokerError::BadName(format!(
            "group {group:?} of pattern {pattern:?} has a name that NATS does not take: together they may have {} bytes",
            MAX_CONSUMER - 1
        )));
    }
    Ok(name)
}

/// The group and the pattern of a consumer. None where it is not one of ours, or has no group.
fn name_of(consumer: &str) -> Option<(String, Pattern)> {
    let name = consumer.replace(',', ".").replace('+', "*").replace('}', ">");
    let (group, pattern) = name.split_once(':')?;
    Some((group.to_owned(), Pattern::new(pattern).ok()?))
}

fn policy(from: Position) -> Result<DeliverPolicy, BrokerError> {
    Ok(match from {
        Position::Latest => DeliverPolicy::New,
        Position::Earliest => DeliverPolicy::All,
        Position::Offset(offset) => DeliverPolicy::ByStartSequence { start_sequence: offset.max(1) },
        Position::Time(time) => {
            let start_time = async_nats::datetime::from_nanos(i128::from(time) * 1_000_000).map_err(|error| {
                BrokerError::BadName(format!("{time} is no time: {error}; give milliseconds since 1970"))
            })?;
            DeliverPolicy::ByStartTime { start_time }
        }
    })
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[async_trait]
impl Broker for JetStream {
    fn name(&self) -> &str {
        JETSTREAM
    }

    fn abilities(&self) -> Abilities {
        Abilities { durable: true, replay: true, delay: self.takes_later, list: true, remove: true }
    }

    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError> {
        self.publish_and_wait(topic, message, options).await
    }

    async fn publish_all(&self, topic: &str, messages: Vec<(Message, PublishOptions)>) -> Vec<(usize, BrokerError)> {
        self.publish_many(topic, messages).await
    }

    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError> {
        check_own(pattern.as_str())?;
        let stream = &self.stream;
        let client = &stream.link.client;
        let (name, is_durable) = match &options.group {
            Some(group) => (Self::group_name(pattern, &group.name)?, group.durable),
            None => (format!("reader-{}", unique(client)), false),
        };
        let policy = policy(options.from)?;
        let _held = stream.link.hold()?;
        stream.link.connected(ANSWER).await?;
        let made = match stream.keep(pattern.as_str()).await? {
            Some(info) => info.created,
            None => stream.info().await.map_err(|refusal| stream.error("subscribe to", refusal))?.created,
        };
        let mut reader = Reader { name, pattern: pattern.clone(), is_durable, from: 0, made, born: None };
        reader.from = reader.ensure(stream, policy).await?;
        let prefetch = options.prefetch.clamp(1, MAX_PREFETCH);
        let inbox = timeout(ANSWER, Inbox::open(client)).await;
        let inbox = inbox.map_err(|_| stream.link.lost("the server answers nothing"))?;
        let inbox = inbox.map_err(|error| stream.link.lost(&error.to_string()))?;
        let (deliveries, received) = mpsc::channel(prefetch);
        let member = Member::new(&reader.name, &self.members);
        let pump = Pump::new(stream.clone(), reader, prefetch, inbox);
        tokio::spawn(pump.run(deliveries, stream.link.watch()?, member));
        Ok(Subscription::new(received, ()))
    }

    async fn topics(&self) -> Result<Vec<TopicUsage>, BrokerError> {
        let _held = self.stream.link.hold()?;
        let failed = |refusal| self.stream.error("list", refusal);
        let (state, subjects) = self.stream.subjects().await.map_err(failed)?;
        let later = self.stream.later("");
        let subjects = subjects
            .into_iter()
            .filter(|(name, _)| check_topic(name).is_ok() && !is_of_nats(name) && !name.starts_with(&later));
        let usage = async |(name, messages): (String, u64)| {
            let first = self.stream.message(1, Some(&name)).await.map_err(failed)?;
            let next = state.last_seq + 1;
            let first = first.map_or(next, |message| message.seq);
            // The server counts the bytes of all together: this is what is the topic's if all messages are alike.
            let bytes = u128::from(state.bytes) * u128::from(messages) / u128::from(state.messages.max(1));
            Ok::<_, BrokerError>(TopicUsage { name, messages, bytes: u64::try_from(bytes).unwrap_or(0), first, next })
        };
        let mut topics: Vec<_> = stream::iter(subjects.map(usage)).buffer_unordered(AT_A_TIME).try_collect().await?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    async fn groups(&self, topic: &str) -> Result<Vec<GroupUsage>, BrokerError> {
        check_topic(topic)?;
        let _held = self.stream.link.hold()?;
        let (consumers, _) =
            self.stream.consumers().await.map_err(|refusal| self.stream.error("list groups of", refusal))?;
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = consumers.into_iter().filter_map(|info| {
            let (name, pattern) = name_of(&info.name).filter(|(_, pattern)| pattern.matches(topic))?;
            let in_flight = info.num_ack_pending as u64;
            // Of other hosts it is only known that some of theirs wait for messages.
            let members = members.get(&info.name).copied().unwrap_or(u64::from(info.num_waiting > 0));
            let lag = info.num_pending + in_flight;
            Some(GroupUsage { name, pattern: pattern.to_string(), lag, in_flight, members })
        });
        Ok(crate::broker::sorted(usage.collect()))
    }

    async fn read(&self, topic: &str, from: Position, limit: usize) -> Result<Vec<Stored>, BrokerError> {
        check_topic(topic)?;
        check_own(topic)?;
        let deliver_policy = policy(from)?;
        let _held = self.stream.link.hold()?;
        if from == Position::Latest || limit == 0 {
            return Ok(Vec::new());
        }
        let failed = |refusal| self.stream.error("read", refusal);
        let reader = Reader {
            name: format!("reader-{}", unique(&self.stream.link.client)),
            pattern: Pattern::new(topic)?,
            is_durable: false,
            from: 0,
            made: String::new(),
            born: None,
        };
        let config = Config { ack_policy: AckPolicy::None, memory_storage: true, ..reader.config(deliver_policy) };
        let Some(info) = self.stream.create_consumer(config).await.map_err(failed)? else { return Ok(Vec::new()) };
        let read = self.read_all(info, limit.min(MAX_READ)).await;
        reader.leave(&self.stream, 0).await;
        read.map_err(|error| failed(Refusal::Silent(error.to_string())))
    }

    async fn seek(&self, pattern: &Pattern, group: &str, to: Position) -> Result<(), BrokerError> {
        let name = Self::group_name(pattern, group)?;
        let policy = policy(to)?;
        let _held = self.stream.link.hold()?;
        let failed = |refusal| self.stream.error("set a group back in", refusal);
        let Some(info) = self.stream.consumer(&name).await.map_err(failed)? else {
            return Err(BrokerError::BadName(format!(
                "group {group:?} has not subscribed to pattern {pattern:?}: subscribe first, it may begin anywhere"
            )));
        };
        let is_durable = info.config.durable_name.is_some();
        let reader = Reader { name, pattern: pattern.clone(), is_durable, from: 0, made: String::new(), born: None };
        for _ in 0..ROUNDS {
            self.stream.delete_consumer(&reader.name).await.map_err(failed)?;
            if self.stream.create_consumer(reader.config(policy)).await.map_err(failed)?.is_some() {
                return Ok(());
            }
        }
        Err(failed(Refusal::Silent(format!("members of group {group} bring it back at once"))))
    }

    async fn remove(&self, what: Remove<'_>) -> Result<bool, BrokerError> {
        let _held = self.stream.link.hold()?;
        let failed = |refusal| self.stream.error("remove something of", refusal);
        match what {
            Remove::Topic(topic) => {
                check_topic(topic)?;
                check_own(topic)?;
                Ok(self.stream.purge(json!({ "filter": topic })).await.map_err(failed)? > 0)
            }
            Remove::Message(topic, offset) => {
                check_topic(topic)?;
                let found = self.stream.message(offset, None).await.map_err(failed)?;
                if found.is_none_or(|message| message.subject != topic) {
                    return Ok(false);
                }
                self.stream.delete(offset).await.map_err(failed)?;
                Ok(true)
            }
            Remove::Group(pattern, group) => {
                let name = Self::group_name(pattern, group)?;
                self.stream.delete_consumer(&name).await.map_err(failed)
            }
        }
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.stream.link.close().await;
        Ok(())
    }
}

impl JetStream {
    /// Up to so many messages that a consumer gives at once.
    async fn read_all(&self, info: Info, limit: usize) -> Result<Vec<Stored>, async_nats::Error> {
        let config = async_nats::jetstream::consumer::pull::Config::default();
        let consumer = async_nats::jetstream::consumer::Consumer::new(config, info, self.stream.context.clone());
        let mut all = Vec::new();
        let limit = limit.min(usize::try_from(consumer.cached_info().num_pending).unwrap_or(limit));
        if limit == 0 {
            return Ok(all);
        }
        let mut batch = consumer.fetch().max_messages(limit).expires(ANSWER).messages().await?;
        while let Some(message) = batch.next().await {
            let message = message?;
            let info = message.info()?;
            all.push(Stored {
                offset: info.stream_sequence,
                published: millis(info.published.unix_timestamp_nanos()).unwrap_or(0),
                message: super::message(&message.payload, message.headers.as_ref()),
            });
        }
        Ok(all)
    }
}

/// A name that nobody else has.
pub(super) fn unique(client: &async_nats::Client) -> String {
    let inbox = client.new_inbox();
    inbox.rsplit('.').next().unwrap_or_default().to_owned()
}
