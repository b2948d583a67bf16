//! One subscription: a task that reads from a queue, and sees to what becomes of what it handed out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::message::Delivery as Received;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::protocol::AMQPSoftError;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt;

use super::link::{Link, LinkError, within};
use super::{ANSWER_TIME, EXCHANGE, wire};
use crate::broker::closing::{Held, WAITS};
use crate::broker::{Delivery, Done, Pattern, Told};

/// How long the queue of a passing group is kept where nobody has read from it since it was declared or the server started.
/// It outlasts a crash of the server; while that runs, the queue goes at once with the connection of the last one who reads.
const PASSING: Duration = Duration::from_secs(60);

/// What messages are read from.
#[derive(Clone)]
pub enum Queue {
    /// Kept, with the messages in it.
    Durable(ShortString),
    /// Gone with the last one that reads from it, and with the connection of that one.
    Passing(ShortString),
    /// Of this subscription alone.
    Own,
}

/// Who reads from a queue.
pub struct Member {
    link: Arc<Link>,
    pattern: Pattern,
    queue: Queue,
    prefetch: usize,
    deliveries: mpsc::Sender<Delivery>,
    done: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    serial: u64,
    /// What was handed out: the tag to acknowledge it by, which is of use while `epoch` is the same.
    held: HashMap<u64, (u64, u64)>,
    /// Counts channels. What was handed out over one before comes again by itself.
    epoch: u64,
    open: Held,
}

impl Member {
    pub fn new(
        link: Arc<Link>,
        pattern: Pattern,
        queue: Queue,
        deliveries: mpsc::Sender<Delivery>,
        open: Held,
    ) -> Self {
        let prefetch = deliveries.max_capacity();
        let done = mpsc::channel(prefetch);
        Self { link, pattern, queue, prefetch, deliveries, done, serial: 0, held: HashMap::new(), epoch: 0, open }
    }

    /// Begins to read from the queue, which is declared and bound where it is not yet.
    pub async fn begin(&self) -> Result<(Channel, Consumer), LinkError> {
        let (channel, name) = self.declare().await?;
        let routing = ShortString::try_new(wire::routing(&self.pattern)).unwrap_or_default();
        let bound = channel.queue_bind(
            name.clone(),
            EXCHANGE.into(),
            routing,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within(ANSWER_TIME, bound).await?;
        let most = u16::try_from(self.prefetch).unwrap_or(u16::MAX);
        within(ANSWER_TIME, channel.basic_qos(most, BasicQosOptions::default())).await?;
        let consumer =
            channel.basic_consume(name, ShortString::default(), BasicConsumeOptions::default(), FieldTable::default());
        let consumer = within(ANSWER_TIME, consumer).await?;
        Ok((channel, consumer))
    }

    async fn declare(&self) -> Result<(Channel, ShortString), LinkError> {
        let mut arguments = FieldTable::default();
        let (name, options) = match &self.queue {
            Queue::Durable(name) => {
                (name.clone(), QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() })
            }
            Queue::Passing(name) => {
                let millis = i64::try_from(PASSING.as_millis()).unwrap_or(i64::MAX);
                arguments.insert("x-expires".into(), AMQPValue::LongLongInt(millis));
                let options =
                    QueueDeclareOptions { durable: true, auto_delete: true, ..QueueDeclareOptions::default() };
                (name.clone(), options)
            }
            Queue::Own => {
                let options =
                    QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
                (ShortString::default(), options)
            }
        };
        let channel = self.link.with_exchange().await?;
        match within(ANSWER_TIME, channel.queue_declare(name.clone(), options, arguments)).await {
            Ok(queue) => Ok((channel, queue.name().clone())),
            // Somebody declared it otherwise, as an operator may: it is taken as it is.
            Err(error) if error.is(&AMQPSoftError::PRECONDITIONFAILED) => {
                let channel = self.link.channel().await?;
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                let queue = channel.queue_declare(name, options, FieldTable::default());
                let queue = within(ANSWER_TIME, queue).await?;
                Ok((channel, queue.name().clone()))
            }
            Err(error) => Err(error),
        }
    }

    /// Goes on until nobody listens any more or the broker is closed, then leaves.
    pub async fn run(mut self, channel: Channel, consumer: Consumer) {
        let mut begun = Some((channel, consumer));
        let mut wait = WAITS.0;
        loop {
            let since = Instant::now();
            let Err(error) = self.serve(begun.take()).await else { return };
            tracing::warn!(pattern = %self.pattern, %error, "rabbitmq: a subscription was interrupted and goes on when it can");
            if since.elapsed() > WAITS.1 {
                wait = WAITS.0;
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.deliveries.closed() => return,
                () = self.open.over() => return,
            }
            wait = (wait * 2).min(WAITS.1);
        }
    }

    /// Serves and leaves, or stops when something goes wrong.
    async fn serve(&mut self, begun: Option<(Channel, Consumer)>) -> Result<(), LinkError> {
        let (channel, mut consumer) = match begun {
            Some(begun) => begun,
            None => self.begin().await?,
        };
        self.epoch += 1;
        loop {
            // What is still held from before a reconnection takes room too.
            let has_room = self.held.len() < self.prefetch;
            tokio::select! {
                biased;
                Some(done) = self.done.1.recv() => self.settle(&channel, done).await?,
                () = self.deliveries.closed() => break,
                () = self.open.over() => break,
                received = consumer.next(), if has_room => match received {
                    Some(received) => self.hand_out(&channel, received?).await?,
                    // The queue was deleted, or the channel is gone.
                    None => return Err(LinkError::Server(lapin::ErrorKind::InvalidChannel(channel.id()).into())),
                },
            }
        }
        self.leave(&channel, consumer).await
    }

    async fn hand_out(&mut self, channel: &Channel, received: Received) -> Result<(), LinkError> {
        let Received { delivery_tag, routing_key, redelivered, properties, data, .. } = received;
        if !self.pattern.matches(routing_key.as_str()) {
            within(ANSWER_TIME, channel.basic_ack(delivery_tag, BasicAckOptions::default())).await?;
            return Ok(());
        }
        self.serial += 1;
        let receipt = Told { serial: self.serial, done: self.done.0.clone() };
        let message = wire::message(&properties, data);
        let mut delivery = Delivery::new(routing_key.as_str().into(), message, Some(Box::new(receipt)));
        delivery.published = properties.timestamp().map(|seconds| seconds.saturating_mul(1_000));
        delivery.attempt = wire::attempt(&properties, redelivered);
        self.held.insert(self.serial, (self.epoch, delivery_tag));
        // There is room for each that may be held; where nobody listens any more, it comes back as released.
        drop(self.deliveries.try_send(delivery));
        Ok(())
    }

    /// Tells the server what became of a delivery.
    async fn settle(&mut self, channel: &Channel, done: Done) -> Result<(), LinkError> {
        let Some((epoch, tag)) = self.held.remove(&done.serial) else { return Ok(()) };
        if epoch != self.epoch {
            return Ok(());
        }
        if done.is_acked {
            return within(ANSWER_TIME, channel.basic_ack(tag, BasicAckOptions::default())).await;
        }
        give_back(channel, tag).await
    }

    /// Gives back what nobody took, waits for what is still held unless the broker is closed, and closes the channel,
    /// with which the server gives all else to others.
    async fn leave(&mut self, channel: &Channel, mut consumer: Consumer) -> Result<(), LinkError> {
        within(ANSWER_TIME, channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await?;
        while let Some(received) = consumer.next().await {
            give_back(channel, received?.delivery_tag).await?;
        }
        // Ends the subscription.
        self.deliveries = mpsc::channel(1).0;
        while !self.held.is_empty() && !self.open.is_over() {
            tokio::select! {
                Some(done) = self.done.1.recv() => self.settle(channel, done).await?,
                () = self.open.over() => {}
            }
        }
        while let Ok(done) = self.done.1.try_recv() {
            self.settle(channel, done).await?;
        }
        within(ANSWER_TIME, channel.close(200, "left".into())).await
    }
}

async fn give_back(channel: &Channel, tag: u64) -> Result<(), LinkError> {
    let again = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
    within(ANSWER_TIME, channel.basic_nack(tag, again)).await
}
