//! Where who subscribes begins. All of this waits for answers: do it off the runtime's threads.

use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use super::parts::Calls;
use super::{ANSWER_TIME, names};
use crate::broker::{Pattern, Position};

/// A client that reads.
type Reader = StreamConsumer<Calls>;

/// The partitions of all topics of a pattern, by the servers' names. That a single topic is not there is an error.
pub fn partitions(consumer: &Reader, pattern: &Pattern) -> KafkaResult<Vec<(String, i32)>> {
    let only = pattern.topic().map(|_| names::subscription(pattern));
    let metadata = consumer.fetch_metadata(only.as_deref(), ANSWER_TIME)?;
    let mut found = Vec::new();
    for topic in metadata.topics().iter().filter(|topic| topic.error().is_none()) {
        if names::from_server(topic.name()).is_some_and(|name| pattern.matches(&name)) {
            found.extend(topic.partitions().iter().map(|partition| (topic.name().to_owned(), partition.id())));
        }
    }
    if found.is_empty() && only.is_some() {
        return Err(KafkaError::MetadataFetch(Code::UnknownTopicOrPartition));
    }
    Ok(found)
}

/// Where a position lies in each of these partitions.
pub fn positions(consumer: &Reader, partitions: &[(String, i32)], from: Position) -> KafkaResult<TopicPartitionList> {
    let mut wanted = TopicPartitionList::new();
    for (topic, partition) in partitions {
        let offset = match from {
            Position::Latest => Offset::End,
            Position::Earliest => Offset::Beginning,
            // The list holds times while it is asked with.
            Position::Time(time) => Offset::Offset(i64::try_from(time).unwrap_or(i64::MAX)),
            // Places are ordered by partition.
            Position::Offset(place) => match partition.cmp(&names::split(place).0) {
                std::cmp::Ordering::Less => Offset::End,
                std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Offset::Beginning,
            },
        };
        wanted.add_partition_offset(topic, *partition, offset)?;
    }
    let mut found = found(consumer, wanted)?;
    // Nothing is as late: begin at the end.
    let mut late = TopicPartitionList::new();
    for element in found.elements() {
        if !matches!(element.offset(), Offset::Offset(_)) {
            late.add_partition_offset(element.topic(), element.partition(), Offset::End)?;
        }
    }
    for element in self::found(consumer, late)?.elements() {
        found.set_partition_offset(element.topic(), element.partition(), element.offset())?;
    }
    if let Position::Offset(place) = from {
        let (partition, wanted) = names::split(place);
        let of_it = partitions.iter().filter(|(_, number)| *number == partition).cloned();
        let last = positions(consumer, &of_it.collect::<Vec<_>>(), Position::Latest)?;
        for end in last.elements() {
            let first = found.find_partition(end.topic(), partition).map(|element| element.offset());
            let at = wanted.max(number(first.unwrap_or(Offset::Invalid))).min(number(end.offset()));
            found.set_partition_offset(end.topic(), partition, Offset::Offset(at))?;
        }
    }
    Ok(found)
}

fn found(consumer: &Reader, wanted: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
    if wanted.count() == 0 {
        return Ok(wanted);
    }
    let found = consumer.offsets_for_times(wanted, ANSWER_TIME)?;
    found.elements().iter().try_for_each(TopicPartitionListElem::error)?;
    Ok(found)
}

/// An offset as a number; 0 for what is none.
pub fn number(offset: Offset) -> i64 {
    if let Offset::Offset(number) = offset { number } else { 0 }
}

/// Notes where a group begins that is not known yet: one that lasts when it is first in use, one that does not each time
/// that nobody is in it.
pub fn group(consumer: &Reader, pattern: &Pattern, is_durable: bool, from: Position) -> KafkaResult<()> {
    if lasts(consumer)? {
        return Ok(());
    }
    let mut begins = positions(consumer, &partitions(consumer, pattern)?, from)?;
    if is_durable {
        begins.add_partition_offset(names::BEGUN, 0, Offset::Offset(0))?;
    } else if begins.count() == 0 {
        return Ok(());
    }
    match consumer.commit(&begins, CommitMode::Sync) {
        // Somebody is in it, so it has begun.
        Err(KafkaError::ConsumerCommit(
            Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress,
        )) => Ok(()),
        outcome => outcome,
    }
}

/// Whether a consumer's group stays where it is when nobody is in it.
pub fn lasts(consumer: &Reader) -> KafkaResult<bool> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(names::BEGUN, 0);
    let told = consumer.committed_offsets(asked, ANSWER_TIME)?;
    Ok(told.elements().iter().any(|element| matches!(element.offset(), Offset::Offset(_))))
}
