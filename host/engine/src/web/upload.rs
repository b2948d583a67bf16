//! The body of a request, as the guest reads it: counted, and within its limit.

use super::Slot;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use wasmtime_wasi_http::{Error, WasiBody};

struct Upload<B> {
    body: B,
    slot: Arc<Slot>,
    taken: u64,
}

/// The body as the guest's side takes it.
pub(super) fn upload<B>(body: B, slot: &Arc<Slot>) -> WasiBody
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Send + Unpin + 'static,
{
    if body.is_end_stream() {
        // Most requests have none, and nothing is to be allocated for that.
        return Empty::new().map_err(|never| match never {}).boxed_unsync();
    }
    Upload { body, slot: slot.clone(), taken: 0 }.boxed_unsync()
}

impl<B> Body for Upload<B>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!("a request's body ended before its end: {error}");
                return Poll::Ready(Some(Err(Error::ConnectionTerminated)));
            }
        };
        this.slot.note_move();
        this.taken += frame.data_ref().map_or(0, |data| data.len() as u64);
        let most = this.slot.most();
        if this.taken > most {
            this.slot.set_too_large();
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(most)))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
