//! Where a group stands in a topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::code;
use super::log::Topic;

/// A group's place in a topic. What lies before `position` was handed out; what of it is not acknowledged is in
/// `unacknowledged`, so that no more is kept in memory than may be handed out at a time.
pub(super) struct Lane {
    pub(super) topic: Arc<Topic>,
    pub(super) position: u64,
    /// Offsets that were handed out, and how often.
    unacknowledged: BTreeMap<u64, u32>,
    /// Those of them that were given back.
    released: BTreeSet<u64>,
    /// Counts how often the place was set: what becomes of what was handed out before says nothing to it.
    pub(super) epoch: u32,
    /// Counts the messages that were removed: a page that was read before has them.
    pub(super) removals: u32,
    /// Whether it waits for its turn to be served.
    pub(super) is_ready: bool,
    /// Whether the file has to learn of it.
    pub(super) is_dirty: bool,
}

impl Lane {
    pub(super) fn new(topic: Arc<Topic>, position: u64) -> Self {
        Self {
            topic,
            position,
            unacknowledged: BTreeMap::new(),
            released: BTreeSet::new(),
            epoch: 0,
            removals: 0,
            is_ready: false,
            is_dirty: false,
        }
    }

    /// The place as it was kept; what was handed out then comes again.
    pub(super) fn restored(topic: Arc<Topic>, position: u64, unacknowledged: &[u8]) -> Self {
        let mut lane = Self::new(topic, position);
        lane.released = code::read_runs(unacknowledged).take_while(|seq| *seq < position).collect();
        lane.unacknowledged = lane.released.iter().map(|seq| (*seq, 0)).collect();
        lane
    }

    /// What is kept of it, beside its position.
    pub(super) fn unacknowledged(&self) -> Vec<u8> {
        code::runs(self.unacknowledged.keys().copied())
    }

    /// Goes on from somewhere else.
    pub(super) fn seek(&mut self, position: u64) {
        self.position = position;
        self.unacknowledged.clear();
        self.released.clear();
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The first message that was given back.
    pub(super) fn first_released(&self) -> Option<u64> {
        self.released.first().copied()
    }

    /// The first messages that were given back.
    pub(super) fn released(&self, count: usize) -> Vec<u64> {
        self.released.iter().take(count).copied().collect()
    }

    /// Notes that a message is handed out; says how often it was, this time included.
    pub(super) fn hand_out(&mut self, seq: u64) -> u32 {
        self.released.remove(&seq);
        self.position = self.position.max(seq + 1);
        let attempt = self.unacknowledged.entry(seq).or_insert(0);
        *attempt = attempt.saturating_add(1);
        *attempt
    }

    /// Notes that a message is done with, or gone; says whether that is news.
    pub(super) fn acknowledge(&mut self, seq: u64) -> bool {
        self.released.remove(&seq);
        self.unacknowledged.remove(&seq).is_some()
    }

    /// Notes that a message was removed.
    pub(super) fn remove(&mut self, seq: u64) {
        self.removals = self.removals.wrapping_add(1);
        self.acknowledge(seq);
    }

    /// Notes that a message was given back; says whether it comes again.
    pub(super) fn release(&mut self, seq: u64) -> bool {
        self.unacknowledged.contains_key(&seq) && self.released.insert(seq)
    }

    /// The first offset that is not acknowledged.
    pub(super) fn floor(&self) -> u64 {
        self.unacknowledged.first_key_value().map_or(self.position, |(seq, _)| *seq)
    }

    /// How many messages were handed out and are not acknowledged, those that were given back included.
    pub(super) fn handed_out(&self) -> usize {
        self.unacknowledged.len()
    }

    /// How many messages are not acknowledged, where none is missing between those that were not handed out yet.
    pub(super) fn lag(&self) -> u64 {
        let (first, next) = self.topic.bounds();
        next.saturating_sub(self.position.max(first)) + self.handed_out() as u64
    }

    /// How many messages are with a subscriber.
    pub(super) fn in_flight(&self) -> usize {
        self.unacknowledged.len() - self.released.len()
    }

    /// Whether there is something to be handed out.
    pub(super) fn has_more(&self) -> bool {
        !self.released.is_empty() || self.position < self.topic.bounds().1
    }
}
