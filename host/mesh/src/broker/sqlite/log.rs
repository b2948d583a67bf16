//! A topic as it is known in memory: its numbers, and its latest messages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::super::{Message, TopicUsage};
use super::code;
use super::group::Group;
use super::tables::{Taken, TopicRow};

/// What the latest messages of all topics may take in memory, in bytes: 16 MiB. Groups that are further behind read the
/// file.
const AT_HAND: usize = 16 * 1_024 * 1_024;

/// What a message takes in memory beside its bytes.
const OVERHEAD: usize = 160;

/// A message as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) seq: u64,
    /// Milliseconds since 1970.
    pub(super) published: u64,
    /// As [`code::header`] writes it.
    pub(super) header: Bytes,
    pub(super) body: Bytes,
}

impl Record {
    pub(super) fn size(&self) -> usize {
        self.header.len() + self.body.len()
    }

    pub(super) fn message(&self) -> Message {
        Message { header: code::read_header(&self.header), body: self.body.clone() }
    }
}

/// A topic. Only the writer changes it.
pub(super) struct Topic {
    pub(super) id: i64,
    pub(super) name: Arc<str>,
    log: Mutex<Log>,
}

/// The groups that get a topic's messages.
pub(super) type Route = Arc<[Arc<Group>]>;

/// What changes of a topic. `next` is the end of what is committed.
pub(super) struct Log {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// When its last message was published.
    pub(super) last: u64,
    /// When its first message was published that is kept.
    pub(super) oldest: u64,
    pub(super) route: Route,
    /// The latest messages, in their order. From the first of them on none is missing.
    recent: VecDeque<Record>,
}

/// What is known of a message without asking the file.
pub(super) enum Known {
    Here(Record),
    Gone,
    Unknown,
}

impl Topic {
    pub(super) fn new(row: TopicRow) -> Self {
        let TopicRow { id, name, first, next, messages, bytes, last, oldest } = row;
        let route = Arc::from([]);
        let log = Log { first, next, messages, bytes, last, oldest, route, recent: VecDeque::new() };
        Self { id, name: name.into(), log: Mutex::new(log) }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset of the first message, and the one that the next will have.
    pub(super) fn bounds(&self) -> (u64, u64) {
        let log = self.log();
        (log.first, log.next)
    }

    pub(super) fn usage(&self) -> TopicUsage {
        let Log { first, next, messages, bytes, .. } = *self.log();
        TopicUsage { name: self.name.to_string(), messages, bytes, first, next }
    }

    /// Lets go of everything, after the topic was removed; gives the bytes that it had.
    pub(super) fn empty(&self) -> u64 {
        let mut log = self.log();
        log.recent = VecDeque::new();
        log.route = Arc::from([]);
        log.messages = 0;
        std::mem::take(&mut log.bytes)
    }

    pub(super) fn add_group(&self, group: &Arc<Group>) {
        let mut log = self.log();
        log.route = log.route.iter().chain([group]).cloned().collect();
    }

    pub(super) fn remove_group(&self, group: &Arc<Group>) {
        let mut log = self.log();
        log.route = log.route.iter().filter(|known| !Arc::ptr_eq(known, group)).cloned().collect();
    }
}

impl Log {
    /// The first message at this offset or behind it, if it is at hand.
    pub(super) fn recent_from(&self, seq: u64) -> Option<&Record> {
        if self.recent.front()?.seq > seq {
            return None;
        }
        self.recent.get(self.recent.partition_point(|record| record.seq < seq))
    }

    /// Whether all messages from this offset on are at hand.
    pub(super) fn recent_covers(&self, seq: u64) -> bool {
        self.recent.front().is_some_and(|record| record.seq <= seq)
    }

    /// The message at this offset.
    pub(super) fn recent_at(&self, seq: u64) -> Known {
        match self.recent.front() {
            Some(front) if front.seq <= seq => match self.recent_from(seq) {
                Some(record) if record.seq == seq => Known::Here(record.clone()),
                _ => Known::Gone,
            },
            _ => Known::Unknown,
        }
    }

    /// Forgets one message.
    pub(super) fn forget(&mut self, seq: u64) {
        if let Ok(at) = self.recent.binary_search_by_key(&seq, |record| record.seq) {
            self.recent.remove(at);
        }
    }

    /// Takes off what is no longer kept.
    pub(super) fn taken(&mut self, taken: &Taken) {
        self.messages = self.messages.saturating_sub(taken.messages);
        self.bytes = self.bytes.saturating_sub(taken.bytes);
        (self.first, self.oldest) = taken.first.unwrap_or((self.next, self.last));
        while self.recent.front().is_some_and(|record| record.seq < self.first) {
            self.recent.pop_front();
        }
    }
}

/// The latest messages of all topics in the order in which they came, as far as they may stay in memory.
#[derive(Default)]
pub(super) struct Recent {
    order: VecDeque<(Arc<Topic>, u64, usize)>,
    bytes: usize,
}

impl Recent {
    /// Puts messages behind those of their topic that are at hand, and lets go of the oldest ones.
    pub(super) fn push(&mut self, topic: &Arc<Topic>, log: &mut Log, records: Vec<Record>) {
        for record in &records {
            let cost = record.size() + OVERHEAD;
            self.bytes += cost;
            self.order.push_back((topic.clone(), record.seq, cost));
        }
        log.recent.extend(records);
    }

    /// Lets go of the oldest messages. No topic may be locked.
    pub(super) fn shrink(&mut self) {
        while self.bytes > AT_HAND {
            let Some((topic, seq, cost)) = self.order.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(cost);
            let mut log = topic.log();
            while log.recent.front().is_some_and(|record| record.seq <= seq) {
                log.recent.pop_front();
            }
        }
    }
}
