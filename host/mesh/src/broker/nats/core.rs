//! Messages that the server passes on to who is there, at most once.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Subscriber;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::link::{ANSWER, Link, Watch};
use super::{MAX_PREFETCH, NAME, check_own, is_named};
use crate::broker::topic::{check_group, check_topic};
use crate::broker::{
    Abilities, Broker, BrokerError, Delivery, Message, Pattern, Position, PublishOptions, SubscribeOptions,
    Subscription, Taken, envelope, unsupported,
};

/// A NATS server without JetStream, or with it and without its use.
///
/// A group is a queue group of NATS: members of one name share messages, even where they subscribed to different
/// patterns that both name a topic.
pub struct Nats {
    link: Link,
}

impl Nats {
    /// Connects to the server at an address.
    ///
    /// # Errors
    /// [`BrokerError::Setting`] for what is no address, [`BrokerError::Unavailable`] when no server answers there.
    pub async fn open(address: Option<&str>) -> Result<Self, BrokerError> {
        Ok(Self { link: Link::connect(NAME, address).await? })
    }
}

/// A subscription that its reader and its owner hold. The owner takes it away, so that the server knows of it before
/// whatever the owner does next.
type Shared = Arc<Mutex<Option<Subscriber>>>;

/// The owner's hold.
struct Held(Shared);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Hands over what comes, for as long as there is room for it.
async fn pump(pattern: Pattern, shared: Shared, room: Arc<Semaphore>, to: mpsc::Sender<Delivery>, watch: Watch) {
    let next = || {
        poll_fn(|context| match &mut *shared.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(subscriber) => subscriber.poll_next_unpin(context),
            None => std::task::Poll::Ready(None),
        })
    };
    let hand_over = async {
        while let Ok(permit) = room.clone().acquire_owned().await {
            let message = loop {
                match next().await {
                    Some(message) if is_named(&pattern, &message.subject) => break message,
                    Some(_) => {}
                    None => return,
                }
            };
            let read = super::message(&message.payload, message.headers.as_ref());
            let receipt = Box::new(Taken(Some(permit)));
            // The channel has room for each permit; one who left needs no message.
            let _ = to.try_send(Delivery::new(message.subject.as_str().into(), read, Some(receipt)));
        }
    };
    tokio::select! {
        () = hand_over => {}
        () = to.closed() => {}
        () = watch.closed() => {}
    }
}

#[async_trait]
impl Broker for Nats {
    fn name(&self) -> &str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError> {
        check_topic(topic)?;
        check_own(topic)?;
        message.check(topic)?;
        if options.deliver_at.is_some() {
            return Err(unsupported(NAME, "publish for later"));
        }
        let _held = self.link.hold()?;
        let payload = envelope::write(topic, &message)?;
        check_size(&self.link, topic, payload.len())?;
        self.link.connected(options.patience).await?;
        let client = &self.link.client;
        let send = async {
            client.publish(topic.to_owned(), payload).await.map_err(|error| self.link.lost(&error.to_string()))?;
            client.flush().await.map_err(|error| self.link.lost(&error.to_string()))
        };
        self.link.answered(options.patience.max(ANSWER), send).await
    }

    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError> {
        check_own(pattern.as_str())?;
        let group = options.group.map(|group| group.name);
        group.as_deref().map_or(Ok(()), check_group)?;
        if !matches!(options.from, Position::Latest) {
            return Err(unsupported(NAME, "read old messages"));
        }
        let _held = self.link.hold()?;
        let (client, subject) = (&self.link.client, pattern.to_string());
        let subscribe = async {
            let subscriber = match group {
                Some(group) => client.queue_subscribe(subject, group).await,
                None => client.subscribe(subject).await,
            };
            let subscriber = subscriber.map_err(|error| self.link.lost(&error.to_string()))?;
            // A word to ourselves comes back after the server has seen the subscription: what others publish from now on
            // comes.
            let inbox = client.new_inbox();
            if let Ok(mut echo) = client.subscribe(inbox.clone()).await {
                let _ = client.publish(inbox, Bytes::new()).await;
                let _ = timeout(ANSWER, echo.next()).await;
            }
            Ok::<_, BrokerError>(subscriber)
        };
        let late = |_| self.link.lost("the server answers nothing");
        let subscriber: Subscriber = timeout(ANSWER * 2, subscribe).await.map_err(late)??;
        let prefetch = options.prefetch.clamp(1, MAX_PREFETCH);
        let (deliveries, received) = mpsc::channel(prefetch);
        let shared = Arc::new(Mutex::new(Some(subscriber)));
        let room = Arc::new(Semaphore::new(prefetch));
        tokio::spawn(pump(pattern.clone(), shared.clone(), room, deliveries, self.link.watch()?));
        Ok(Subscription::new(received, Held(shared)))
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.link.close().await;
        Ok(())
    }
}

/// Refuses what the server would end the connection for.
pub(super) fn check_size(link: &Link, topic: &str, bytes: usize) -> Result<(), BrokerError> {
    if bytes > link.client.max_payload() { Err(too_large(link, topic, bytes)) } else { Ok(()) }
}

/// What is said of a payload with so many bytes that is too large, if only with NATS's headers.
pub(super) fn too_large(link: &Link, topic: &str, bytes: usize) -> BrokerError {
    let most = link.client.max_payload();
    BrokerError::TooLarge(format!(
        "a message for topic {topic:?} has {bytes} bytes as NATS carries it, in JSON and Base64, and the server takes \
         {most} with what goes before them: raise its max_payload, or publish where the data is, not the data"
    ))
}
