//! A call whose request, reply or both are many messages.

use crate::call::Payload;
use crate::error::Error;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc::error::{SendError, TryRecvError, TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Messages that wait on their way in either direction; after that the sender waits.
pub const CAPACITY: usize = 64;

/// Bytes that these messages may have together. The one that goes beyond still goes, so that none is too large for it.
const BYTES: usize = 1024 * 1024;

/// A message of this many bytes is bounded by the number of messages, and is not weighed.
const LIGHT: usize = BYTES / CAPACITY;

/// The caller's end of a streaming call. Dropping it ends the call, and the callee is told.
#[derive(Debug)]
pub struct Exchange {
    /// What came beside the messages.
    pub header: HeaderMap,
    /// Dropped before `sends`: the callee knows then that the messages did not end but were broken off.
    gives: Receiver,
    sends: Option<Sender>,
}

/// Takes messages for the other end. An error ends the call, and is its outcome.
#[derive(Debug, Clone)]
pub struct Sender {
    queue: mpsc::Sender<Weighed>,
    bytes: Arc<Semaphore>,
}

/// Gives the messages that the other end sends.
#[derive(Debug)]
pub struct Receiver(mpsc::Receiver<Weighed>);

/// A place for one message.
#[derive(Debug)]
pub struct Place<'s> {
    queue: mpsc::Permit<'s, Weighed>,
    bytes: &'s Arc<Semaphore>,
}

/// A [`Place`] that stands for itself.
#[derive(Debug)]
pub struct OwnedPlace {
    queue: mpsc::OwnedPermit<Weighed>,
    bytes: Arc<Semaphore>,
}

/// A message on its way, with its part of the bytes that may be.
#[derive(Debug)]
struct Weighed {
    message: Result<Payload, Error>,
    _bytes: Option<OwnedSemaphorePermit>,
}

/// The callee's end.
#[derive(Debug)]
pub struct ExchangeServer {
    /// What the caller sends. It ends when the caller has no more to send, or is gone.
    pub requests: Receiver,
    /// What the caller gets. It is closed when the caller is gone; dropping it ends the reply.
    pub replies: Sender,
}

impl Exchange {
    /// Both ends of a new call.
    pub fn pair() -> (Exchange, ExchangeServer) {
        let (sends, requests) = channel();
        let (replies, gives) = channel();
        (Exchange { header: HeaderMap::new(), gives, sends: Some(sends) }, ExchangeServer { requests, replies })
    }

    /// Sends a message. Waits while the callee is not ready for more.
    ///
    /// # Errors
    /// 400 after [`Exchange::finish`], and 410 when the callee takes no more; [`Exchange::next`] tells why.
    pub async fn send(&mut self, message: Payload) -> Result<(), Error> {
        let Some(sends) = &self.sends else {
            return Err(Error::bad_request("go.micro.client", "a message was sent after the end of the messages"));
        };
        let sent = sends.send(Ok(message)).await;
        sent.map_err(|_| Error::new("go.micro.client", 410, "the callee takes no more messages"))
    }

    /// Says that there are no more messages to send.
    pub fn finish(&mut self) {
        self.sends = None;
    }

    /// The next message of the reply; `None` at its end. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Payload, Error>> {
        self.gives.recv().await
    }

    /// What [`Exchange::next`] gives if it is there already.
    pub fn next_now(&mut self) -> Option<Option<Result<Payload, Error>>> {
        match self.gives.0.try_recv() {
            Ok(weighed) => Some(Some(weighed.message)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(None),
        }
    }

    /// Parts the two directions, for callers that send and get at the same time: what is left of this only gets. Who is
    /// done with both before the callee is, drops this first.
    pub fn take_sender(&mut self) -> Option<Sender> {
        self.sends.take()
    }
}

fn channel() -> (Sender, Receiver) {
    let (queue, received) = mpsc::channel(CAPACITY);
    (Sender { queue, bytes: Arc::new(Semaphore::new(BYTES)) }, Receiver(received))
}

impl Sender {
    /// Sends a message. Waits while the other end is not ready for more.
    ///
    /// # Errors
    /// The other end is gone.
    pub async fn send(&self, message: Result<Payload, Error>) -> Result<(), SendError<()>> {
        self.reserve().await?.send(message);
        Ok(())
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// The other end is gone.
    pub async fn reserve(&self) -> Result<Place<'_>, SendError<()>> {
        let queue = self.queue.reserve().await?;
        has_bytes(&self.bytes).await;
        Ok(Place { queue, bytes: &self.bytes })
    }

    /// As [`Sender::reserve`], for who cannot hold on to the sender.
    ///
    /// # Errors
    /// The other end is gone.
    pub async fn reserve_owned(self) -> Result<OwnedPlace, SendError<()>> {
        let queue = self.queue.reserve_owned().await?;
        has_bytes(&self.bytes).await;
        Ok(OwnedPlace { queue, bytes: self.bytes })
    }

    /// A place, if there is one now.
    ///
    /// # Errors
    /// There is none, or the other end is gone.
    pub fn try_reserve(&self) -> Result<Place<'_>, TrySendError<()>> {
        let queue = self.queue.try_reserve()?;
        match self.bytes.available_permits() {
            0 => Err(TrySendError::Full(())),
            _ => Ok(Place { queue, bytes: &self.bytes }),
        }
    }

    /// Whether the other end is gone.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Waits until the other end is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// Waits until what waits has fewer bytes than it may have. What nobody takes any more gives back its own.
async fn has_bytes(bytes: &Semaphore) {
    if bytes.available_permits() == 0 {
        // Never closed, and what is taken here is given back at once.
        drop(bytes.acquire().await);
    }
}

impl Weighed {
    fn new(message: Result<Payload, Error>, bytes: &Arc<Semaphore>) -> Weighed {
        let length = message.as_ref().ok().and_then(Payload::bytes).map_or(0, Bytes::len);
        let weight = if length > LIGHT { length.min(bytes.available_permits()) } else { 0 };
        let weight = u32::try_from(weight).ok().filter(|weight| *weight > 0);
        Weighed { message, _bytes: weight.and_then(|weight| bytes.clone().try_acquire_many_owned(weight).ok()) }
    }
}

impl Place<'_> {
    /// Sends a message.
    pub fn send(self, message: Result<Payload, Error>) {
        self.queue.send(Weighed::new(message, self.bytes));
    }
}

impl OwnedPlace {
    /// Sends a message.
    pub fn send(self, message: Result<Payload, Error>) {
        self.queue.send(Weighed::new(message, &self.bytes));
    }
}

impl Receiver {
    /// The next message; `None` when the other end has no more.
    pub async fn recv(&mut self) -> Option<Result<Payload, Error>> {
        self.0.recv().await.map(|weighed| weighed.message)
    }

    /// As [`Receiver::recv`], where that is polled.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Payload, Error>>> {
        self.0.poll_recv(context).map(|weighed| weighed.map(|weighed| weighed.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Payload {
        Payload::json(vec![b'1'; bytes])
    }

    #[tokio::test]
    async fn messages_that_wait_are_bounded_in_bytes_and_none_is_too_large() {
        let (mut exchange, server) = Exchange::pair();
        let replies = &server.replies;
        replies.send(Ok(message(BYTES / 2))).await.unwrap();
        replies.send(Ok(message(2 * BYTES))).await.unwrap();
        assert!(matches!(replies.try_reserve(), Err(TrySendError::Full(()))));
        let third = replies.send(Ok(message(1)));
        tokio::pin!(third);
        assert!(is_waiting(third.as_mut()).await, "it waits");
        assert!(exchange.next().await.is_some_and(|message| message.is_ok()));
        third.await.unwrap();
        while let Some(Some(message)) = exchange.next_now() {
            assert!(message.is_ok());
        }
        assert_eq!(replies.bytes.available_permits(), BYTES, "all is given back");
    }

    /// Whether a future is not done at once.
    async fn is_waiting(mut work: std::pin::Pin<&mut impl Future>) -> bool {
        std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn small_messages_are_bounded_in_number() {
        let (exchange, server) = Exchange::pair();
        for _ in 0..CAPACITY {
            server.replies.try_reserve().unwrap().send(Ok(message(LIGHT)));
        }
        assert_eq!(server.replies.bytes.available_permits(), BYTES);
        assert!(server.replies.try_reserve().is_err());
        drop(exchange);
        assert!(server.replies.is_closed());
        assert!(server.replies.send(Ok(message(1))).await.is_err());
    }
}
