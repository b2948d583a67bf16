//! One subscription: a task that reads for it, and sees to what becomes of what it handed out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, FromRedisValue, RedisResult, Script, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};

use super::keys::{self, Entry};
use super::{ANSWER_TIME, CONNECT_TIME, SILENCE, Shared, scripts};
use crate::broker::closing::{Held, WAITS};
use crate::broker::{Delivery, Done, Pattern, Position, Told};

/// How long one reading waits for messages, and how often a member looks for new topics and for what others left.
const READ_TIME: Duration = Duration::from_millis(500);

/// How often a member says that it is there and what it holds, and looks for what others held.
const KEEP: Duration = Duration::from_secs(SILENCE.as_secs() / 3);

/// What was not seen to for as long as this was left: [`scripts::LEAVE`] sets it back by a day.
const LEFT_IDLE: Duration = Duration::from_hours(12);

/// A reading that waits for its answer.
type Reading = Pin<Box<dyn Future<Output = RedisResult<Read>> + Send>>;

/// What was read, and how often the group had been set back by then.
type Read = (Value, Option<u64>);

/// Ids by the topics that they are in.
type ByTopic = HashMap<Arc<str>, Vec<String>>;

/// A member of a group.
pub struct Member {
    shared: Arc<Shared>,
    pattern: Pattern,
    /// The group's name on the server.
    group: String,
    /// `durable` or `passing`.
    kind: &'static str,
    /// Where the group begins if it is not known.
    from: Position,
    name: String,
    prefetch: usize,
    topics: Vec<Arc<str>>,
    /// Whether the server knows the group in all these topics. It does not have to be told by a member that leaves at
    /// once, which would bring a group back that was removed meanwhile.
    is_known: bool,
    deliveries: mpsc::Sender<Delivery>,
    done: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    serial: u64,
    /// What was handed out, by number; nothing where the group was set back since, so that its word says nothing.
    held: HashMap<u64, Option<(Arc<str>, String)>>,
    /// What is to be handed out when there is room: what was read beyond it, since a reading gives some of each topic.
    ready: VecDeque<Entry>,
    /// What is done with, and the server does not know yet.
    acked: ByTopic,
    released: ByTopic,
    /// The count of new topics, when it was last looked at.
    created: u64,
    /// The count of messages that were left, when all of them had been taken that there were; none where there may be more
    /// to take.
    left: Option<u64>,
    /// How often the group had been set back when what is held was read.
    sought: u64,
    /// Since when the server answers.
    answers_since: Instant,
    open: Held,
}

impl Member {
    pub fn new(
        shared: Arc<Shared>,
        pattern: Pattern,
        (group, kind, from): (String, &'static str, Position),
        name: String,
        deliveries: mpsc::Sender<Delivery>,
        open: Held,
    ) -> Self {
        let prefetch = deliveries.max_capacity();
        Self {
            shared,
            pattern,
            group,
            kind,
            from,
            name,
            prefetch,
            topics: Vec::new(),
            is_known: false,
            deliveries,
            done: mpsc::channel(prefetch),
            serial: 0,
            held: HashMap::new(),
            ready: VecDeque::new(),
            acked: ByTopic::new(),
            released: ByTopic::new(),
            created: 0,
            left: None,
            sought: 0,
            answers_since: Instant::now(),
            open,
        }
    }

    /// Makes itself known, and its group where it is new, or was removed since.
    pub async fn enter(&mut self) -> RedisResult<()> {
        let mut connection = self.shared.connection.clone();
        // First of all, so that the last one who leaves a passing group does not take it along.
        self.shared.present(&self.group, &self.name).await?;
        let is_known: bool = connection.hexists(keys::GROUPS, &self.group).await?;
        let topics = self.shared.topics(&self.pattern).await?;
        // Where the group is known and the topic does not know it, the topic came later.
        let last = if is_known { "0-0".to_owned() } else { keys::before(self.from) };
        self.shared.begin(&self.group, topics.iter().map(|topic| &**topic), &last).await?;
        self.topics = topics.into_iter().map(Arc::from).collect();
        // Last of all: a topic that comes from now on is read from its beginning.
        let () = connection.hset_nx(keys::GROUPS, &self.group, self.kind).await?;
        self.is_known = true;
        Ok(())
    }

    /// Goes on until nobody listens any more or the broker is closed, then leaves.
    pub async fn run(mut self) {
        let mut wait = WAITS.0;
        loop {
            let begun = Instant::now();
            let Err(error) = self.serve().await else { break };
            self.is_known = false;
            tracing::warn!(group = self.group, %error, "redis: a subscription was interrupted and goes on when it can");
            if begun.elapsed() > WAITS.1 {
                wait = WAITS.0;
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.deliveries.closed() => break,
                () = self.open.over() => break,
            }
            wait = (wait * 2).min(WAITS.1);
        }
        self.leave().await;
    }

    /// Serves until it is over, or until something goes wrong.
    async fn serve(&mut self) -> RedisResult<()> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME))
            .set_response_timeout(Some(READ_TIME + ANSWER_TIME));
        let mut reader = self.shared.client.get_multiplexed_async_connection_with_config(&config).await?;
        let reader_id: i64 = redis::cmd("CLIENT").arg("ID").query_async(&mut reader).await?;
        if !self.is_known {
            self.enter().await?;
        }
        (self.left, self.answers_since) = (None, Instant::now());
        self.look_back().await?;
        // Before anything is taken over: where the server was away for long, what is held here looks forgotten too.
        self.recover().await?;
        self.keep().await?;
        let mut keep = interval_at(Instant::now() + KEEP, KEEP);
        keep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reading: Option<Reading> = None;
        let mut looked = Instant::now();
        loop {
            self.flush().await?;
            self.hand_out();
            let is_due = looked.elapsed() >= READ_TIME || self.left.is_none() && self.room() > 0;
            if reading.is_none() && is_due {
                looked = Instant::now();
                self.look().await?;
                self.hand_out();
            }
            let has_room = self.ready.is_empty() && self.held.len() < self.prefetch && !self.topics.is_empty();
            if reading.is_none() && has_room {
                reading = Some(self.read(reader.clone()));
            }
            tokio::select! {
                reply = async { match reading.as_mut() { Some(reading) => reading.await, None => std::future::pending().await } } => {
                    reading = None;
                    self.took(reply?)?;
                }
                Some(done) = self.done.1.recv() => {
                    self.note(done);
                }
                () = sleep(READ_TIME), if reading.is_none() => {}
                _ = keep.tick() => {
                    self.keep().await?;
                    self.left = None;
                }
                () = self.deliveries.closed() => break,
                () = self.open.over() => break,
            }
        }
        if let Some(reading) = reading {
            // What the server would give to a reading that nobody waits for would lie there until others take over.
            let mut unblock = redis::cmd("CLIENT");
            let unblock = unblock.arg("UNBLOCK").arg(reader_id);
            let _: RedisResult<Value> = unblock.query_async(&mut self.shared.connection.clone()).await;
            if let Ok(Ok(reply)) = timeout(READ_TIME * 2, reading).await {
                self.took(reply)?;
            }
        }
        Ok(())
    }

    /// Asks for as much as there is room for. The server gives that many of each topic: few of each, where there are many.
    fn read(&self, mut reader: MultiplexedConnection) -> Reading {
        let room = self.prefetch.saturating_sub(self.held.len());
        let mut read = redis::pipe();
        read.cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.group).arg(&self.name);
        read.arg("COUNT").arg((room / self.topics.len().max(1)).max(1));
        read.arg("BLOCK").arg(u64::try_from(READ_TIME.as_millis()).unwrap_or(u64::MAX)).arg("STREAMS");
        for topic in &self.topics {
            read.arg(keys::stream(topic));
        }
        for _ in &self.topics {
            read.arg(">");
        }
        read.hget(keys::SOUGHT, &self.group);
        Box::pin(async move { read.query_async(&mut reader).await })
    }

    fn took(&mut self, (reply, sought): Read) -> RedisResult<()> {
        self.forget_older(sought);
        let prefix = keys::stream("");
        for (stream, entries) in keys::entries(reply)? {
            let topic: Arc<str> = stream.strip_prefix(&prefix).unwrap_or(&stream).into();
            for (id, fields) in entries {
                self.ready.push_back(Entry { topic: topic.clone(), id, message: keys::message(fields), attempt: 1 });
            }
        }
        Ok(())
    }

    fn hand_out(&mut self) {
        while self.held.len() < self.prefetch {
            let Some(Entry { topic, id, message, attempt }) = self.ready.pop_front() else { return };
            self.serial += 1;
            let receipt = Told { serial: self.serial, done: self.done.0.clone() };
            let mut delivery = Delivery::new(topic.clone(), message, Some(Box::new(receipt)));
            delivery.offset = Some(keys::offset(&id));
            delivery.published = Some(keys::millis(&id));
            delivery.attempt = attempt;
            self.held.insert(self.serial, Some((topic, id)));
            // There is room for each that may be held; where nobody listens any more, it comes back as released.
            drop(self.deliveries.try_send(delivery));
        }
    }

    /// Notes what became of a delivery, and of all others that it is known of.
    fn note(&mut self, done: Done) {
        let mut next = Some(done);
        while let Some(Done { serial, is_acked }) = next {
            if let Some(Some((topic, id))) = self.held.remove(&serial) {
                let ids = if is_acked { &mut self.acked } else { &mut self.released };
                ids.entry(topic).or_default().push(id);
            }
            next = self.done.1.try_recv().ok();
        }
    }

    /// Tells the server what is done with, and gets again what was released.
    async fn flush(&mut self) -> RedisResult<()> {
        if !self.acked.is_empty() {
            let mut acks = redis::pipe();
            for (topic, ids) in &self.acked {
                acks.xack(keys::stream(topic), &self.group, ids).ignore();
            }
            let () = acks.query_async(&mut self.shared.connection.clone()).await?;
            self.acked.clear();
        }
        while let Some(topic) = self.released.keys().next().cloned() {
            let ids = self.released.get(&topic).cloned().unwrap_or_default();
            self.again(&topic, &ids).await?;
            self.released.remove(&topic);
        }
        Ok(())
    }

    /// Gets entries again, in their order and before all that is ready.
    async fn again(&mut self, topic: &Arc<str>, ids: &[String]) -> RedisResult<()> {
        let mut ids = ids.to_vec();
        ids.sort_by_key(|id| keys::offset(id));
        let reply = self.ask(&scripts::AGAIN, topic, &ids).await?;
        let mut entries: Vec<_> = keys::claimed(topic, reply).collect();
        while let Some(entry) = entries.pop() {
            self.ready.push_front(entry);
        }
        Ok(())
    }

    /// Runs a script about entries of a topic that this member holds.
    async fn ask<T: FromRedisValue>(&self, script: &Script, topic: &str, ids: &[String]) -> RedisResult<T> {
        let mut call = script.key(keys::stream(topic));
        call.key(keys::LEFT).arg(&self.group).arg(&self.name).arg(ids);
        self.shared.run(&call).await
    }

    /// Gets what the server gave to this member, and the answer was lost.
    async fn recover(&mut self) -> RedisResult<()> {
        let mut connection = self.shared.connection.clone();
        let known: HashSet<_> =
            self.held
                .values()
                .flatten()
                .cloned()
                .chain(self.ready.iter().map(|entry| (entry.topic.clone(), entry.id.clone())))
                .chain([&self.acked, &self.released].into_iter().flat_map(|ids| {
                    ids.iter().flat_map(|(topic, ids)| ids.iter().map(|id| (topic.clone(), id.clone())))
                }))
                .collect();
        // No more than was held or asked for.
        let most = known.len() + self.prefetch + self.topics.len();
        for topic in self.topics.clone() {
            let mut pending = redis::cmd("XPENDING");
            pending.arg(keys::stream(&topic)).arg(&self.group).arg("-").arg("+").arg(most).arg(&self.name);
            let pending: Vec<(String, String, u64, u64)> = pending.query_async(&mut connection).await?;
            let lost =
                pending.into_iter().map(|(id, ..)| id).filter(|id| !known.contains(&(topic.clone(), id.clone())));
            let lost: Vec<_> = lost.collect();
            if !lost.is_empty() {
                self.again(&topic, &lost).await?;
            }
        }
        Ok(())
    }

    /// How much more may be taken.
    fn room(&self) -> usize {
        self.prefetch.saturating_sub(self.held.len() + self.ready.len())
    }

    /// Takes over what others left or fell silent with, and says whether there was room for all of it. A server that was
    /// away takes all for silent: who held something has the time until the next [`KEEP`] to say so.
    async fn take(&mut self) -> RedisResult<bool> {
        let silence = if self.answers_since.elapsed() < KEEP { LEFT_IDLE } else { SILENCE };
        for topic in self.topics.clone() {
            let room = self.room();
            if room == 0 {
                return Ok(false);
            }
            let mut call = scripts::TAKE.key(keys::stream(&topic));
            call.arg(&self.group).arg(&self.name).arg(silence.as_secs() * 1_000).arg(room);
            let reply = self.shared.run(&call).await?;
            self.ready.extend(keys::claimed(&topic, reply));
        }
        Ok(self.room() > 0)
    }

    /// Looks whether the group was set back.
    async fn look_back(&mut self) -> RedisResult<()> {
        let sought = self.shared.connection.clone().hget(keys::SOUGHT, &self.group).await?;
        self.forget_older(sought);
        Ok(())
    }

    /// Forgets what was read before the group was set back: the group that it was read for is gone, and the ids may be those
    /// of messages that the new one hands out.
    fn forget_older(&mut self, sought: Option<u64>) {
        let sought = sought.unwrap_or(0);
        if sought != self.sought {
            self.sought = sought;
            self.held.values_mut().for_each(|held| *held = None);
            self.ready.clear();
            self.acked.clear();
            self.released.clear();
        }
    }

    /// Looks for new topics, for what others left, and whether the group was set back.
    async fn look(&mut self) -> RedisResult<()> {
        let mut counts = redis::pipe();
        counts.get(keys::CREATED).hget(keys::LEFT, &self.group).hget(keys::SOUGHT, &self.group);
        let counts: (Option<u64>, Option<u64>, Option<u64>) =
            counts.query_async(&mut self.shared.connection.clone()).await?;
        let (created, left) = (counts.0.unwrap_or(0), counts.1.unwrap_or(0));
        self.forget_older(counts.2);
        if created != self.created && self.pattern.topic().is_none() {
            let topics = self.shared.topics(&self.pattern).await?;
            let known: HashSet<_> = self.topics.iter().map(|topic| &**topic).collect();
            let new = topics.iter().map(|topic| &**topic).filter(|topic| !known.contains(topic));
            self.shared.begin(&self.group, new, "0-0").await?;
            self.topics = topics.into_iter().map(Arc::from).collect();
        }
        self.created = created;
        if self.left != Some(left) {
            self.left = self.take().await?.then_some(left);
        }
        Ok(())
    }

    /// Says that it is there, and what it holds.
    async fn keep(&mut self) -> RedisResult<()> {
        self.shared.present(&self.group, &self.name).await?;
        let mut kept = ByTopic::new();
        for (topic, id) in self.held.values().flatten() {
            kept.entry(topic.clone()).or_default().push(id.clone());
        }
        for entry in &self.ready {
            kept.entry(entry.topic.clone()).or_default().push(entry.id.clone());
        }
        for (topic, ids) in &kept {
            let () = self.ask(&scripts::KEEP, topic, ids).await?;
        }
        Ok(())
    }

    /// Waits for what is still held, unless the broker is closed, and gives all else to the others.
    async fn leave(mut self) {
        // Ends the subscription, whose messages come back as released.
        self.deliveries = mpsc::channel(1).0;
        let mut keep = interval(KEEP);
        while !self.open.is_over() {
            drop(self.pass_on().await);
            if self.held.is_empty() {
                break;
            }
            tokio::select! {
                Some(done) = self.done.1.recv() => self.note(done),
                _ = keep.tick() => drop(self.keep().await),
                () = self.open.over() => {}
            }
        }
        // What was acknowledged until now counts.
        if let Ok(done) = self.done.1.try_recv() {
            self.note(done);
        }
        let told = self.pass_on().await;
        let struck = self.shared.strike(&self.group, &self.name).await;
        if let Err(error) = told.and(struck) {
            let group = &self.group;
            tracing::warn!(group, %error, "redis: a member could not say that it leaves, others take over after {SILENCE:?}");
        }
    }

    /// Gives what is not held to the others.
    async fn pass_on(&mut self) -> RedisResult<()> {
        self.look_back().await?;
        for entry in std::mem::take(&mut self.ready) {
            self.released.entry(entry.topic).or_default().push(entry.id);
        }
        let released = std::mem::take(&mut self.released);
        self.flush().await?;
        for (topic, ids) in &released {
            let () = self.ask(&scripts::LEAVE, topic, ids).await?;
        }
        Ok(())
    }
}
