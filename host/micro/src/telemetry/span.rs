//! A call from its begin to its end.

use super::{Recorder, TRACESTATE};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use micro_mesh::trace::Trace;
use micro_mesh::{Call, Error, RequestId};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// More of a path is cut off.
const MAX_PATH: usize = 256;

/// What a call is recorded with whose caller did not wait for the answer, as proxies have it.
const CALLER_LEFT: u16 = 499;

/// A longer `tracestate` is handed on and not recorded: the standard asks for no more.
const MAX_STATE: usize = 512;

/// More of the text of an error is cut off.
const MAX_DETAIL: usize = 1024;

/// What is told of a span when it has ended.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) trace: RequestId,
    pub(super) span: NonZeroU64,
    pub(super) parent: Option<NonZeroU64>,
    pub(super) flags: u8,
    /// What the trace's other systems told in `tracestate`.
    pub(super) state: String,
    pub(super) kind: Kind,
    pub(super) service: Arc<str>,
    pub(super) endpoint: Arc<str>,
    pub(super) began: Moment,
    pub(super) took: Duration,
    /// The HTTP status that the caller got, at a door.
    pub(super) status: Option<u16>,
    /// The code of the error, and what it says.
    pub(super) error: Option<(u16, String)>,
    /// Whether there was an answer. Where there was none, the caller left.
    is_answered: bool,
}

/// Which side of a call a span shows.
#[derive(Debug)]
pub(super) enum Kind {
    /// The host's, of a request that came in by HTTP.
    Door { method: Method, path: String },
    /// The caller's, of a call between guests.
    Out { caller: Arc<str> },
    /// The callee's, of a call from inside.
    Within { caller: Arc<str> },
}

/// A request that has arrived and is not yet known to be a call. Nothing, where nothing is recorded.
pub(crate) struct Arrival(Option<Arrived>);

struct Arrived {
    recorder: Arc<Recorder>,
    began: Moment,
    method: Method,
    path: String,
}

/// A time to tell, and one to measure from.
type Moment = (SystemTime, Instant);

impl Arrival {
    pub(super) fn of(recorder: Option<&Arc<Recorder>>, request: &Request) -> Arrival {
        Arrival(recorder.map(|recorder| Arrived {
            recorder: recorder.clone(),
            began: now(),
            method: request.method().clone(),
            path: cut(request.uri().path(), MAX_PATH),
        }))
    }

    /// The call that the request turned out to be.
    pub(crate) fn call(self, call: &mut Call) -> Span {
        let Some(Arrived { recorder, began, method, path }) = self.0 else { return Span(None) };
        let mut span = recorder.begin(call, Kind::Door { method, path });
        span.note(|record| record.began = began);
        span
    }
}

/// A side of a call that is under way; nothing, if it is not recorded. It ends when it is dropped, whatever became of
/// the call.
pub(crate) struct Span(Option<Open>);

struct Open {
    recorder: Arc<Recorder>,
    record: Box<Record>,
}

impl Span {
    /// One that is not recorded.
    pub(super) fn none() -> Span {
        Span(None)
    }

    /// A span that the call is in from now on, below `parent`.
    pub(super) fn begin(recorder: Arc<Recorder>, call: &Call, parent: Option<Trace>, kind: Kind) -> Span {
        let Some(place) = call.trace else { return Span(None) };
        let state = call.header.get(TRACESTATE).and_then(|state| state.to_str().ok());
        let record = Record {
            trace: call.id,
            span: place.span,
            parent: parent.map(|parent| parent.span),
            flags: place.flags,
            state: state.filter(|state| state.len() <= MAX_STATE).unwrap_or_default().to_owned(),
            kind,
            service: call.service.clone(),
            endpoint: call.endpoint.clone(),
            began: now(),
            took: Duration::ZERO,
            status: None,
            error: None,
            is_answered: false,
        };
        Span(Some(Open { recorder, record: Box::new(record) }))
    }

    /// What the caller gets by HTTP.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.note(|record| (record.status, record.is_answered) = (Some(status.as_u16()), true));
    }

    /// The call gave an error.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.note(|record| record.error = Some((error.code, cut(&error.detail, MAX_DETAIL))));
    }

    /// The callee answered with a value that is an error of its own.
    fn failed_with(&mut self, code: u16) {
        self.note(|record| record.error = Some((code, String::new())));
    }

    fn note(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(open) = &mut self.0 {
            change(&mut open.record);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(Open { recorder, mut record }) = self.0.take() {
            record.took = record.began.1.elapsed();
            if !record.is_answered {
                record.error = Some((CALLER_LEFT, "the caller left".to_owned()));
            }
            recorder.queue.put(record);
        }
    }
}

fn now() -> Moment {
    (SystemTime::now(), Instant::now())
}

/// The text, without what is too much of it.
fn cut(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}

/// Both sides of a call that stays in this host; nothing, if it is not recorded.
pub(crate) struct Hop {
    /// Ends before the other one, which encloses it.
    server: Span,
    client: Span,
}

impl Hop {
    pub(super) fn none() -> Hop {
        Hop::of(Span::none(), Span::none())
    }

    pub(super) fn of(client: Span, server: Span) -> Hop {
        Hop { client, server }
    }

    /// The call was answered, with a value that is an error perhaps.
    pub(crate) fn end(mut self, outcome: Result<Option<u16>, &Error>) {
        for span in [&mut self.server, &mut self.client] {
            span.note(|record| record.is_answered = true);
            match outcome {
                Ok(Some(code)) => span.failed_with(code),
                Ok(None) => {}
                Err(error) => span.failed(error),
            }
        }
    }
}
