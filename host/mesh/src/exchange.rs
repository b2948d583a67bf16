//! A call whose request, reply or both are many messages.

use crate::call::Payload;
use crate::error::Error;
use http::HeaderMap;
use tokio::sync::mpsc;

/// Messages that wait on their way in either direction; after that the sender waits.
pub const CAPACITY: usize = 64;

/// The caller's end of a streaming call. Dropping it ends the call, and the callee is told.
#[derive(Debug)]
pub struct Exchange {
    /// What came beside the messages.
    pub header: HeaderMap,
    /// Dropped before `sends`: the callee knows then that the messages did not end but were broken off.
    gives: mpsc::Receiver<Result<Payload, Error>>,
    sends: Option<Sender>,
}

/// Takes messages for the callee. An error ends the call, and is its outcome.
pub type Sender = mpsc::Sender<Result<Payload, Error>>;

/// The callee's end.
#[derive(Debug)]
pub struct ExchangeServer {
    /// What the caller sends. It ends when the caller has no more to send, or is gone.
    pub requests: mpsc::Receiver<Result<Payload, Error>>,
    /// What the caller gets. It is closed when the caller is gone; dropping it ends the reply.
    pub replies: mpsc::Sender<Result<Payload, Error>>,
}

impl Exchange {
    /// Both ends of a new call.
    pub fn pair() -> (Exchange, ExchangeServer) {
        let (sends, requests) = mpsc::channel(CAPACITY);
        let (replies, gives) = mpsc::channel(CAPACITY);
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
        match self.gives.try_recv() {
            Ok(message) => Some(Some(message)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(None),
        }
    }

    /// Parts the two directions, for callers that send and get at the same time: what is left of this only gets. Who is
    /// done with both before the callee is, drops this first.
    pub fn take_sender(&mut self) -> Option<Sender> {
        self.sends.take()
    }
}
