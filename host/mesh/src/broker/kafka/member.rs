//! One subscription: a task that reads from partitions, and sees to what becomes of what it handed out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::link::{Link, asking, waiting};
use super::parts::{Calls, Place};
use super::{begin, names, wire};
use crate::broker::closing::Held;
use crate::broker::{Delivery, Done, Message, Pattern, Position, Told};

/// How long acknowledgements are gathered before the server is told.
const GATHER: Duration = Duration::from_millis(50);

/// How soon they are sent again that were not taken.
const AGAIN: Duration = Duration::from_millis(500);

/// How long nothing may be handed out before the servers are told to send nothing. The client throws away what it has
/// got already when they are.
const STILL: Duration = Duration::from_secs(1);

/// How soon to look for new partitions, for who is in no group: of several topics, and of one.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What is read before there is room to hand it out, in messages and in bytes. Reading stops at the first of them.
const AHEAD: (usize, usize) = (256, 4 * 1_024 * 1_024);

/// Partitions that are looked for.
type Look = JoinHandle<KafkaResult<Vec<(String, i32)>>>;

/// The servers are told something.
type Telling = JoinHandle<KafkaResult<()>>;

/// A group to be in.
#[derive(Clone)]
pub struct Membership {
    /// Its name on the server.
    pub group: String,
    pub is_durable: bool,
}

/// A message and what is known of it.
struct Entry {
    place: Place,
    published: Option<u64>,
    message: Message,
    attempt: u32,
}

/// Who reads.
pub struct Member {
    link: Arc<Link>,
    pattern: Pattern,
    membership: Option<Membership>,
    consumer: Arc<StreamConsumer<Calls>>,
    prefetch: usize,
    deliveries: mpsc::Sender<Delivery>,
    done: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    serial: u64,
    /// What was handed out, by number.
    held: HashMap<u64, Entry>,
    /// What is to be handed out when there is room, and its bytes.
    ready: VecDeque<Entry>,
    ready_bytes: usize,
    /// When enough was read, until most of it was handed out.
    full_since: Option<Instant>,
    /// Reading is paused in all partitions that were given until then.
    paused: Option<u64>,
    given: watch::Receiver<u64>,
    /// Partitions that are read, by who is in no group.
    assigned: HashSet<(String, i32)>,
    /// When the server is to be told what was acknowledged.
    tell_at: Option<Instant>,
    telling: Option<Telling>,
    open: Held,
}

impl Member {
    pub fn new(
        link: Arc<Link>,
        pattern: Pattern,
        membership: Option<Membership>,
        deliveries: mpsc::Sender<Delivery>,
        open: Held,
    ) -> KafkaResult<Self> {
        let consumer = link.consumer(membership.as_ref().map(|membership| &*membership.group))?;
        let prefetch = deliveries.max_capacity();
        Ok(Self {
            link,
            pattern,
            membership,
            given: consumer.context().given(),
            consumer: Arc::new(consumer),
            prefetch,
            deliveries,
            done: mpsc::channel(prefetch),
            serial: 0,
            held: HashMap::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            full_since: None,
            paused: None,
            assigned: HashSet::new(),
            tell_at: None,
            telling: None,
            open,
        })
    }

    /// Begins to read. What it gives back changes when the servers have let it into its group.
    pub async fn begin(&mut self, from: Position) -> KafkaResult<watch::Receiver<u64>> {
        let (consumer, pattern) = (self.consumer.clone(), self.pattern.clone());
        match self.membership.clone() {
            Some(Membership { is_durable, .. }) => {
                asking(&self.open, move || begin::group(&consumer, &pattern, is_durable, from)).await?;
                let topics = names::subscription(&self.pattern);
                // Of a pattern that names no topic yet, the other one makes a group all the same.
                let both = [&*topics, names::BEGUN];
                self.consumer.subscribe(if self.pattern.topic().is_some() { &both[..1] } else { &both })?;
            }
            None => {
                let found = asking(&self.open, move || {
                    let partitions = begin::partitions(&consumer, &pattern)?;
                    begin::positions(&consumer, &partitions, from)
                });
                let found = found.await?;
                self.consumer.incremental_assign(&found)?;
                self.assigned = found.to_topic_map().into_keys().collect();
            }
        }
        Ok(self.given.clone())
    }

    /// Goes on until nobody listens any more or the broker is closed, then leaves.
    pub async fn run(mut self) {
        let lone = self.membership.is_none();
        let mut look = interval(if self.pattern.topic().is_some() { LOOK.1 } else { LOOK.0 });
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looking: Option<Look> = None;
        loop {
            self.hand_out();
            self.pace();
            let tell_at = self.tell_at.unwrap_or_else(Instant::now);
            let is_paused = self.paused.is_some();
            let pause_at = self.full_since.map_or_else(Instant::now, |since| since + STILL);
            tokio::select! {
                // What nobody takes any more would come back for ever if it were noted first.
                biased;
                () = self.deliveries.closed() => break,
                () = self.open.over() => break,
                Some(done) = self.done.1.recv() => self.note(done),
                told = answer(&mut self.telling) => self.told(told),
                () = sleep_until(tell_at), if self.tell_at.is_some() && self.telling.is_none() => self.tell(),
                _ = look.tick(), if lone && looking.is_none() => looking = Some(self.look()),
                found = answer(&mut looking) => {
                    if let Ok(found) = found {
                        self.assign(found);
                    }
                }
                () = sleep_until(pause_at), if self.full_since.is_some() && !is_paused => self.pause(),
                // Where reading is paused, nothing but news of the group comes.
                received = self.consumer.recv(), if self.full_since.is_none() || is_paused => match received {
                    Ok(record) => {
                        let entry = entry(&self.pattern, &self.consumer, &record);
                        self.ready_bytes += entry.as_ref().map_or(0, |entry| entry.message.size());
                        self.ready.extend(entry);
                    }
                    Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                        tracing::warn!(pattern = %self.pattern, %error, "kafka: a subscription cannot go on");
                        break;
                    }
                    Err(error) => tracing::debug!(pattern = %self.pattern, %error, "kafka: a subscription waits"),
                },
            }
        }
        drop(looking);
        self.leave().await;
    }

    fn hand_out(&mut self) {
        while self.held.len() < self.prefetch {
            let Some(entry) = self.ready.pop_front() else { return };
            self.ready_bytes = self.ready_bytes.saturating_sub(entry.message.size());
            if !self.consumer.context().parts().is_ours(&entry.place) {
                continue;
            }
            self.serial += 1;
            let receipt = Told { serial: self.serial, done: self.done.0.clone() };
            let mut delivery = Delivery::new(entry.place.topic.clone(), entry.message.clone(), Some(Box::new(receipt)));
            delivery.offset = Some(names::place(entry.place.partition, entry.place.offset));
            delivery.published = entry.published;
            delivery.attempt = entry.attempt;
            self.held.insert(self.serial, entry);
            // There is room for each that may be held; where nobody listens any more, it comes back as released.
            drop(self.deliveries.try_send(delivery));
        }
    }

    /// Stops reading when enough was read, and goes on when most of it was handed out.
    fn pace(&mut self) {
        if self.ready.len() >= AHEAD.0 || self.ready_bytes >= AHEAD.1 {
            self.full_since.get_or_insert_with(Instant::now);
        } else if self.ready.len() <= AHEAD.0 / 4 && self.ready_bytes <= AHEAD.1 / 4 {
            self.full_since = None;
            if self.paused.take().is_some() {
                self.turn(false);
            }
        }
        if self.paused.is_some_and(|paused| paused != *self.given.borrow()) {
            self.pause();
        }
    }

    fn pause(&mut self) {
        self.paused = Some(*self.given.borrow());
        self.turn(true);
    }

    fn turn(&self, off: bool) {
        let partitions = self.consumer.assignment();
        let turn = |partitions: TopicPartitionList| {
            if off { self.consumer.pause(&partitions) } else { self.consumer.resume(&partitions) }
        };
        if let Err(error) = partitions.and_then(turn) {
            tracing::debug!(pattern = %self.pattern, %error, "kafka: reading could not be paused or resumed");
        }
    }

    /// Notes what became of a delivery.
    fn note(&mut self, Done { serial, is_acked }: Done) {
        let Some(mut entry) = self.held.remove(&serial) else { return };
        let mut parts = self.consumer.context().parts();
        if is_acked {
            parts.done(&entry.place);
            if self.membership.is_some() && self.tell_at.is_none() {
                self.tell_at = Some(Instant::now() + GATHER);
            }
        } else if parts.is_ours(&entry.place) {
            entry.attempt = entry.attempt.saturating_add(1);
            self.ready_bytes += entry.message.size();
            let Place { topic, partition, offset, .. } = &entry.place;
            let is_later = |other: &Entry| {
                other.place.topic == *topic && other.place.partition == *partition && other.place.offset > *offset
            };
            // Before the first one of its partition that comes after it.
            let at = self.ready.iter().position(is_later).unwrap_or(0);
            self.ready.insert(at, entry);
        }
    }

    /// Tells the servers what is done with.
    fn tell(&mut self) {
        self.tell_at = None;
        let told = self.consumer.context().parts().tell();
        if told.count() > 0 {
            let consumer = self.consumer.clone();
            self.telling = Some(tokio::task::spawn_blocking(move || consumer.commit(&told, CommitMode::Sync)));
        }
    }

    fn told(&mut self, outcome: KafkaResult<()>) {
        if let Err(error) = outcome {
            tracing::debug!(pattern = %self.pattern, %error, "kafka: acknowledgements are sent again");
            self.consumer.context().parts().tell_again();
            self.tell_at = Some(Instant::now() + AGAIN);
        }
    }

    fn look(&self) -> Look {
        let (consumer, pattern) = (self.consumer.clone(), self.pattern.clone());
        tokio::task::spawn_blocking(move || begin::partitions(&consumer, &pattern))
    }

    /// Reads from partitions that are new, from their beginning.
    fn assign(&mut self, found: Vec<(String, i32)>) {
        let mut new = TopicPartitionList::new();
        for (topic, partition) in found {
            if !self.assigned.contains(&(topic.clone(), partition))
                && new.add_partition_offset(&topic, partition, Offset::Beginning).is_ok()
            {
                self.assigned.insert((topic, partition));
            }
        }
        if new.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.incremental_assign(&new) {
            tracing::warn!(pattern = %self.pattern, %error, "kafka: new partitions cannot be read");
        } else if self.paused.is_some() {
            self.pause();
        }
    }

    /// Waits for what is still held unless the broker is closed, tells the servers, and leaves all else to the others.
    async fn leave(mut self) {
        // Ends the subscription, whose messages come back as released.
        self.deliveries = mpsc::channel(1).0;
        self.ready.clear();
        while !self.held.is_empty() && !self.open.is_over() {
            if self.paused != Some(*self.given.borrow()) {
                self.pause();
            }
            let tell_at = self.tell_at.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                Some(done) = self.done.1.recv() => self.note(done),
                () = self.open.over() => {}
                told = answer(&mut self.telling) => self.told(told),
                () = sleep_until(tell_at), if self.tell_at.is_some() && self.telling.is_none() => self.tell(),
                // What comes now is for the others.
                received = self.consumer.recv() => drop(received),
            }
            self.ready.clear();
        }
        // What was acknowledged until now counts.
        while let Ok(done) = self.done.1.try_recv() {
            self.note(done);
        }
        if self.telling.is_some() && answer(&mut self.telling).await.is_err() {
            self.consumer.context().parts().tell_again();
        }
        let Self { consumer, membership, link, pattern, .. } = self;
        let is_grouped = membership.is_some();
        let passing = membership.filter(|membership| !membership.is_durable);
        let entering = if passing.is_some() { Some(link.entering.write().await) } else { None };
        let is_passing = passing.is_some();
        let left = waiting(move || {
            let told = consumer.context().parts().tell();
            let outcome =
                if is_grouped && told.count() > 0 { consumer.commit(&told, CommitMode::Sync) } else { Ok(()) };
            // Where that cannot be known, the group stays.
            let lasts = !is_passing || begin::lasts(&consumer).unwrap_or(true);
            drop(consumer);
            outcome.map(|()| lasts)
        });
        let left = left.await;
        if let Err(error) = &left {
            tracing::warn!(%pattern, %error, "kafka: what a subscription acknowledged last may come again");
        }
        if let (Some(Membership { group, .. }), Ok(false)) = (passing, left) {
            // It stays while others are in it.
            drop(link.remove_group(&group).await);
        }
        drop(entering);
    }
}

/// Takes a record, if it is one that is listened for.
fn entry(pattern: &Pattern, consumer: &StreamConsumer<Calls>, record: &BorrowedMessage<'_>) -> Option<Entry> {
    let topic = names::from_server(record.topic()).filter(|topic| pattern.matches(topic))?;
    Some(Entry {
        place: consumer.context().parts().came(&topic, record.partition(), record.offset()),
        published: record.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok()),
        message: wire::message(record),
        attempt: 1,
    })
}

/// Waits for what is being asked; for ever, if nothing is.
async fn answer<T>(asked: &mut Option<JoinHandle<KafkaResult<T>>>) -> KafkaResult<T> {
    let Some(task) = asked else { return std::future::pending().await };
    let answer = task.await.unwrap_or(Err(KafkaError::Canceled));
    *asked = None;
    answer
}
