//! The broker as everything on this host uses it.

use async_trait::async_trait;
use micro_mesh::Broker;
use micro_mesh::broker::{
    Abilities, BrokerError, GroupUsage, MESSAGE_ID, Message, Pattern, Position, PublishOptions, Remove, Stored,
    SubscribeOptions, Subscription, TopicUsage,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// A broker that gives each message an id, waits for room as the host was told to, and counts.
pub(in crate::runtime) struct Published {
    broker: Arc<dyn Broker>,
    patience: Duration,
    published: AtomicU64,
    refused: AtomicU64,
}

impl Published {
    /// Publishers that do not say so wait for room for so long.
    pub(in crate::runtime) fn new(broker: Arc<dyn Broker>, patience: Duration) -> Published {
        Published { broker, patience, published: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// A message with an id, and how long its publisher waits for room.
    fn known(&self, mut message: Message, options: PublishOptions) -> (Message, PublishOptions) {
        if message.header.get(MESSAGE_ID).is_none() {
            message.header.set(MESSAGE_ID, Uuid::new_v4().to_string());
        }
        let patience = if options.patience.is_zero() { self.patience } else { options.patience };
        (message, PublishOptions { patience, ..options })
    }

    /// Messages that the broker took since the host started, and those that it did not.
    pub(in crate::runtime) fn counts(&self) -> [u64; 2] {
        [&self.published, &self.refused].map(|count| count.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Broker for Published {
    fn name(&self) -> &str {
        self.broker.name()
    }

    fn abilities(&self) -> Abilities {
        self.broker.abilities()
    }

    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError> {
        let (message, options) = self.known(message, options);
        let published = self.broker.publish(topic, message, options).await;
        if published.is_ok() { &self.published } else { &self.refused }.fetch_add(1, Ordering::Relaxed);
        published
    }

    async fn publish_all(&self, topic: &str, messages: Vec<(Message, PublishOptions)>) -> Vec<(usize, BrokerError)> {
        let count = messages.len() as u64;
        let messages = messages.into_iter().map(|(message, options)| self.known(message, options));
        let refused = self.broker.publish_all(topic, messages.collect()).await;
        self.refused.fetch_add(refused.len() as u64, Ordering::Relaxed);
        self.published.fetch_add(count.saturating_sub(refused.len() as u64), Ordering::Relaxed);
        refused
    }

    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError> {
        self.broker.subscribe(pattern, options).await
    }

    async fn topics(&self) -> Result<Vec<TopicUsage>, BrokerError> {
        self.broker.topics().await
    }

    async fn groups(&self, topic: &str) -> Result<Vec<GroupUsage>, BrokerError> {
        self.broker.groups(topic).await
    }

    async fn read(&self, topic: &str, from: Position, limit: usize) -> Result<Vec<Stored>, BrokerError> {
        self.broker.read(topic, from, limit).await
    }

    async fn seek(&self, pattern: &Pattern, group: &str, to: Position) -> Result<(), BrokerError> {
        self.broker.seek(pattern, group, to).await
    }

    async fn remove(&self, what: Remove<'_>) -> Result<bool, BrokerError> {
        self.broker.remove(what).await
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.broker.close().await
    }
}
