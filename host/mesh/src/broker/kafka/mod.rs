//! Topics on Kafka servers, version 2.4 or newer, in the shape that go-micro's Kafka broker has: the value of a record
//! is a JSON object with header and body.
//!
//! A topic is Kafka's topic of the same name, only that the `$` before the host's own topics is written as a dot there.
//! It is made when it is first published or subscribed to, with as many partitions and copies as the servers give to
//! it. Of two names that differ only by `.` and `_` Kafka takes the one that comes first, and of what begins with `__`
//! none.
//!
//! The order of messages is kept in each partition: for all messages of a topic that has one, which is what Kafka gives
//! where nobody says otherwise, and for those with the same key where it has several. [`Delivery::offset`] is Kafka's
//! offset in a topic's first partition; in others it says the partition too, in its upper 16 bits.
//!
//! A group is the consumer group `group:pattern`. Kafka gives each partition to one of its members, so that no more
//! than that have something to do, and knows of each only how far it is: when a partition goes to another member, or a
//! member ends without saying so, messages that were acknowledged come again that lie behind one that was not. What was
//! given back comes again from memory, to the same subscription, which is why [`Delivery::attempt`] counts from 1 again
//! after that. New topics of a pattern are found within some seconds. Where nobody was in a group for as long as the
//! servers keep offsets (`offsets.retention.minutes`, a week where nobody says otherwise), it begins anew. One that is to last
//! notes so when it begins, at the topic `..groups`, and else goes with its last member: who wants it to last and comes when
//! somebody else is in it notes nothing.
//!
//! Who has no group reads all partitions without anybody knowing, and goes on where it was when the servers were away.
//!
//! A message is published when the server of its partition has it in memory, and so have those that copy it. They
//! survive the end of their processes; a loss of power takes the last seconds, where no copy is elsewhere.
//!
//! Nothing is thrown away but by the servers, whatever [`Limits`](super::Limits) say, and they do so by age whether or
//! not a group has read it: see the retention of topics. A publisher that did not hear the servers' answer publishes
//! again, so that a message may be there twice; what the client itself had not sent after five seconds is not sent
//! later.
//!
//! Each subscription is a client of its own, with threads and connections. There is neither TLS nor a password.
//!
//! [`Delivery::offset`]: super::Delivery::offset
//! [`Delivery::attempt`]: super::Delivery::attempt

mod begin;
mod link;
mod lists;
mod member;
mod names;
mod parts;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::closing::{Held, Open};
use super::topic::{check_group, check_topic};
use super::{
    Abilities, Broker, BrokerError, GroupUsage, Message, Pattern, PublishOptions, Remove, SubscribeOptions,
    Subscription, TopicUsage, envelope, unsupported,
};
use link::{Link, asking, is_final, waiting};
use member::{Member, Membership};

#[cfg(test)]
#[path = "../kafka_tests.rs"]
mod tests;

/// The name of this backend.
pub const NAME: &str = "kafka";

/// Where a server listens that nobody configured.
pub const ADDRESS: &str = "127.0.0.1:9092";

/// How long to wait for a first answer.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long to wait for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The most messages that one subscription may hold.
const MANY: usize = 10_000;

/// Topics on Kafka servers.
pub struct Kafka {
    link: Arc<Link>,
    open: Open,
}

impl Kafka {
    /// Connects to servers, as in `127.0.0.1:9092`, several with commas between them.
    ///
    /// # Errors
    /// [`BrokerError::Setting`] for an address that is none, and [`BrokerError::Unavailable`] when no server answers.
    pub async fn open(address: &str) -> Result<Self, BrokerError> {
        let broker = Self { link: Arc::new(Link::new(address)?), open: Open::new() };
        let producer = broker.link.producer()?;
        let answered = waiting(move || producer.client().fetch_metadata(None, CONNECT_TIME).map(drop)).await;
        answered.map_err(|error| broker.link.failed("connect", &error))?;
        Ok(broker)
    }

    /// Takes a group away when the last member has left it, which takes a while after its subscription ended.
    async fn remove_group(&self, held: &Held, group: &str) -> Result<bool, KafkaError> {
        let remove = || async {
            match self.link.remove_group(group).await {
                Err(error @ KafkaError::AdminOp(RDKafkaErrorCode::NonEmptyGroup)) => Err(error),
                other => Ok(other),
            }
        };
        held.patiently(ANSWER_TIME, remove).await.flatten()
    }
}

#[async_trait]
impl Broker for Kafka {
    fn name(&self) -> &str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities { durable: true, list: true, ..Abilities::default() }
    }

    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError> {
        let name = names::to_server(topic)?;
        message.check(topic)?;
        if options.deliver_at.is_some() {
            return Err(unsupported(NAME, "publish for later"));
        }
        let held = self.open.hold()?;
        let value = envelope::write(topic, &message)?;
        let publish = || async {
            match self.link.publish(&name, message.key(), &value).await {
                Err(error) if is_final(&error) => Ok(Err(error)),
                other => other.map(Ok),
            }
        };
        let published = held.patiently(options.patience, publish).await.flatten();
        published.map_err(|error| self.link.failed(&format!("publish to topic {topic}"), &error))
    }

    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError> {
        let SubscribeOptions { group, prefetch, from } = options;
        if let Some(group) = &group {
            check_group(&group.name)?;
        }
        let held = self.open.hold()?;
        let failed = |error| self.link.failed(&format!("subscribe to {pattern}"), &error);
        let membership =
            group.map(|group| Membership { group: names::group(&group.name, pattern), is_durable: group.durable });
        if let Some(topic) = pattern.topic() {
            self.link.make(&names::to_server(topic)?).await.map_err(failed)?;
        }
        let is_grouped = membership.is_some();
        if is_grouped {
            self.link.make(names::BEGUN).await.map_err(failed)?;
        }
        let (deliveries, received) = mpsc::channel(prefetch.clamp(1, MANY));
        let member = Member::new(self.link.clone(), pattern.clone(), membership, deliveries, held);
        let mut member = member.map_err(failed)?;
        // Until it is in, nobody may take the group away.
        let _entering = if is_grouped { Some(self.link.entering.read().await) } else { None };
        let mut given = match member.begin(from).await {
            Ok(given) => given,
            Err(error) => {
                // A client that goes waits for its threads.
                drop(tokio::task::spawn_blocking(move || drop(member)).await);
                return Err(failed(error));
            }
        };
        tokio::spawn(member.run());
        if is_grouped {
            // It goes on trying, if that takes longer.
            drop(timeout(ANSWER_TIME, given.changed()).await);
        }
        Ok(Subscription::new(received, ()))
    }

    async fn topics(&self) -> Result<Vec<TopicUsage>, BrokerError> {
        let held = self.open.hold()?;
        let producer = self.link.producer()?;
        let usage = asking(&held, move || lists::topics(producer.client())).await;
        usage.map_err(|error| self.link.failed("list topics", &error))
    }

    async fn groups(&self, topic: &str) -> Result<Vec<GroupUsage>, BrokerError> {
        check_topic(topic)?;
        let held = self.open.hold()?;
        let producer = self.link.producer()?;
        let (link, name) = (self.link.clone(), topic.to_owned());
        let usage = asking(&held, move || lists::groups(&link, producer.client(), &name)).await;
        usage.map_err(|error| self.link.failed(&format!("list groups of topic {topic}"), &error))
    }

    async fn remove(&self, what: Remove<'_>) -> Result<bool, BrokerError> {
        let held = self.open.hold()?;
        match what {
            Remove::Message(..) => Err(unsupported(NAME, "take messages away")),
            Remove::Topic(topic) => {
                let removed = self.link.remove_topic(&names::to_server(topic)?).await;
                removed.map_err(|error| self.link.failed(&format!("remove topic {topic}"), &error))
            }
            Remove::Group(pattern, group) => {
                check_group(group)?;
                let removed = self.remove_group(&held, &names::group(group, pattern)).await;
                removed.map_err(|error| match error {
                    KafkaError::AdminOp(RDKafkaErrorCode::NonEmptyGroup) => BrokerError::Unavailable(format!(
                        "remove group {group} of {pattern}: kafka keeps a group that somebody is in: end its \
                         subscriptions first"
                    )),
                    error => self.link.failed(&format!("remove group {group} of {pattern}"), &error),
                })
            }
        }
    }

    async fn close(&self) -> Result<(), BrokerError> {
        // Servers that do not answer give all to others by themselves.
        self.open.close(ANSWER_TIME).await;
        let producer = self.link.close();
        drop(tokio::task::spawn_blocking(move || drop(producer)).await);
        Ok(())
    }
}
