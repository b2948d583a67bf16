//! What comes to a subscriber.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Header, KEY, Message};

/// The messages that come to one subscriber. Dropping it gives back what was not acknowledged.
pub struct Subscription {
    /// Dropped with the subscription, which tells the backend that it is over. It comes first: the backend knows who left
    /// before what was on its way to them comes back.
    _held: Box<dyn Any + Send + Sync>,
    deliveries: mpsc::Receiver<Delivery>,
}

impl Subscription {
    /// A subscription that yields what is sent there, and drops `held` when it ends.
    pub fn new(deliveries: mpsc::Receiver<Delivery>, held: impl Any + Send + Sync) -> Self {
        Self { _held: Box::new(held), deliveries }
    }

    /// Waits for the next message. `None` means that the broker was closed or gave the subscription up: subscribe again.
    /// May be cancelled.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// The next message if it is already here.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// One message on its way to one subscriber. Dropped without [`Delivery::ack`] it comes again, where the broker is durable.
pub struct Delivery {
    /// The topic that it was published to.
    pub topic: Arc<str>,
    /// The message.
    pub message: Message,
    /// Where it stands in its topic, if the broker counts.
    pub offset: Option<u64>,
    /// When it was published, in milliseconds since 1970, as far as the broker tells.
    pub published: Option<u64>,
    /// How often it was handed out, this time included, as far as the broker counts.
    pub attempt: u32,
    receipt: Option<Box<dyn Receipt>>,
}

/// How a backend learns what became of a delivery. Exactly one of the two is called, and neither may block.
pub trait Receipt: Send + Sync {
    /// It is done with.
    fn ack(&mut self);

    /// It is given back.
    fn release(&mut self);
}

/// What became of a delivery, told to the task that handed it out.
pub(crate) struct Done {
    /// By which that task knows it.
    pub(crate) serial: u64,
    pub(crate) is_acked: bool,
}

/// Tells it.
pub(crate) struct Told {
    pub(crate) serial: u64,
    /// Has a place for each delivery that may be held; a task that has ended can do nothing for it.
    pub(crate) done: mpsc::Sender<Done>,
}

impl Receipt for Told {
    fn ack(&mut self) {
        drop(self.done.try_send(Done { serial: self.serial, is_acked: true }));
    }

    fn release(&mut self) {
        drop(self.done.try_send(Done { serial: self.serial, is_acked: false }));
    }
}

/// The room that a delivery takes until it is done with, where that is all that anybody wants to know.
pub(crate) struct Taken(pub(crate) Option<OwnedSemaphorePermit>);

impl Receipt for Taken {
    fn ack(&mut self) {
        self.0 = None;
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

impl Delivery {
    /// A delivery that was handed out for the first time. `receipt` is none where nobody wants to know what becomes of it.
    pub fn new(topic: Arc<str>, message: Message, receipt: Option<Box<dyn Receipt>>) -> Self {
        Self { topic, message, offset: None, published: None, attempt: 1, receipt }
    }

    /// Says that the message is done with.
    pub fn ack(mut self) {
        if let Some(mut receipt) = self.receipt.take() {
            receipt.ack();
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(mut receipt) = self.receipt.take() {
            receipt.release();
        }
    }
}

/// What a function may know of the message that it was called for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The topic that it was published to.
    pub topic: Arc<str>,
    /// Tells it from all others; the same each time it comes.
    pub id: String,
    /// How often it was tried, this time included.
    pub attempt: u32,
    /// When it was published, in milliseconds since 1970, as far as the broker tells.
    pub published: Option<u64>,
    /// What its publisher said about it.
    pub header: Header,
}

impl Delivered {
    /// What it belongs together with.
    pub fn key(&self) -> Option<&str> {
        self.header.get(KEY)
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Delivery")
            .field("topic", &self.topic)
            .field("offset", &self.offset)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<&'static str>>>);

    impl Seen {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        }
    }

    struct Held(Seen);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.note("over");
        }
    }

    impl Receipt for Seen {
        fn ack(&mut self) {
            self.note("acknowledged");
        }

        fn release(&mut self) {
            self.note("given back");
        }
    }

    #[test]
    fn who_leaves_is_gone_before_what_was_on_its_way_comes_back() {
        let seen = Seen::default();
        let (deliveries, received) = mpsc::channel(1);
        deliveries.try_send(Delivery::new("a".into(), Message::default(), Some(Box::new(seen.clone())))).unwrap();
        drop(Subscription::new(received, Held(seen.clone())));
        assert_eq!(*seen.0.lock().unwrap(), ["over", "given back"]);
    }
}
