//! The response, from the moment that the guest has chosen it.
//!
//! A guest that is done by then, as most are, costs no task of its own: it runs on its caller's task, and the response
//! leaves in one piece. One that goes on writing moves to a task, and its pieces follow as the client takes them.

use super::{Slot, WasiResponse, errors};
use crate::error::CallError;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::AbortHandle;
use wasmtime_wasi_http::WasiBody;

/// How much of a response is waited for that the guest gives without a pause, in bytes, before the first of it leaves.
const AT_ONCE: usize = 64 * 1024;

/// How long a guest may go on writing what nobody is sent. It is as long as a response may be silent: most that write on
/// without a client are done by then, and what has no end must not hold its place for ever.
const UNSENT: Duration = super::SILENCE;

/// What becomes of a guest whose client left in the middle of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It ends.
    Ends,
    /// It lives on, and never learns of it.
    Stays,
}

/// Why there is no response.
#[derive(Debug)]
pub enum NoResponse<E> {
    /// The run failed before.
    Failed(E),
    /// The guest said so.
    Said(CallError),
}

/// Runs a guest until it has chosen its response, and longer if that takes no waiting. `run` is everything from the gate to
/// the guest's end; whatever is left of it goes on beside the body.
pub async fn respond<E: Send + 'static>(
    slot: Arc<Slot>,
    mut run: Pin<Box<impl Future<Output = Result<(), E>> + Send + 'static>>,
    wants_body: bool,
    leaving: Leaving,
) -> Result<http::Response<Body>, NoResponse<E>> {
    let mut outcome = None;
    let waiting = Waiting(Some(&slot));
    let head = poll_fn(|context| {
        if let Poll::Ready(ended) = run.as_mut().poll(context) {
            outcome = Some(ended);
        }
        match slot.poll_head(context) {
            Some(head) => Poll::Ready(Some(head)),
            None if outcome.is_some() => Poll::Ready(None),
            None => Poll::Pending,
        }
    })
    .await;
    waiting.end();
    let response = match head {
        Some(Ok(response)) => check(response),
        Some(Err(error)) => Err(error),
        None => match outcome {
            Some(Err(error)) => return Err(NoResponse::Failed(error)),
            _ => Err(errors::no_response()),
        },
    };
    let (mut parts, mut frames) = match response {
        Ok(response) => response.into_parts(),
        Err(error) => {
            slot.set_taken();
            if outcome.is_none() {
                tokio::spawn(run);
            }
            return Err(NoResponse::Said(error));
        }
    };
    let mut begun = Begun::default();
    poll_fn(|context| {
        loop {
            let has_more = begun.take_what_is_there(&mut frames, &slot, context);
            if outcome.is_none()
                && (has_more || begun.is_whole)
                && let Poll::Ready(ended) = run.as_mut().poll(context)
            {
                outcome = Some(ended);
                continue;
            }
            if !has_more || begun.is_whole {
                return Poll::Ready(());
            }
        }
    })
    .await;
    let is_over = outcome.is_some();
    if let Some(Err(error)) = outcome {
        // Nothing has left yet: an error is better than half a response.
        return Err(NoResponse::Failed(error));
    }
    // What a guest still does when its response is out is its own affair.
    let run = (!is_over).then(|| tokio::spawn(run).abort_handle()).filter(|_| !begun.is_whole);
    let may_have_body = !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if begun.is_whole && begun.frames.len() <= 1 && begun.frames.iter().all(Frame::is_data) {
        let data = begun.frames.pop_front().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        if wants_body && may_have_body {
            // What stands behind a response on its connection is the next one: a length that is not the body's would
            // let a guest write that.
            if told_length(&parts.headers).is_some_and(|told| told != Some(data.len() as u64)) {
                return Err(NoResponse::Said(errors::wrong_length()));
            }
            return Ok(http::Response::from_parts(parts, Body(Inner::Whole(data))));
        }
        if may_have_body {
            // A HEAD is told what a GET would get.
            parts.headers.entry(CONTENT_LENGTH).or_insert(data.len().into());
        }
        return Ok(http::Response::from_parts(parts, Body(Inner::None)));
    }
    let is_sent = wants_body && may_have_body;
    // A length that is no number is one that no body has.
    let left = told_length(&parts.headers).filter(|_| is_sent).map(Option::unwrap_or_default);
    let streamed = Streamed { begun, frames, left, slot, run, leaving };
    if is_sent {
        return Ok(http::Response::from_parts(parts, Body(Inner::Streamed(Box::new(streamed)))));
    }
    // The guest writes what nobody is sent.
    tokio::spawn(drain(streamed));
    Ok(http::Response::from_parts(parts, Body(Inner::None)))
}

/// The length that a response says its body has, if it says one and that is a number.
#[expect(clippy::option_option, reason = "whether one is told, and whether it is a number")]
fn told_length(headers: &HeaderMap) -> Option<Option<u64>> {
    let told = headers.get(CONTENT_LENGTH)?;
    Some(told.to_str().ok().and_then(|told| told.parse().ok()))
}

/// Waits for the head of the response. Dropped before its end, the client is gone.
struct Waiting<'s>(Option<&'s Slot>);

impl Waiting<'_> {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.leave();
        }
    }
}

fn check(response: WasiResponse) -> Result<WasiResponse, CallError> {
    let status = response.status();
    if status.is_informational() {
        let detail = format!("the handler answered with status {}, which is no answer", status.as_u16());
        return Err(CallError::Guest { id: None, code: 500, detail });
    }
    Ok(response)
}

/// The pieces of a body that came before the response left.
#[derive(Default)]
struct Begun {
    frames: VecDeque<Frame<Bytes>>,
    length: usize,
    is_whole: bool,
    failed: bool,
}

impl Begun {
    /// Takes the pieces that are there. False when there is no use in looking for more.
    fn take_what_is_there(&mut self, frames: &mut WasiBody, slot: &Slot, context: &mut Context<'_>) -> bool {
        if self.is_whole || self.failed {
            return false;
        }
        let before = self.frames.len();
        loop {
            match Pin::new(&mut *frames).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    slot.note_move();
                    self.length += frame.data_ref().map_or(0, Bytes::len);
                    self.frames.push_back(frame);
                    if self.length > AT_ONCE {
                        return false;
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!("a response's body failed: {error}");
                    self.failed = true;
                    return false;
                }
                Poll::Ready(None) => {
                    self.is_whole = true;
                    slot.set_taken();
                    return false;
                }
                Poll::Pending => return self.frames.len() > before,
            }
        }
    }
}

async fn drain(mut streamed: Streamed) {
    let is_over = discard(&mut streamed).await;
    // One that lives on learns that nobody takes its body.
    if is_over || streamed.leaving == Leaving::Stays {
        streamed.run = None;
    }
}

/// Takes what a guest writes and nobody is sent. False if it had not come to its end in time.
pub(super) async fn discard(body: &mut (impl http_body::Body + Unpin)) -> bool {
    // What the guest has to say of a response that is not sent is for nobody.
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(UNSENT, rest).await.is_ok()
}

/// The body of a guest's response.
#[derive(Debug)]
pub struct Body(Inner);

enum Inner {
    None,
    Whole(Bytes),
    Streamed(Box<Streamed>),
}

impl Body {
    /// The whole body, if it is there.
    pub fn into_whole(self) -> Result<Bytes, Body> {
        match self.0 {
            Inner::Whole(data) => Ok(data),
            other => Err(Body(other)),
        }
    }
}

struct Streamed {
    begun: Begun,
    frames: WasiBody,
    /// Bytes that the response says are still to come, if it says how many.
    left: Option<u64>,
    slot: Arc<Slot>,
    /// The guest's run, if it still goes on.
    run: Option<AbortHandle>,
    leaving: Leaving,
}

impl Streamed {
    /// A piece on its way out, unless it is more than the response says that it has.
    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Cut> {
        if let Some(left) = &mut self.left {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            *left = left.checked_sub(length).ok_or(Cut)?;
        }
        Ok(frame)
    }

    /// The end of the body, unless it is less than the response says that it has.
    fn end<T>(&self) -> Option<Result<T, Cut>> {
        self.left.filter(|left| *left > 0).map(|_| Err(Cut))
    }
}

/// The response ended before its end, and its client must not take it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut off")]
pub struct Cut;

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        if let Some(frame) = this.begun.frames.pop_front() {
            return Poll::Ready(Some(this.pass(frame)));
        }
        let frame = match this.begun {
            Begun { failed: true, .. } => return Poll::Ready(Some(Err(Cut))),
            Begun { is_whole: true, .. } => return Poll::Ready(this.end()),
            Begun { .. } => ready!(Pin::new(&mut this.frames).poll_frame(context)),
        };
        match frame {
            Some(Ok(frame)) => {
                this.slot.note_move();
                Poll::Ready(Some(this.pass(frame)))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(Cut))),
            // A body whose guest is gone ends like one that is whole.
            None if this.slot.is_cut() => Poll::Ready(Some(Err(Cut))),
            None => {
                this.slot.set_taken();
                this.begun.is_whole = true;
                // The guest may have something left to do.
                this.run = None;
                Poll::Ready(this.end())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.begun.frames.is_empty() && !self.begun.is_whole {
            true => self.frames.size_hint(),
            false => SizeHint::default(),
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        let Some(run) = self.run.take() else { return self.slot.leave() };
        match self.leaving {
            Leaving::Ends => {
                self.slot.leave();
                run.abort();
            }
            Leaving::Stays => {
                // A guest that cannot write its body may fail of it, and its state with it.
                let frames = std::mem::take(&mut self.frames);
                let rest = Streamed {
                    begun: std::mem::take(&mut self.begun),
                    frames,
                    left: None,
                    slot: self.slot.clone(),
                    run: None,
                    leaving: Leaving::Ends,
                };
                tokio::spawn(drain(rest));
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.0 {
            Inner::None => Poll::Ready(None),
            Inner::Whole(data) if data.is_empty() => Poll::Ready(None),
            Inner::Whole(data) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(data))))),
            Inner::Streamed(streamed) => Pin::new(&mut **streamed).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::None => true,
            Inner::Whole(data) => data.is_empty(),
            Inner::Streamed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::None => SizeHint::default(),
            Inner::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Inner::Streamed(streamed) => streamed.size_hint(),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Inner::None => "None",
            Inner::Whole(_) => "Whole",
            Inner::Streamed(_) => "Streamed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::StreamBody;
    use std::future::pending;

    fn endless() -> WasiBody {
        let pieces = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Frame::data(Bytes::from_static(b"more"))), ()))
        });
        StreamBody::new(Box::pin(pieces)).boxed_unsync()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_an_end_that_nobody_is_sent_ends_and_its_guest_with_it() {
        let slot = Arc::<Slot>::default();
        slot.tell(Ok(http::Response::new(endless())));
        let (held, is_held) = tokio::sync::oneshot::channel::<()>();
        let run = Box::pin(async move {
            let _held = held;
            pending::<Result<(), CallError>>().await
        });
        let response = respond(slot.clone(), run, false, Leaving::Ends).await;
        assert!(response.is_ok());
        assert!(is_held.await.is_err(), "the guest is dropped");
        slot.over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_one_that_lives_on_is_not_taken_for_ever() {
        let mut body = endless();
        assert!(!discard(&mut body).await);
    }
}
