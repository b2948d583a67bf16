//! One request on its way to an endpoint, and the answer: the form every door turns its input into.

use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::broker::Delivered;
use crate::exchange::Exchange;
use crate::trace::Trace;
use bytes::Bytes;
use http::HeaderMap;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;

/// A request for one endpoint of one service.
///
/// Building one allocates nothing of its own: names are shared, an empty header map and the id live inline.
#[derive(Debug)]
pub struct Call {
    /// The service's name as the registry knows it.
    pub service: Arc<str>,
    /// The endpoint, as in `Say.Hello`.
    pub endpoint: Arc<str>,
    /// What travels beside the payload; names in any letter case, as in HTTP.
    pub header: HeaderMap,
    /// The query string of a call that came by HTTP: fields that the payload leaves out.
    pub query: Option<Box<str>>,
    /// The request message.
    pub payload: Payload,
    /// When the caller stops waiting. `None` leaves it to the callee's own time limit. It is tokio's instant, so
    /// that a test with a paused clock reaches deadlines without waiting.
    pub deadline: Option<Instant>,
    /// The service that calls, when it is not someone outside.
    pub caller: Option<Arc<str>>,
    /// The version of the service that must answer; any, if it does not say.
    pub version: Option<Arc<str>>,
    /// How many services stand between the first caller and this call.
    pub depth: u8,
    /// What ties the log lines of this call together; a call made while serving another one keeps its id, and one that
    /// is part of a trace has the trace's.
    pub id: RequestId,
    /// Where it stands in a trace, if somebody keeps one.
    pub trace: Option<Trace>,
    /// The message that it is about, where it is how that message comes to its subscriber.
    pub delivery: Option<Arc<Delivered>>,
}

impl Call {
    /// A call with a new id, no header, no deadline and no known caller.
    pub fn new(service: impl Into<Arc<str>>, endpoint: impl Into<Arc<str>>, payload: Payload) -> Self {
        Self {
            service: service.into(),
            endpoint: endpoint.into(),
            header: HeaderMap::new(),
            query: None,
            payload,
            deadline: None,
            caller: None,
            version: None,
            depth: 0,
            id: RequestId::next(),
            trace: None,
            delivery: None,
        }
    }

    /// The same call with a deadline so far from now. A deadline that is already nearer stays: a caller can only
    /// give less time than it has itself.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        let Some(deadline) = Instant::now().checked_add(time) else {
            return self;
        };
        self.deadline = Some(self.deadline.map_or(deadline, |ours| ours.min(deadline)));
        self
    }

    /// How long until the deadline, zero when it has passed, `None` when there is none.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// The answer of an endpoint that succeeded.
#[derive(Debug)]
pub struct Reply {
    /// What travels beside the payload.
    pub header: HeaderMap,
    /// The HTTP status that the callee chose, where it answers as HTTP does; the code of the error that it is, where it
    /// is a value of this process.
    pub status: Option<u16>,
    /// The reply message.
    pub payload: Payload,
}

impl Reply {
    /// A reply without a header.
    pub fn new(payload: Payload) -> Self {
        Self { header: HeaderMap::new(), status: None, payload }
    }
}

/// The media type of JSON messages.
pub const JSON: &str = "application/json";

/// A message, either as bytes or as something only the two ends of an in-process call understand.
#[derive(Debug)]
pub enum Payload {
    /// An encoded message.
    Bytes {
        /// Its media type, as in `application/json`.
        content_type: Cow<'static, str>,
        /// The message itself.
        body: Bytes,
    },
    /// A value handed over inside this process, opaque here; a transport that leaves the process refuses it.
    Value(Box<dyn Any + Send + Sync>),
    /// Many messages, one after the other: the reply of an endpoint that streams.
    Stream(Box<Exchange>),
}

impl Payload {
    /// A JSON text. It is not checked here: whoever reads the message does.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::Bytes { content_type: Cow::Borrowed(JSON), body: body.into() }
    }

    /// The media type of an encoded message, `None` for an in-process value.
    pub fn content_type(&self) -> Option<&str> {
        match self {
            Self::Bytes { content_type, .. } => Some(content_type),
            Self::Value(_) | Self::Stream(_) => None,
        }
    }

    /// The bytes of an encoded message, `None` for an in-process value.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes { body, .. } => Some(body),
            Self::Value(_) | Self::Stream(_) => None,
        }
    }
}

/// Names one request; 32 hexadecimal digits when written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u128);

impl RequestId {
    /// An id this process has not given before, and that another process gives by accident only: a counter that begins
    /// anywhere, scrambled in two ways. It is no secret and must not be used as one. As the id of a trace it is as random
    /// as samplers need it, in its last bytes too.
    pub fn next() -> Self {
        /// Numbers that a thread takes at once, so that threads do not wait for each other's.
        const TOGETHER: u64 = 1_024;
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        static SEEDS: LazyLock<[u64; 2]> = LazyLock::new(|| [random_seed(), random_seed()]);
        thread_local! {
            static TAKEN: Cell<Range<u64>> = const { Cell::new(0..0) };
        }
        let [first, last] = *SEEDS;
        let count = TAKEN.with(|taken| {
            let mut left = taken.take();
            if left.is_empty() {
                let begin = GIVEN.fetch_add(TOGETHER, Ordering::Relaxed);
                left = begin..begin.wrapping_add(TOGETHER);
            }
            taken.set(left.start.wrapping_add(1)..left.end);
            left.start
        });
        let half = |seed: u64| u128::from(scramble(seed.wrapping_add(count)));
        Self(half(first) << 64 | half(last))
    }

    /// The id as it is written, without an allocation.
    pub fn to_hex(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bytes = self.0.to_be_bytes();
        std::array::from_fn(|at| {
            let byte = bytes[at / 2];
            DIGITS[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })]
        })
    }

    /// The id as a number.
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

impl From<u128> for RequestId {
    fn from(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no request id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a request id: 32 hexadecimal digits are needed")]
pub struct NotARequestId;

impl FromStr for RequestId {
    type Err = NotARequestId;

    fn from_str(text: &str) -> Result<Self, NotARequestId> {
        // The digits are checked first because the number parser also takes a sign.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotARequestId);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NotARequestId)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number below `bound`, evenly spread and cheap; good for spreading load, not for secrets.
/// `bound` must not be 0.
pub fn random_below(bound: usize) -> usize {
    // The high half of the product is a fair pick without the cost of a division.
    let picked = (u128::from(random()) * bound as u128) >> 64;
    usize::try_from(picked).unwrap_or(0)
}

/// A number that looks like no other, and no secret either.
pub(crate) fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(random_seed());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(1);
        state.set(next);
        scramble(next)
    })
}

/// The standard library's hash keys are random per process, which makes them a seed without another crate.
fn random_seed() -> u64 {
    RandomState::new().hash_one(std::thread::current().id())
}

/// One step of the SplitMix64 generator: every input has its own output, and neighbours look unrelated.
fn scramble(count: u64) -> u64 {
    let mut mixed = count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
