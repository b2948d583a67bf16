//! A connection's bytes, counted, and the limit for a reader who does not read.

use super::connection::Connection;
use super::limits::Place;
use super::listener::prepare;
use bytes::BufMut;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What is written in one piece: most replies with their heads.
const SMALL: usize = 1_024;

/// How a connection of HTTP/2 begins, and no request of HTTP/1 (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI ";

/// A connection, which keeps its place for as long as it is open, as a WebSocket too.
pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Runs while the other side takes nothing of what is written.
    stall: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>, place: Place) -> Socket {
        if let Err(error) = prepare(&stream) {
            tracing::debug!("a connection goes without its options: {error}");
        }
        Socket { stream, connection, stall: None, _place: place }
    }

    /// Passes on the outcome of a write, unless it has waited for too long. A timer is made only when there is
    /// something to wait for: a stream that has nothing to say is no slow reader.
    fn written<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.stall.take().is_some() {
                self.connection.set_stuck(false);
                // Requests that waited for this are in the same task.
                context.waker().wake_by_ref();
            }
            return outcome;
        }
        self.connection.set_stuck(true);
        let limit = self.connection.limits().reader;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        if stall.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.connection.count_slow();
        // What lies in the system's buffers is given up as well; that this may fail only leaves it there for longer.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reply is not read")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        if !read.is_empty() {
            let is_first = self.connection.count_read(read.len());
            if is_first && read.starts_with(HTTP2) {
                self.connection.set_http2();
            }
        }
        outcome
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let mut small = [0; SMALL];
        let outcome = if let Some(mut room) = small.get_mut(..length) {
            // The system takes one piece sooner than a list of them.
            for slice in slices {
                room.put_slice(slice);
            }
            Pin::new(&mut self.stream).poll_write(context, small.get(..length).unwrap_or_default())
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(context, slices)
        };
        self.written(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
