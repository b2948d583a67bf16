//! What one consumer has of each partition: which of its messages are not done with, and so how far the group is.
//!
//! The client calls back from inside of its polling when partitions come and go; what it says is written down here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::watch;

use super::names;

/// Where a message stands.
#[derive(Clone)]
pub struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Counts how often partitions came. What was handed out of one that went is no longer this consumer's.
    epoch: u64,
}

/// A partition.
struct Part {
    epoch: u64,
    /// The offsets that came and are not done with.
    pending: BTreeSet<i64>,
    /// The offset behind the last one that came.
    next: i64,
    /// What the server was told last; none when it has to be told again.
    told: Option<i64>,
}

impl Part {
    /// Everything before it is done with.
    fn floor(&self) -> i64 {
        self.pending.first().copied().unwrap_or(self.next)
    }

    /// The same, unless the server knows it.
    fn untold(&self) -> Option<i64> {
        Some(self.floor()).filter(|floor| self.told != Some(*floor))
    }
}

/// The partitions of a consumer.
#[derive(Default)]
pub struct Parts {
    epoch: u64,
    topics: HashMap<Arc<str>, BTreeMap<i32, Part>>,
}

impl Parts {
    /// Notes that a message came.
    pub fn came(&mut self, topic: &str, partition: i32, offset: i64) -> Place {
        let topic = match self.topics.get_key_value(topic) {
            Some((known, _)) => known.clone(),
            None => Arc::from(topic),
        };
        let parts = self.topics.entry(topic.clone()).or_default();
        let epoch = &mut self.epoch;
        let part = parts.entry(partition).or_insert_with(|| {
            *epoch += 1;
            Part { epoch: *epoch, pending: BTreeSet::new(), next: offset, told: Some(offset) }
        });
        if offset < part.next {
            // The partition was made anew, or set back.
            *epoch += 1;
            *part = Part { epoch: *epoch, pending: BTreeSet::new(), next: offset, told: None };
        }
        part.pending.insert(offset);
        part.next = offset + 1;
        Place { topic, partition, offset, epoch: part.epoch }
    }

    fn part(&mut self, place: &Place) -> Option<&mut Part> {
        let part = self.topics.get_mut(&place.topic)?.get_mut(&place.partition)?;
        (part.epoch == place.epoch).then_some(part)
    }

    /// Whether the message is still this consumer's.
    pub fn is_ours(&mut self, place: &Place) -> bool {
        self.part(place).is_some()
    }

    /// Notes that a message is done with.
    pub fn done(&mut self, place: &Place) {
        if let Some(part) = self.part(place) {
            part.pending.remove(&place.offset);
        }
    }

    /// What the server does not know yet, as what it is told.
    pub fn tell(&mut self) -> TopicPartitionList {
        let mut told = TopicPartitionList::new();
        for (topic, parts) in &mut self.topics {
            let Ok(name) = names::to_server(topic) else { continue };
            for (partition, part) in parts {
                if let Some(floor) = part.untold()
                    && told.add_partition_offset(&name, *partition, Offset::Offset(floor)).is_ok()
                {
                    part.told = Some(floor);
                }
            }
        }
        told
    }

    /// Forgets a partition that goes, and gives back what the server does not know of it.
    fn forget(&mut self, topic: &str, partition: i32) -> Option<i64> {
        let parts = self.topics.get_mut(topic)?;
        let went = parts.remove(&partition);
        if parts.is_empty() {
            self.topics.remove(topic);
        }
        went?.untold()
    }

    /// Notes that the server has to be told all of it again.
    pub fn tell_again(&mut self) {
        self.topics.values_mut().flat_map(BTreeMap::values_mut).for_each(|part| part.told = None);
    }
}

/// What the client calls back.
pub struct Calls {
    parts: Mutex<Parts>,
    /// Counts how often partitions were given; none were yet at the beginning.
    given: watch::Sender<u64>,
}

impl Calls {
    pub fn new() -> Self {
        Self { parts: Mutex::default(), given: watch::channel(0).0 }
    }

    pub fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes each time that partitions were given.
    pub fn given(&self) -> watch::Receiver<u64> {
        self.given.subscribe()
    }
}

impl ClientContext for Calls {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "kafka: {reason}");
    }
}

impl ConsumerContext for Calls {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(going) = rebalance else { return };
        let mut parts = self.parts();
        let mut told = TopicPartitionList::new();
        for element in going.elements() {
            let Some(topic) = names::from_server(element.topic()) else { continue };
            if let Some(floor) = parts.forget(&topic, element.partition()) {
                drop(told.add_partition_offset(element.topic(), element.partition(), Offset::Offset(floor)));
            }
        }
        if told.count() > 0
            && let Err(error) = consumer.commit(&told, CommitMode::Async)
        {
            tracing::debug!(%error, "kafka: what was acknowledged of partitions that go comes again");
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(_) => self.given.send_modify(|count| *count += 1),
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "kafka: partitions could not be shared out"),
        }
    }
}

/// Passes on what the client says, whose grave words are of connections that come back by themselves.
pub fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::warn!("kafka: {facility}: {text}");
        }
        _ => tracing::debug!("kafka: {facility}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(parts: &mut Parts) -> Vec<(String, Option<i64>)> {
        let told = parts.tell();
        told.elements().iter().map(|element| (element.topic().to_owned(), element.offset().to_raw())).collect()
    }

    #[test]
    fn the_server_is_told_up_to_the_first_that_is_not_done_with() {
        let mut parts = Parts::default();
        // Offsets have holes where records were compacted.
        let places = [5, 6, 9].map(|offset| parts.came("$dead.a", 0, offset));
        parts.done(&places[1]);
        assert_eq!(told(&mut parts), []);
        parts.done(&places[0]);
        assert_eq!(told(&mut parts), [(".dead.a".to_owned(), Some(9))]);
        assert_eq!(told(&mut parts), []);
        parts.done(&places[2]);
        assert_eq!(told(&mut parts), [(".dead.a".to_owned(), Some(10))]);
        parts.tell_again();
        assert_eq!(told(&mut parts), [(".dead.a".to_owned(), Some(10))]);
    }

    #[test]
    fn what_was_handed_out_of_a_partition_that_went_is_nobodys() {
        let mut parts = Parts::default();
        let late = parts.came("a", 0, 3);
        assert_eq!(parts.forget("a", 0), None);
        assert!(!parts.is_ours(&late));
        let again = parts.came("a", 0, 3);
        parts.done(&late);
        assert!(parts.is_ours(&again) && !parts.is_ours(&late));
        assert_eq!(told(&mut parts), []);
        // A topic that was made anew begins from its first offset.
        let anew = parts.came("a", 0, 0);
        parts.done(&anew);
        assert_eq!(told(&mut parts), [("a".to_owned(), Some(1))]);
        assert!(!parts.is_ours(&again));
        // What went before the server was told of it is told now.
        let last = parts.came("a", 0, 1);
        parts.done(&last);
        assert_eq!(parts.forget("a", 0), Some(2));
    }
}
