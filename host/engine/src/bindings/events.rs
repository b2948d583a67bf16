//! `micro:function/events`: messages for whoever subscribed.

use super::State;
use super::contract::events::{Delivery, Host, Outgoing};
use super::contract::types;
use bytes::Bytes;
use micro_mesh::broker::{CONTENT_TYPE, ID, KEY, MAX_HEADER_NAMES, Message, PublishOptions};
use micro_mesh::{Error, call, outbox};
use wasmtime::Result;

impl Host for State {
    async fn publish(&mut self, topic: String, message: Outgoing) -> Result<std::result::Result<(), types::Error>> {
        Ok(self.publish_message(topic, message).await.map_err(super::client::for_guest))
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
            let broker = broker.ok_or_else(|| Error::unavailable(ID, "the host has no broker"))?;
            let options = PublishOptions { deliver_at, ..PublishOptions::default() };
            Ok(broker.publish(&topic, message, options).await?)
        }
    }

    /// A message as a guest publishes it, if it may.
    pub(super) fn outgoing(&self, topic: String, outgoing: Outgoing) -> std::result::Result<outbox::Outgoing, Error> {
        let access = &self.origin.access;
        if !access.allow.may_publish(&topic) {
            access.count_denied();
            let own = &access.service;
            let detail =
                format!("{own} may not publish to {topic}: its micro.toml does not name it in `publish` below [allow]");
            return Err(Error::forbidden(ID, detail));
        }
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
        Ok(outbox::Outgoing { topic, message, deliver_at })
    }
}
