//! The broker in a file: what a publisher was told is on disk and survives the host, the process and the loss of power.
//!
//! One thread owns the connection that writes. While it waits for the disk, messages and acknowledgements queue up, and it
//! takes them together into its next transaction ([`writer`]). What was committed goes straight from memory to the
//! [groups](group); one that is behind reads the file ([`pages`]) over connections of its own ([`Readers`]). Topics,
//! groups and where they stand are in memory as well as in the file, and only the writer changes what the file keeps.

mod changes;
mod code;
mod group;
mod lane;
mod log;
mod pages;
mod queue;
mod retention;
mod staged;
mod tables;
mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::sqlite::Readers;

use super::topic::{check_group, check_topic};
use super::{
    Abilities, Broker, BrokerError, Clock, GroupUsage, Limits, Message, Pattern, Position, PublishOptions, Remove,
    Stored, SubscribeOptions, Subscription, TopicUsage, closed, sorted,
};
use changes::{Join, Removal};
use group::{Group, Place};
use log::Topic;
use queue::Queue;
use writer::{Publish, Request, Writer};

#[cfg(test)]
#[path = "../sqlite_tests.rs"]
mod tests;

/// The name of this backend.
pub const NAME: &str = "sqlite";

/// What a subscription may hold at most, whatever it asks for.
const MAX_PREFETCH: usize = 65_536;

/// Reads that may happen at once. A page takes less than a millisecond unless the disk is asked.
const READERS: u32 = 3;

/// What one [`Broker::read`] gives at most: messages, and the bytes after which there are no more.
const READ: (usize, usize) = (10_000, 32 * 1_024 * 1_024);

/// Topics in a SQLite file.
pub struct Sqlite {
    shared: Arc<Shared>,
}

/// What the writer, the groups and those who ask have in common.
struct Shared {
    state: Mutex<State>,
    queue: Queue,
    readers: Readers,
    runtime: Handle,
    /// The groups of which the file has to learn where they stand. They hold this.
    dirty: Mutex<Vec<Weak<Group>>>,
    /// Changes when there may be room again, after a publisher was told that there is none.
    room: watch::Sender<u64>,
    members: AtomicU64,
    is_closed: AtomicBool,
}

/// What there is.
#[derive(Default)]
struct State {
    topics: HashMap<Arc<str>, Arc<Topic>>,
    groups: Vec<Arc<Group>>,
}

impl Shared {
    fn new(readers: Readers, runtime: Handle) -> Self {
        Self {
            state: Mutex::default(),
            queue: Queue::new(),
            readers,
            runtime,
            dirty: Mutex::default(),
            room: watch::Sender::new(0),
            members: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dirty(&self) -> MutexGuard<'_, Vec<Weak<Group>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_member(&self) -> u64 {
        self.members.fetch_add(1, Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn open(&self) -> Result<(), BrokerError> {
        if self.is_closed() { Err(closed()) } else { Ok(()) }
    }

    fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.state().topics.get(name).cloned()
    }
}

impl Sqlite {
    /// Opens the file, or creates it. Its folder must exist.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when the file cannot be opened, is no database, or was written by a newer version of
    /// this program.
    pub async fn open(path: impl Into<PathBuf>, limits: Limits, clock: Clock) -> Result<Self, BrokerError> {
        let path = path.into();
        let (opened, answer) = oneshot::channel();
        let runtime = Handle::current();
        // The thread ends when the broker is closed or dropped.
        let spawned = thread::Builder::new().name("broker".to_owned()).spawn(move || {
            let failed = |cause: String| BrokerError::Unavailable(format!("open broker {}: {cause}", path.display()));
            let connection = tables::open(&path).map_err(failed);
            let ready = connection.and_then(|connection| {
                let readers = Readers::open("broker", &path, READERS).map_err(|error| failed(error.to_string()))?;
                let shared = Arc::new(Shared::new(readers, runtime));
                let writer = Writer::new(connection, shared.clone(), limits, clock);
                Ok((shared, writer.map_err(|error| failed(error.to_string()))?))
            });
            match ready {
                Ok((shared, writer)) => {
                    // Who no longer waits for it drops it, which ends the writer.
                    drop(opened.send(Ok(Self { shared })));
                    writer.serve();
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        if let Err(error) = spawned {
            return Err(BrokerError::Unavailable(format!("start the broker's thread: {error}")));
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Hands a request to the writer and waits for what becomes of it.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, BrokerError>>) -> Request,
        bytes: usize,
    ) -> Result<T, BrokerError> {
        self.shared.open()?;
        let (answer, answered) = oneshot::channel();
        self.shared.queue.send(request(answer), bytes).await?;
        // Requests that the writer had not taken when it stopped are dropped with their answers.
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.queue.close();
    }
}

#[async_trait]
impl Broker for Sqlite {
    fn name(&self) -> &str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities { durable: true, replay: true, delay: true, list: true, remove: true }
    }

    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError> {
        check_topic(topic)?;
        message.check(topic)?;
        let bytes = message.size();
        let header = Bytes::from(code::header(&message.header));
        let body = message.body;
        let send = || {
            let (topic, header, body) = (topic.into(), header.clone(), body.clone());
            let request = |answer| Request::Publish(Publish { topic, header, body, due: options.deliver_at, answer });
            self.ask(request, bytes)
        };
        if options.patience.is_zero() {
            return send().await;
        }
        let until = Instant::now().checked_add(options.patience);
        let mut room = self.shared.room.subscribe();
        loop {
            // Whatever changes from now on is seen below.
            room.mark_unchanged();
            let detail = match send().await {
                Err(BrokerError::Full(detail)) => detail,
                outcome => return outcome,
            };
            let changed = match until {
                Some(until) => timeout_at(until, room.changed()).await.is_ok(),
                None => room.changed().await.is_ok(),
            };
            if !changed {
                return Err(BrokerError::Full(detail));
            }
        }
    }

    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError> {
        let SubscribeOptions { group, prefetch, from } = options;
        group.as_ref().map_or(Ok(()), |group| check_group(&group.name))?;
        let prefetch = prefetch.clamp(1, MAX_PREFETCH);
        let (deliveries, received) = mpsc::channel(prefetch);
        let join = Join { pattern: pattern.clone(), group, prefetch, from, deliveries };
        let place: Place = self.ask(|answer| Request::Subscribe(join, answer), 0).await?;
        Ok(Subscription::new(received, place))
    }

    async fn topics(&self) -> Result<Vec<TopicUsage>, BrokerError> {
        self.shared.open()?;
        let topics: Vec<_> = self.shared.state().topics.values().cloned().collect();
        let mut usage: Vec<_> = topics.iter().map(|topic| topic.usage()).collect();
        usage.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(usage)
    }

    async fn groups(&self, topic: &str) -> Result<Vec<GroupUsage>, BrokerError> {
        check_topic(topic)?;
        self.shared.open()?;
        let Some(topic) = self.shared.topic(topic) else {
            // A topic that nothing was published to has groups that wait for it.
            let groups: Vec<_> = self.shared.state().groups.clone();
            let waiting = groups.iter().filter(|group| group.pattern.matches(topic));
            return Ok(sorted(waiting.filter_map(|group| group.waiting()).collect()));
        };
        let (route, has_gaps) = {
            let log = topic.log();
            (log.route.clone(), log.messages < log.next - log.first)
        };
        let mut found = Vec::new();
        for (mut usage, position) in route.iter().filter_map(|group| group.usage(&topic)) {
            if has_gaps {
                let (id, end) = (topic.id, topic.bounds().1);
                let all = end.saturating_sub(position);
                let there = self.shared.readers.read(move |file| tables::count(file, id, position, end)).await?;
                usage.lag = usage.lag.saturating_sub(all.saturating_sub(there));
            }
            found.push(usage);
        }
        Ok(sorted(found))
    }

    /// Gives no more than 10,000 messages, and no more after 32 MiB of them.
    async fn read(&self, topic: &str, from: Position, limit: usize) -> Result<Vec<Stored>, BrokerError> {
        check_topic(topic)?;
        self.shared.open()?;
        let Some(topic) = self.shared.topic(topic) else { return Ok(Vec::new()) };
        let read = self.shared.readers.read(move |file| {
            let offset = tables::offset(file, &topic, from)?;
            let (_, end) = topic.bounds();
            tables::page(file, topic.id, offset, end, (limit.min(READ.0), READ.1))
        });
        let stored = |record: log::Record| {
            let message = record.message();
            Stored { offset: record.seq, published: record.published, message }
        };
        Ok(read.await?.into_iter().map(stored).collect())
    }

    async fn seek(&self, pattern: &Pattern, group: &str, to: Position) -> Result<(), BrokerError> {
        check_group(group)?;
        let (pattern, group) = (pattern.clone(), group.to_owned());
        self.ask(|answer| Request::Seek { pattern, group, to, answer }, 0).await
    }

    async fn remove(&self, what: Remove<'_>) -> Result<bool, BrokerError> {
        let removal = match what {
            Remove::Topic(topic) | Remove::Message(topic, _) => {
                check_topic(topic)?;
                match what {
                    Remove::Message(_, seq) => Removal::Message(topic.to_owned(), seq),
                    _ => Removal::Topic(topic.to_owned()),
                }
            }
            Remove::Group(pattern, group) => {
                check_group(group)?;
                Removal::Group(pattern.clone(), group.to_owned())
            }
        };
        self.ask(|answer| Request::Remove(removal, answer), 0).await
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.shared.is_closed.store(true, Ordering::Release);
        // The readers go first: the last connection to go writes the log into the file and leaves the file alone.
        self.shared.readers.close().await;
        let (closed, answer) = oneshot::channel();
        if self.shared.queue.send(Request::Close(closed), 0).await.is_ok() {
            // A writer that is gone without an answer was asked to close by somebody else.
            answer.await.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}
