//! Topics on a Redis server, version 6.2 or newer: a stream a topic, a consumer group a group.
//!
//! What the server has survives it as far as its own persistence goes: with `appendonly yes` and `appendfsync always`
//! nothing that was published is lost, with what it does by default the last second or minutes may be. A publisher that
//! did not hear the server's answer publishes again, so that a message may be there twice; [`MESSAGE_ID`](super::MESSAGE_ID)
//! tells.
//!
//! Nothing is thrown away by itself, whatever [`Limits`](super::Limits) say: a stream grows until its topic is removed or
//! the server has no room, which publishers are told.
//!
//! How far a group is behind is told exactly where the server knows it, and else up to a thousand messages and those that were
//! handed out: version 6.2 never knows it, and no version does after messages were taken away or a group was set back.
//!
//! Where a group was set back, nothing that its members held before says anything any more. They look twice a second, and
//! with each reading, whether it was: a message that is acknowledged in that time may be taken for the same one handed out
//! again, which then does not come a third time if it is given back.
//!
//! Who subscribes ([`member`]) reads with a connection of its own, since reading waits, and does all else over one that
//! everybody shares. Members note that they are there, and hold on to what is being worked on; what a member that fell
//! silent held goes to the others after [`SILENCE`].

mod keys;
mod member;
mod scripts;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::streams::{StreamInfoGroup, StreamInfoGroupsReply};
use redis::{AsyncCommands, Client, RedisError, RedisResult, Script, ScriptInvocation};
use tokio::sync::{Notify, mpsc};

use super::closing::Open;
use super::topic::{check_group, check_topic};
use super::{
    Abilities, Broker, BrokerError, Clock, GroupUsage, Message, Pattern, Position, PublishOptions, Remove, Stored,
    SubscribeOptions, Subscription, TopicUsage,
};
use keys::RawEntry;
use member::Member;

#[cfg(test)]
#[path = "../redis_tests.rs"]
mod tests;

/// The name of this backend.
pub const NAME: &str = "redis";

/// Where a server listens that nobody configured.
pub const ADDRESS: &str = "redis://127.0.0.1:6379";

/// How long a member may not be heard of before others take over what it holds.
pub const SILENCE: Duration = Duration::from_secs(30);

/// How long to wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// How long to wait for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The most messages that one reading gives, and that one subscription may hold.
const MANY: usize = 10_000;

/// Topics on a Redis server.
pub struct Redis {
    shared: Arc<Shared>,
    /// Held by the members and the upkeep, and by whoever asks for something.
    open: Open,
}

/// What all parts of one broker use.
struct Shared {
    client: Client,
    /// The connection that everybody shares.
    connection: ConnectionManager,
    clock: Clock,
    /// A message for later was published here.
    deferred: Notify,
}

impl Redis {
    /// Connects to a server, as in `redis://user:password@127.0.0.1:6379/0`, or `rediss://` for TLS.
    ///
    /// # Errors
    /// [`BrokerError::Setting`] for an address that is none, and [`BrokerError::Unavailable`] when no server answers.
    pub async fn open(address: &str, clock: Clock) -> Result<Self, BrokerError> {
        let client = Client::open(address).map_err(|error| {
            BrokerError::Setting(format!(
                "the address of broker {NAME} cannot be read: {error}: write it like {ADDRESS}"
            ))
        })?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(CONNECT_TIME))
            .set_response_timeout(Some(ANSWER_TIME));
        let place = client.get_connection_info().addr().to_string();
        let connection = client
            .get_connection_manager_with_config(config)
            .await
            .map_err(|error| unavailable(&place, "connect", &error))?;
        let shared = Arc::new(Shared { client, connection, clock, deferred: Notify::new() });
        let open = Open::new();
        tokio::spawn(upkeep::run(shared.clone(), open.hold()?));
        Ok(Self { shared, open })
    }
}

impl Shared {
    fn failed(&self, what: &str, error: &RedisError) -> BrokerError {
        let place = self.client.get_connection_info().addr();
        if error.code() == Some("OOM") {
            return BrokerError::Full(format!(
                "{what}: redis at {place} has no memory left: remove topics that nobody needs, or raise its maxmemory"
            ));
        }
        unavailable(place, what, error)
    }

    /// Runs a script over the shared connection.
    async fn run<T: redis::FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        script.invoke_async(&mut self.connection.clone()).await
    }

    /// The topics that a pattern names, sorted.
    async fn topics(&self, pattern: &Pattern) -> RedisResult<Vec<String>> {
        if let Some(topic) = pattern.topic() {
            return Ok(vec![topic.to_owned()]);
        }
        let mut topics: Vec<String> = self.connection.clone().smembers(keys::TOPICS).await?;
        topics.retain(|topic| pattern.matches(topic));
        topics.sort_unstable();
        Ok(topics)
    }

    /// Makes a group known to the server in these topics, where it is not yet.
    async fn begin<'t>(&self, group: &str, topics: impl Iterator<Item = &'t str>, last: &str) -> RedisResult<()> {
        let mut connection = self.connection.clone();
        for topic in topics {
            let made: RedisResult<()> = connection.xgroup_create_mkstream(keys::stream(topic), group, last).await;
            match made {
                Err(error) if error.code() != Some("BUSYGROUP") => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes that a member is there.
    async fn present(&self, group: &str, member: &str) -> RedisResult<()> {
        self.run(scripts::PRESENT.key(keys::MEMBERS).arg(group).arg(member)).await
    }

    /// Gives what a member holds to the others of its group, and strikes it off.
    async fn strike(&self, group: &str, member: &str) -> RedisResult<()> {
        let pattern = group.split_once(' ').and_then(|(_, pattern)| Pattern::new(pattern).ok());
        let topics = match pattern {
            Some(pattern) => self.topics(&pattern).await?,
            None => Vec::new(),
        };
        let mut strike = scripts::STRIKE.key(keys::MEMBERS);
        strike.key(keys::GROUPS).key(keys::LEFT).key(keys::SOUGHT).arg(group).arg(member);
        for topic in &topics {
            let stream = keys::stream(topic);
            let left: RedisResult<()> =
                self.run(scripts::LEAVE.key(&stream).key(keys::LEFT).arg(group).arg(member)).await;
            match left {
                // The group is not known there, so that nothing is held.
                Err(error) if error.is_io_error() => return Err(error),
                _ => strike.key(stream),
            };
        }
        self.run(&strike).await
    }

    async fn usage(&self, topic: String) -> RedisResult<TopicUsage> {
        let (messages, bytes, first, last): (u64, u64, String, String) =
            self.run(&scripts::USAGE.key(keys::stream(&topic))).await?;
        let next = keys::offset(&last).saturating_add(1);
        Ok(TopicUsage { name: topic, messages, bytes, first: keys::offset(&first), next })
    }

    async fn group_usage(&self, topic: &str) -> RedisResult<Vec<GroupUsage>> {
        let mut connection = self.connection.clone();
        let stream = keys::stream(topic);
        if !connection.exists::<_, bool>(&stream).await? {
            return Ok(Vec::new());
        }
        let groups: StreamInfoGroupsReply = connection.xinfo_groups(&stream).await?;
        let members: Vec<String> = connection.zrange(keys::MEMBERS, 0, -1).await?;
        let mut usage = Vec::new();
        for StreamInfoGroup { name: full, pending, last_delivered_id, lag, .. } in groups.groups {
            // Those without a group have one of their own, with a name that no group can have.
            let Some((name, pattern)) = full.split_once(' ').filter(|(name, _)| !name.starts_with('~')) else {
                continue;
            };
            let behind = match lag {
                Some(lag) => lag as u64,
                None => self.run(scripts::BEHIND.key(&stream).arg(last_delivered_id)).await?,
            };
            let of_it = |member: &&String| member.strip_prefix(&full).is_some_and(|rest| rest.starts_with(' '));
            usage.push(GroupUsage {
                name: name.to_owned(),
                pattern: pattern.to_owned(),
                lag: behind + pending as u64,
                in_flight: pending as u64,
                members: members.iter().filter(of_it).count() as u64,
            });
        }
        Ok(super::sorted(usage))
    }

    async fn set_back(&self, pattern: &Pattern, group: &str, to: Position) -> RedisResult<()> {
        let mut connection = self.connection.clone();
        let kind: Option<String> = connection.hget(keys::GROUPS, group).await?;
        let topics = self.topics(pattern).await?;
        self.begin(group, topics.iter().map(|topic| &**topic), &keys::before(to)).await?;
        // Counted with all its topics in one step: what is read before is of the old group, and what is read after of the new.
        let mut steps = redis::pipe();
        steps.atomic().hincr(keys::SOUGHT, group, 1).ignore();
        for stream in topics.iter().map(|topic| keys::stream(topic)) {
            // Made anew, it has forgotten what was handed out, which would come again otherwise.
            steps.xgroup_destroy(&stream, group).ignore();
            steps.xgroup_create(&stream, group, keys::before(to)).ignore();
        }
        let () = steps.query_async(&mut connection).await?;
        if kind.is_none() {
            let () = connection.hset(keys::GROUPS, group, "durable").await?;
        }
        Ok(())
    }

    async fn remove(&self, what: Remove<'_>) -> RedisResult<bool> {
        let mut connection = self.connection.clone();
        match what {
            Remove::Topic(topic) => {
                let removed: u64 =
                    self.run(scripts::REMOVE.key(keys::stream(topic)).key(keys::TOPICS).arg(topic)).await?;
                Ok(removed > 0)
            }
            Remove::Message(topic, offset) => {
                let removed: u64 = connection.xdel(keys::stream(topic), &[keys::id(offset)]).await?;
                Ok(removed > 0)
            }
            Remove::Group(pattern, name) => {
                let topics = self.topics(pattern).await?;
                let mut forget = scripts::FORGET.key(keys::GROUPS);
                forget.key(keys::LEFT).key(keys::SOUGHT);
                for topic in topics {
                    forget.key(keys::stream(&topic));
                }
                let removed: u64 = self.run(forget.arg(keys::group(name, pattern))).await?;
                Ok(removed > 0)
            }
        }
    }
}

#[async_trait]
impl Broker for Redis {
    fn name(&self) -> &str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities { durable: true, replay: true, delay: true, list: true, remove: true }
    }

    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError> {
        check_topic(topic)?;
        message.check(topic)?;
        let held = self.open.hold()?;
        let header = keys::header(&message.header);
        let later = options.deliver_at.filter(|at| *at > self.shared.clock.now());
        let script = script_of(later);
        let mut call = script.prepare_invoke();
        match later {
            Some(at) => call.key(keys::LATER).key(keys::SERIAL).arg(at),
            None => call.key(keys::stream(topic)).key(keys::TOPICS).key(keys::CREATED),
        };
        call.arg(topic).arg(header).arg(&message.body[..]);
        let published = held.patiently(options.patience, || self.shared.run::<redis::Value>(&call)).await;
        published.map_err(|error| self.shared.failed(&format!("publish to topic {topic}"), &error))?;
        if later.is_some() {
            self.shared.deferred.notify_one();
        }
        Ok(())
    }

    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError> {
        let SubscribeOptions { group, prefetch, from } = options;
        if let Some(group) = &group {
            check_group(&group.name)?;
        }
        let held = self.open.hold()?;
        let failed = |error: RedisError| self.shared.failed(&format!("subscribe to {pattern}"), &error);
        let mut connection = self.shared.connection.clone();
        let serial: u64 = connection.incr(keys::SERIAL, 1).await.map_err(failed)?;
        let member = format!("m{serial}");
        let (name, kind) = match group {
            Some(group) => (group.name, if group.durable { "durable" } else { "passing" }),
            None => (format!("~{serial}"), "passing"),
        };
        let group = (keys::group(&name, pattern), kind, from);
        let (deliveries, received) = mpsc::channel(prefetch.clamp(1, MANY));
        let mut member = Member::new(self.shared.clone(), pattern.clone(), group, member, deliveries, held);
        member.enter().await.map_err(failed)?;
        tokio::spawn(member.run());
        Ok(Subscription::new(received, ()))
    }

    async fn topics(&self) -> Result<Vec<TopicUsage>, BrokerError> {
        let _held = self.open.hold()?;
        let failed = |error| self.shared.failed("list topics", &error);
        let mut names: Vec<String> = self.shared.connection.clone().smembers(keys::TOPICS).await.map_err(failed)?;
        names.sort_unstable();
        let mut usage = Vec::with_capacity(names.len());
        for name in names {
            usage.push(self.shared.usage(name).await.map_err(failed)?);
        }
        Ok(usage)
    }

    async fn groups(&self, topic: &str) -> Result<Vec<GroupUsage>, BrokerError> {
        check_topic(topic)?;
        let _held = self.open.hold()?;
        let usage = self.shared.group_usage(topic).await;
        usage.map_err(|error| self.shared.failed(&format!("list groups of topic {topic}"), &error))
    }

    async fn read(&self, topic: &str, from: Position, limit: usize) -> Result<Vec<Stored>, BrokerError> {
        check_topic(topic)?;
        let _held = self.open.hold()?;
        let Some(from) = keys::from(from) else { return Ok(Vec::new()) };
        let mut range = redis::cmd("XRANGE");
        range.arg(keys::stream(topic)).arg(from).arg("+").arg("COUNT").arg(limit.min(MANY));
        let entries: RedisResult<Vec<RawEntry>> = range.query_async(&mut self.shared.connection.clone()).await;
        let entries = entries.map_err(|error| self.shared.failed(&format!("read topic {topic}"), &error))?;
        let stored = |(id, fields): RawEntry| Stored {
            offset: keys::offset(&id),
            published: keys::millis(&id),
            message: keys::message(fields),
        };
        Ok(entries.into_iter().map(stored).collect())
    }

    async fn seek(&self, pattern: &Pattern, group: &str, to: Position) -> Result<(), BrokerError> {
        check_group(group)?;
        let _held = self.open.hold()?;
        let done = self.shared.set_back(pattern, &keys::group(group, pattern), to).await;
        done.map_err(|error| self.shared.failed(&format!("set group {group} of {pattern} back"), &error))
    }

    async fn remove(&self, what: Remove<'_>) -> Result<bool, BrokerError> {
        match what {
            Remove::Topic(topic) | Remove::Message(topic, _) => check_topic(topic)?,
            Remove::Group(_, group) => check_group(group)?,
        }
        let _held = self.open.hold()?;
        self.shared.remove(what).await.map_err(|error| self.shared.failed("remove", &error))
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.open.close(ANSWER_TIME).await;
        Ok(())
    }
}

fn script_of(later: Option<u64>) -> &'static Script {
    if later.is_some() { &scripts::DEFER } else { &scripts::PUBLISH }
}

fn unavailable(place: impl std::fmt::Display, what: &str, error: &RedisError) -> BrokerError {
    BrokerError::Unavailable(format!("{what}: redis at {place}: {error}: see that the server runs and can be reached"))
}
