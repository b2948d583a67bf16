//! The topics and groups that there are. All of this waits for answers: do it off the runtime's threads.

use rdkafka::client::Client;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::future_producer::FutureProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::link::{Ear, Link};
use super::{ANSWER_TIME, begin, names};
use crate::broker::topic::check_group;
use crate::broker::{GroupUsage, Pattern, TopicUsage, sorted};

/// The client that asks.
type Asking = Client<FutureProducerContext<Ear>>;

/// Lists the topics that were published to. How many bytes they take the servers do not tell.
pub fn topics(client: &Asking) -> KafkaResult<Vec<TopicUsage>> {
    let metadata = client.fetch_metadata(None, ANSWER_TIME)?;
    let mut usage = Vec::new();
    for topic in metadata.topics().iter().filter(|topic| topic.error().is_none()) {
        let Some(name) = names::from_server(topic.name()) else { continue };
        let ends = ends(client, topic)?;
        // One that is only subscribed to is no topic yet.
        if ends.iter().all(|(_, _, next)| *next == 0) {
            continue;
        }
        usage.push(TopicUsage {
            name,
            messages: ends.iter().map(|(_, first, next)| u64::try_from(next - first).unwrap_or(0)).sum(),
            bytes: 0,
            first: ends.first().map_or(0, |(partition, first, _)| names::place(*partition, *first)),
            next: ends.last().map_or(0, |(partition, _, next)| names::place(*partition, *next)),
        });
    }
    usage.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(usage)
}

/// Each partition with the offset of its first message and of the next one.
fn ends(client: &Asking, topic: &MetadataTopic) -> KafkaResult<Vec<(i32, i64, i64)>> {
    let mut partitions: Vec<_> = topic.partitions().iter().map(MetadataPartition::id).collect();
    partitions.sort_unstable();
    let ends = partitions.into_iter().map(|partition| {
        let (first, next) = client.fetch_watermarks(topic.name(), partition, ANSWER_TIME)?;
        Ok((partition, first, next))
    });
    ends.collect()
}

/// Lists the groups that get messages of a topic. Of what is in flight the servers know nothing.
pub fn groups(link: &Link, client: &Asking, topic: &str) -> KafkaResult<Vec<GroupUsage>> {
    let metadata = client.fetch_metadata(None, ANSWER_TIME)?;
    let is_it = |found: &&MetadataTopic| names::from_server(found.name()).is_some_and(|name| name == topic);
    let Some(found) = metadata.topics().iter().find(is_it) else { return Ok(Vec::new()) };
    let ends = ends(client, found)?;
    let list = client.fetch_group_list(None, ANSWER_TIME)?;
    let mut usage = Vec::new();
    for group in list.groups().iter().filter(|group| group.state() != "Dead") {
        let Some((name, pattern)) = group.name().split_once(':') else { continue };
        let Ok(pattern) = Pattern::new(pattern) else { continue };
        if check_group(name).is_err() || !pattern.matches(topic) {
            continue;
        }
        usage.push(GroupUsage {
            name: name.to_owned(),
            pattern: pattern.to_string(),
            lag: lag(link, group.name(), found.name(), &ends)?,
            in_flight: 0,
            members: group.members().len() as u64,
        });
    }
    Ok(sorted(usage))
}

fn lag(link: &Link, group: &str, topic: &str, ends: &[(i32, i64, i64)]) -> KafkaResult<u64> {
    let consumer = link.consumer(Some(group))?;
    let mut asked = TopicPartitionList::new();
    for (partition, ..) in ends {
        asked.add_partition(topic, *partition);
    }
    let told = consumer.committed_offsets(asked, ANSWER_TIME)?;
    let lag = ends.iter().map(|(partition, first, next)| {
        let told = told.find_partition(topic, *partition).map_or(Offset::Invalid, |element| element.offset());
        u64::try_from(next - begin::number(told).max(*first)).unwrap_or(0)
    });
    Ok(lag.sum())
}
