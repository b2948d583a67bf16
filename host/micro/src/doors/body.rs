//! Bodies as they pass the door: a request's within its time, a reply's counted to its end.

use super::connection::{Connection, Running};
use super::streams::{Step, note};
use axum::body::Body as Reply;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::time::{Sleep, sleep};

/// What has to come within the time limit so that the body has made progress, in bytes.
const PROGRESS: usize = 1024;

/// The largest piece of a reply that is handed to a stream of HTTP/2, in bytes. A piece that was handed on waits for its
/// reader outside of all limits, so it is small.
const PIECE: usize = 64 * 1024;

/// The body of a request.
pub(super) struct RequestBody {
    incoming: Incoming,
    connection: Arc<Connection>,
    /// Runs while bytes are waited for, and only then: most bodies are there when they are asked for.
    patience: Option<Pin<Box<Sleep>>>,
    /// Bytes since it began to run.
    got: usize,
    /// Of a body of messages: whether somebody takes them as they come.
    leisure: Option<Leisure>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, head: &mut Parts, connection: Arc<Connection>) -> RequestBody {
        let leisure = is_stream(&head.headers).then(Leisure::default);
        if let Some(leisure) = &leisure {
            head.extensions.insert(leisure.clone());
        }
        RequestBody { incoming, connection, patience: None, got: 0, leisure }
    }
}

/// The time that a body of messages has: all there is once it is taken as it comes, and that of any other body where it
/// is gathered first.
#[derive(Debug, Clone, Default)]
struct Leisure(Arc<AtomicBool>);

/// Lets the body of a request with these extensions take as long as it will, if it is one of messages. For those who
/// take it as it comes.
pub(crate) fn allow_leisure(extensions: &Extensions) {
    if let Some(Leisure(is_allowed)) = extensions.get() {
        is_allowed.store(true, Ordering::Relaxed);
    }
}

/// Whether the body says that it holds messages, which are sent when there is something to say.
fn is_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    [&b"application/x-ndjson"[..], b"application/grpc"].iter().any(|stream| content_type.starts_with(stream))
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(context) {
            // Time in which nobody asked for more is not the sender's.
            this.patience.take_if(|patience| patience.is_elapsed());
            this.got += frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len)).unwrap_or(0);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.leisure.as_ref().is_some_and(|Leisure(is_allowed)| is_allowed.load(Ordering::Relaxed)) {
            return Poll::Pending;
        }
        if this.got >= PROGRESS {
            this.patience = None;
        }
        let patience = this.patience.get_or_insert_with(|| {
            this.got = 0;
            Box::pin(sleep(this.connection.limits().body))
        });
        ready!(patience.as_mut().poll(context));
        this.connection.count_slow();
        Poll::Ready(Some(Err(Slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Why a body ended before its end: nothing came for too long.
#[derive(Debug, thiserror::Error)]
#[error("it came too slowly")]
struct Slow;

/// Whether a body could not be read because its sender was too slow.
pub(crate) fn is_slow(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Slow>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The body of a reply. The request counts as long as this is there.
pub(super) struct ReplyBody {
    reply: Reply,
    /// What of a large piece was not handed on yet.
    rest: Bytes,
    is_http2: bool,
    _running: Option<Running>,
}

impl ReplyBody {
    pub(super) fn new(reply: Reply, is_http2: bool, running: Option<Running>) -> ReplyBody {
        ReplyBody { reply, rest: Bytes::new(), is_http2, _running: running }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.is_http2 {
            return Pin::new(&mut self.reply).poll_frame(context);
        }
        if self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.reply).poll_frame(context) else {
                note(Step::Waits);
                return Poll::Pending;
            };
            note(Step::Gave);
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        note(Step::Gave);
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, reply) = (self.rest.len() as u64, self.reply.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = reply.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(reply.lower().saturating_add(rest));
        hint
    }
}
