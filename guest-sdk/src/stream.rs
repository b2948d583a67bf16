//! Calls of many messages.
//!
//! An endpoint that returns a [`Stream`] sends messages to its caller, one that returns an [`Upload`] takes messages and
//! replies in the end, one that returns an [`Exchange`] does both. Callers see a streaming endpoint; in the contract it
//! is a resource, which lives in the instance that made it, and is dropped when the call ends, for whatever reason.
//!
//! ```
//! # use micro_sdk as micro;
//! use micro::{Error, Stream, Upload, stream::Receive};
//!
//! /// Counts up to a number.
//! pub fn count(to: u64) -> Stream<u64> {
//!     Stream::new(1..=to)
//! }
//!
//! struct Sum(u64);
//!
//! impl Receive for Sum {
//!     type Item = u64;
//!     type Reply = u64;
//!
//!     fn send(&mut self, item: u64) -> Result<(), Error> {
//!         self.0 = self.0.checked_add(item).ok_or_else(|| Error::bad_request("too much"))?;
//!         Ok(())
//!     }
//!
//!     fn finish(self) -> Result<u64, Error> {
//!         Ok(self.0)
//!     }
//! }
//!
//! /// Adds up what the caller sends.
//! pub fn sum() -> Upload<u64, u64> {
//!     Upload::new(Sum(0))
//! }
//!
//! assert_eq!(count(3).collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2, 3]));
//!
//! let mut upload = sum();
//! upload.send(1).and_then(|()| upload.send(2)).expect("they are taken");
//! assert_eq!(upload.finish(), Ok(3));
//! ```

use std::fmt;

use crate::types::Error;

/// Messages for the caller: an iterator, of which each next item is asked for when the caller is ready for it.
pub struct Stream<T>(Box<dyn Iterator<Item = Result<T, Error>>>);

impl<T: 'static> Stream<T> {
    /// A stream of what an iterator gives.
    pub fn new(items: impl IntoIterator<Item = T, IntoIter: 'static>) -> Self {
        Stream(Box::new(items.into_iter().map(Ok)))
    }

    /// A stream that an error may end.
    pub fn fallible(items: impl IntoIterator<Item = Result<T, Error>, IntoIter: 'static>) -> Self {
        let mut items = items.into_iter();
        let mut has_ended = false;
        Stream(Box::new(std::iter::from_fn(move || {
            if has_ended {
                return None;
            }
            let item = items.next();
            has_ended = !matches!(item, Some(Ok(_)));
            item
        })))
    }
}

impl<T> Iterator for Stream<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Result<T, Error>> {
        self.0.next()
    }
}

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Stream")
    }
}

/// Takes the messages of a caller and replies in the end.
pub trait Receive {
    /// A message of the caller.
    type Item;
    /// The reply.
    type Reply;

    /// Takes one message. An error ends the call.
    fn send(&mut self, item: Self::Item) -> Result<(), Error>;

    /// The caller has no more messages.
    fn finish(self) -> Result<Self::Reply, Error>;
}

/// An endpoint that takes many messages and replies once: a [`Receive`] in a box.
pub struct Upload<T, R>(Option<Box<dyn Receiving<T, R>>>);

/// [`Receive`] as a trait object can have it.
trait Receiving<T, R> {
    fn send(&mut self, item: T) -> Result<(), Error>;
    fn finish(self: Box<Self>) -> Result<R, Error>;
}

impl<X: Receive> Receiving<X::Item, X::Reply> for X {
    fn send(&mut self, item: X::Item) -> Result<(), Error> {
        Receive::send(self, item)
    }

    fn finish(self: Box<Self>) -> Result<X::Reply, Error> {
        Receive::finish(*self)
    }
}

impl<T, R> Upload<T, R> {
    /// Hands messages to `receiver`.
    pub fn new(receiver: impl Receive<Item = T, Reply = R> + 'static) -> Self {
        Upload(Some(Box::new(receiver)))
    }

    /// Takes one message.
    pub fn send(&mut self, item: T) -> Result<(), Error> {
        match &mut self.0 {
            Some(receiver) => receiver.send(item),
            None => Err(finished()),
        }
    }

    /// Ends the messages and gives the reply.
    pub fn finish(&mut self) -> Result<R, Error> {
        self.0.take().ok_or_else(finished)?.finish()
    }
}

impl<T, R> fmt::Debug for Upload<T, R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Upload")
    }
}

/// Takes messages of a caller and has messages for it, in whatever order.
pub trait Converse {
    /// A message of the caller.
    type In;
    /// A message to the caller.
    type Out;

    /// Takes one message. An error ends the call.
    fn send(&mut self, item: Self::In) -> Result<(), Error>;

    /// The next message for the caller; none when there will be no more.
    ///
    /// The instance waits for nobody: a conversation that has nothing to say before it has heard more ends here.
    fn next(&mut self) -> Result<Option<Self::Out>, Error>;

    /// The caller has no more messages. What is left to say is still asked for.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// An endpoint with messages both ways: a [`Converse`] in a box.
pub struct Exchange<I, O>(Box<dyn Converse<In = I, Out = O>>);

impl<I, O> Exchange<I, O> {
    /// Hands messages to `conversation`, and takes messages from it.
    pub fn new(conversation: impl Converse<In = I, Out = O> + 'static) -> Self {
        Exchange(Box::new(conversation))
    }

    /// Takes one message.
    pub fn send(&mut self, item: I) -> Result<(), Error> {
        self.0.send(item)
    }

    /// Ends the caller's messages.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.0.finish()
    }
}

impl<I, O> Iterator for Exchange<I, O> {
    type Item = Result<O, Error>;

    fn next(&mut self) -> Option<Result<O, Error>> {
        self.0.next().transpose()
    }
}

impl<I, O> fmt::Debug for Exchange<I, O> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Exchange")
    }
}

fn finished() -> Error {
    Error::conflict("this stream is finished already")
}
