//! Where the server sends what one subscription asked for.

use async_nats::client::SubscribeError;
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::link::ANSWER;

/// The ends of the inbox where the server speaks of a request for messages, and of what was given back.
pub(super) const ASKED: &str = ".m";
pub(super) const RETURNED: &str = ".n";

/// That where only this one speaks.
const NOTHING: &str = ".e";

/// What the server may say beside the messages that it was asked for.
const WORDS: usize = 16;

/// A subscription to everything below a name that nobody else has.
pub(super) struct Inbox {
    client: Client,
    subscriber: Subscriber,
    name: String,
    /// Everything that came.
    came: u64,
    opened: Instant,
    /// Whether what this one sends there comes, which an account may not be permitted to.
    is_heard: bool,
    is_finishing: bool,
    /// Whether nothing more will.
    pub(super) is_over: bool,
}

impl Inbox {
    pub(super) async fn open(client: &Client) -> Result<Self, SubscribeError> {
        let name = client.new_inbox();
        let subscriber = client.subscribe(format!("{name}.*")).await?;
        // Whether it comes is seen before it matters. An error means that the connection is gone.
        let _ = client.publish(format!("{name}{NOTHING}"), Bytes::new()).await;
        Ok(Self {
            client: client.clone(),
            subscriber,
            name,
            came: 0,
            opened: Instant::now(),
            is_heard: false,
            is_finishing: false,
            is_over: false,
        })
    }

    /// The place in it with this end.
    pub(super) fn place(&self, end: &str) -> String {
        format!("{}{end}", self.name)
    }

    /// What follows its name in a subject, if that is of this one.
    pub(super) fn end_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.name)
    }

    /// The next message; none where it is over. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            let Some(message) = self.subscriber.next().await else {
                self.is_over = true;
                return None;
            };
            self.came += 1;
            if self.end_of(&message.subject) != Some(NOTHING) {
                return Some(message);
            }
            self.is_heard = true;
        }
    }

    /// The next message if it is already here.
    pub(super) fn try_next(&mut self) -> Option<Message> {
        self.next().now_or_never().flatten()
    }

    /// Has the server forget it: what was sent there, up to so many messages, still comes, and then it is over.
    ///
    /// [`Subscriber::drain`] lets go of what is on its way. This one ends, for the server and here, with a number of
    /// messages; those that are missing are its own. In a cluster, what another server has just sent may still find nobody.
    pub(super) async fn finish(&mut self, on_their_way: usize) {
        if std::mem::replace(&mut self.is_finishing, true) {
            return;
        }
        if !self.is_heard && self.opened.elapsed() > ANSWER {
            // An error means that the connection is gone, and it with that.
            let _ = self.subscriber.drain().await;
            return;
        }
        let last = on_their_way + WORDS;
        if self.subscriber.unsubscribe_after(self.came + last as u64).await.is_err() {
            return;
        }
        let nothing = self.place(NOTHING);
        for _ in 0..last {
            if self.client.publish(nothing.clone(), Bytes::new()).await.is_err() {
                return;
            }
        }
    }

    /// Leaves it at once, with what is on its way.
    pub(super) async fn abandon(&mut self) {
        // An error means that the connection is gone, and it with that.
        let _ = self.subscriber.unsubscribe().await;
    }
}
