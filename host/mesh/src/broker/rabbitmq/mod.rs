//! Topics on a RabbitMQ server, version 3.8 or newer, as go-micro has them: one exchange, the topic as the routing key.
//!
//! The exchange is taken as it is when it is there, else declared durable. go-micro declares its own as one that does not
//! survive the server: where its services came first, groups without a member lose what is published between the
//! server's restart and the next member that comes.
//!
//! A group that is remembered reads from a durable queue named `group:pattern`, which keeps messages for it from the
//! first subscription on; a passing one from a queue that is gone with its last member; and who has none from a queue of
//! its own. The server deletes these two when the connection of the last one who reads breaks: what is published until it
//! is back is missed. Where the server itself is gone and back, the queue of a passing group may be there still, and is kept
//! for a minute. A message that no queue wants is gone. What was handed out when a connection broke comes again, even if it
//! is acknowledged meanwhile; and after a crash of the server, what it had not yet written down as acknowledged.
//!
//! Queues are of the classic kind, which does not count how often it handed a message out: [`Delivery::attempt`] is 1 the
//! first time and 2 from then on. Who needs the number, or copies on several servers, declares the queue of a group as a
//! quorum queue before the first subscription, or makes that the default of the virtual host; queues are taken as they
//! are. (Not the other way round: a quorum queue of RabbitMQ 3.10 on a single server that was killed found no leader
//! again, and kept publishers waiting for ever.) Newer servers throw messages of such queues away after 20 attempts
//! unless a policy says otherwise.
//!
//! [`Delivery::attempt`]: super::Delivery::attempt
//!
//! A publisher is answered when the server has confirmed; one that did not hear it publishes again, so that a message
//! may be there twice. Publishing and reading go over two connections, since a server that is short of room stops reading
//! from those that publish, and acknowledgements must not wait for that.

mod link;
mod member;
mod tls;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::sync::mpsc;

use super::closing::{Held, Open};
use super::topic::{check_group, check_topic};
use super::{
    Abilities, Broker, BrokerError, Clock, Message, Pattern, Position, PublishOptions, Remove, SubscribeOptions,
    Subscription, unsupported,
};
use link::{Link, LinkError, within};
use member::{Member, Queue};
use tls::Tls;

#[cfg(test)]
#[path = "../rabbitmq_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "../rabbitmq_tls_tests.rs"]
mod tls_tests;

/// The name of this backend.
pub const NAME: &str = "rabbitmq";

/// Where a server listens that nobody configured.
pub const ADDRESS: &str = "amqp://guest:guest@127.0.0.1:5672";

/// The exchange of all topics, which is go-micro's.
pub const EXCHANGE: &str = "micro";

/// How long to wait for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The most messages that one subscription may hold.
const MANY: usize = 10_000;

/// Topics on a RabbitMQ server.
pub struct RabbitMq {
    publishing: Link,
    reading: Arc<Link>,
    clock: Clock,
    /// Held by the members, and by whoever asks for something.
    open: Open,
}

impl RabbitMq {
    /// Connects to a server, as in `amqp://user:password@127.0.0.1:5672/host`, or `amqps://` for TLS: then the server's
    /// certificate has to be for the name in the address, and of an authority that the system trusts or `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// [`BrokerError::Setting`] for an address that is none, and [`BrokerError::Unavailable`] when no server answers that can
    /// be believed.
    pub async fn open(address: &str, clock: Clock) -> Result<Self, BrokerError> {
        // The cause is not told: it may repeat the address, with its password.
        let uri: AMQPUri = address.parse().map_err(|_| {
            BrokerError::Setting(format!("the address of broker {NAME} cannot be read: write it like {ADDRESS}"))
        })?;
        let tls = match uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => {
                let host = uri.authority.host.as_str();
                Some(Tls::of_system(host).await.map_err(|error| {
                    BrokerError::Setting(format!(
                        "broker {NAME} cannot speak TLS to {host}: {error}: write the name that is in the server's certificate"
                    ))
                })?)
            }
        };
        Self::connect(uri, tls, clock).await
    }

    async fn connect(uri: AMQPUri, tls: Option<Tls>, clock: Clock) -> Result<Self, BrokerError> {
        let reading = Arc::new(Link::new(uri.clone(), tls.clone()));
        let broker = Self { publishing: Link::new(uri, tls), reading, clock, open: Open::new() };
        broker.publishing.publisher().await.map_err(|error| broker.failed("connect", &error))?;
        Ok(broker)
    }

    fn failed(&self, what: &str, error: &LinkError) -> BrokerError {
        let place = self.reading.place();
        let said = |way| format!("{what}: rabbitmq at {place}: {error}: {way}");
        match error {
            LinkError::Refused => BrokerError::Full(said("let more subscribe to it, or raise the limit of the queue")),
            LinkError::Blocked => BrokerError::Full(said("see its alarms")),
            error if error.is_mistrust() => BrokerError::Unavailable(said(
                "see that it speaks TLS there, with a certificate for this name of an authority that the system trusts or \
                 SSL_CERT_FILE names",
            )),
            _ => BrokerError::Unavailable(said("see that the server runs and can be reached")),
        }
    }

    /// Publishes once, and once more if the channel that was there turns out to be gone, but not because it was closed here.
    async fn send(
        &self,
        held: &Held,
        topic: &ShortString,
        body: &[u8],
        properties: &BasicProperties,
    ) -> Result<(), LinkError> {
        loop {
            let (publisher, was_there) = self.publishing.publisher().await?;
            let channel = &publisher.channel;
            let attempt = publisher.attempt();
            let published = within(ANSWER_TIME, async {
                let options = BasicPublishOptions::default();
                channel.basic_publish(EXCHANGE.into(), topic.clone(), options, body, properties.clone()).await?.await
            });
            let published = published.await;
            if !matches!(published, Err(LinkError::Late(_))) {
                attempt.answered();
            }
            match published {
                Ok(confirmation) if confirmation.is_ack() => return Ok(()),
                Ok(_) => return Err(LinkError::Refused),
                Err(LinkError::Server(_)) if was_there && !held.is_over() => {}
                Err(error) => {
                    self.publishing.forget_publisher(&publisher).await;
                    return Err(error);
                }
            }
        }
    }

    /// The name of a group's queue.
    fn queue(pattern: &Pattern, group: &str) -> Result<ShortString, BrokerError> {
        check_group(group)?;
        ShortString::try_new(format!("{group}:{pattern}")).map_err(|_| {
            BrokerError::BadName(format!(
                "group {group} and pattern {pattern} have {} bytes together, and a queue's name has 254 for them: shorten \
                 one",
                group.len() + pattern.as_str().len()
            ))
        })
    }

    /// Deletes a queue, and says whether it was there.
    async fn delete(&self, queue: ShortString) -> Result<bool, LinkError> {
        let channel = self.reading.channel().await?;
        // Deleting one that is not there is no error for the server, so it is asked for first.
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match within(ANSWER_TIME, channel.queue_declare(queue.clone(), passive, FieldTable::default())).await {
            Ok(_) => {}
            Err(error) if error.is(&AMQPSoftError::NOTFOUND) => return Ok(false),
            Err(error) => return Err(error),
        }
        within(ANSWER_TIME, channel.queue_delete(queue, QueueDeleteOptions::default())).await?;
        within(ANSWER_TIME, channel.close(200, "done".into())).await?;
        Ok(true)
    }
}

#[async_trait]
impl Broker for RabbitMq {
    fn name(&self) -> &str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities { durable: true, ..Abilities::default() }
    }

    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError> {
        check_topic(topic)?;
        message.check(topic)?;
        if options.deliver_at.is_some() {
            return Err(unsupported(NAME, "publish for later"));
        }
        let held = self.open.hold()?;
        let properties = wire::properties(topic, &message.header, self.clock.now())?;
        let name = ShortString::try_new(topic).unwrap_or_default();
        let publish = || async {
            tokio::select! {
                biased;
                () = self.publishing.blocked() => Err(LinkError::Blocked),
                outcome = self.send(&held, &name, &message.body, &properties) => outcome,
            }
        };
        let published = held.patiently(options.patience, publish).await;
        published.map_err(|error| self.failed(&format!("publish to topic {topic}"), &error))
    }

    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError> {
        let SubscribeOptions { group, prefetch, from } = options;
        let queue = match group {
            Some(group) if group.durable => Queue::Durable(Self::queue(pattern, &group.name)?),
            Some(group) => Queue::Passing(Self::queue(pattern, &group.name)?),
            None => Queue::Own,
        };
        if !matches!(from, Position::Latest) {
            return Err(unsupported(NAME, "read old messages"));
        }
        let held = self.open.hold()?;
        let (deliveries, received) = mpsc::channel(prefetch.clamp(1, MANY));
        let member = Member::new(self.reading.clone(), pattern.clone(), queue, deliveries, held);
        let begun = member.begin().await;
        let (channel, consumer) = begun.map_err(|error| self.failed(&format!("subscribe to {pattern}"), &error))?;
        tokio::spawn(member.run(channel, consumer));
        Ok(Subscription::new(received, ()))
    }

    async fn remove(&self, what: Remove<'_>) -> Result<bool, BrokerError> {
        let Remove::Group(pattern, group) = what else {
            return Err(unsupported(NAME, "take messages away"));
        };
        let queue = Self::queue(pattern, group)?;
        let _held = self.open.hold()?;
        let deleted = self.delete(queue).await;
        deleted.map_err(|error| self.failed(&format!("remove group {group} of {pattern}"), &error))
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.open.close(ANSWER_TIME).await;
        tokio::join!(self.publishing.close(), self.reading.close());
        Ok(())
    }
}
