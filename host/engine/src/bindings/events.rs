//! `micro:function/events`: messages for whoever subscribed.

use super::State;
use super::contract::events::{Delivery, Host, NotPublished, Outgoing, Unpublished};
use super::contract::types;
use bytes::Bytes;
use micro_mesh::broker::{CONTENT_TYPE, ID, KEY, MAX_HEADER_NAMES, MAX_MESSAGE, Message, PublishOptions};
use micro_mesh::{Broker, Error, call, outbox};
use std::sync::Arc;
use wasmtime::Result;

/// Messages that a guest may publish in one call, and the bytes of their bodies together.
const MAX_TOGETHER: usize = 1_000;
const MAX_TOGETHER_BYTES: usize = 8 * MAX_MESSAGE;

/// Messages of one call, and who takes them.
type List = (Arc<dyn Broker>, Vec<(Message, PublishOptions)>);

impl Host for State {
    async fn publish(&mut self, topic: String, message: Outgoing) -> Result<std::result::Result<(), types::Error>> {
        Ok(self.publish_message(topic, message).await.map_err(super::client::for_guest))
    }

    async fn publish_all(
        &mut self,
        topic: String,
        messages: Vec<Outgoing>,
    ) -> Result<std::result::Result<(), NotPublished>> {
        let unpublished = match self.outgoing_list(&topic, messages) {
            Ok((broker, messages)) => broker.publish_all(&topic, messages).await,
            Err(error) => return Ok(Err(NotPublished::Whole(super::client::for_guest(error)))),
        };
        if unpublished.is_empty() {
            return Ok(Ok(()));
        }
        let parts = unpublished.into_iter().map(|(place, error)| Unpublished {
            at: u32::try_from(place).unwrap_or(u32::MAX),
            why: super::client::for_guest(error.into()),
        });
        Ok(Err(NotPublished::Parts(parts.collect())))
    }

    async fn current(&mut self) -> Result<Option<Delivery>> {
        Ok(self.origin.scope.delivery.as_ref().map(|delivery| Delivery {
            topic: delivery.topic.to_string(),
            id: delivery.id.clone(),
            key: delivery.key().map(str::to_owned),
            attempt: delivery.attempt,
            published: delivery.published,
            header: delivery.header.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        }))
    }
}

impl State {
    /// Publishes what a guest may publish.
    pub(super) fn publish_message(
        &self,
        topic: String,
        message: Outgoing,
    ) -> impl Future<Output = std::result::Result<(), Error>> + Send + use<> {
        let broker = self.origin.access.broker.clone();
        let outgoing = self.outgoing(topic, message);
        async move {
            let outbox::Outgoing { topic, message, deliver_at } = outgoing?;
            let broker = broker.ok_or_else(no_broker)?;
            let options = PublishOptions { deliver_at, ..PublishOptions::default() };
            Ok(broker.publish(&topic, message, options).await?)
        }
    }

    /// Messages as a guest publishes them, if it may, and the broker that takes them.
    fn outgoing_list(&self, topic: &str, messages: Vec<Outgoing>) -> std::result::Result<List, Error> {
        self.may_publish(topic)?;
        if messages.len() > MAX_TOGETHER {
            let count = messages.len();
            let detail =
                format!("{count} messages for topic {topic} in one call, which may have {MAX_TOGETHER}: make several");
            return Err(Error::new(ID, 413, detail));
        }
        let size: usize = messages.iter().map(|message| message.body.len()).sum();
        if size > MAX_TOGETHER_BYTES {
            let detail = format!(
                "{size} bytes of messages for topic {topic} in one call, which may have {MAX_TOGETHER_BYTES}: make several"
            );
            return Err(Error::new(ID, 413, detail));
        }
        let broker = self.origin.access.broker.clone().ok_or_else(no_broker)?;
        let message = |outgoing| {
            let (message, deliver_at) = self.message(topic, outgoing)?;
            Ok((message, PublishOptions { deliver_at, ..PublishOptions::default() }))
        };
        let messages = messages.into_iter().map(message).collect::<std::result::Result<_, Error>>()?;
        Ok((broker, messages))
    }

    /// A message as a guest publishes it, if it may.
    pub(super) fn outgoing(&self, topic: String, outgoing: Outgoing) -> std::result::Result<outbox::Outgoing, Error> {
        self.may_publish(&topic)?;
        let (message, deliver_at) = self.message(&topic, outgoing)?;
        Ok(outbox::Outgoing { topic, message, deliver_at })
    }

    fn may_publish(&self, topic: &str) -> std::result::Result<(), Error> {
        let access = &self.origin.access;
        if access.allow.may_publish(topic) {
            return Ok(());
        }
        access.count_denied();
        let own = &access.service;
        let detail =
            format!("{own} may not publish to {topic}: its micro.toml does not name it in `publish` below [allow]");
        Err(Error::forbidden(ID, detail))
    }

    /// A message of a guest, and when it is delivered.
    fn message(&self, topic: &str, outgoing: Outgoing) -> std::result::Result<(Message, Option<u64>), Error> {
        let Outgoing { content_type, key, header, body, deliver_at } = outgoing;
        // Looked at before they are compared with each other, which takes time with the square of their number.
        if header.len() > MAX_HEADER_NAMES {
            let detail = format!(
                "the header of a message for topic {topic} has {} names, and may have {MAX_HEADER_NAMES}: put what is \
                 much into the body",
                header.len()
            );
            return Err(Error::new(ID, 413, detail));
        }
        let mut message = Message { header: self.origin.trace().collect(), body: Bytes::from(body) };
        for (name, value) in header {
            message.header.set(&name, value);
        }
        let is_said = !content_type.is_empty();
        message.header.set(CONTENT_TYPE, if is_said { content_type } else { call::JSON.to_owned() });
        if let Some(key) = key {
            message.header.set(KEY, key);
        }
        Ok((message, deliver_at))
    }
}

fn no_broker() -> Error {
    Error::unavailable(ID, "the host has no broker")
}
