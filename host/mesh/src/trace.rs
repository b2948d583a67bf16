//! Where a call stands in a trace, by [W3C Trace Context](https://www.w3.org/TR/trace-context/).
//!
//! The trace's id is the call's [`RequestId`]: what ties the log lines of a request together ties its spans together too,
//! here and in everything before and after this host.

use std::num::NonZeroU64;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::call::{Call, RequestId, random};

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;

/// The header that carries it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The version of the header that is written, and the length of all of its fields.
const VERSION: &[u8; 2] = b"00";
const LENGTH: usize = 55;

/// What comes after this position in a header of a later version may be anything.
const FIELDS: [(usize, usize); 4] = [(0, 2), (3, 35), (36, 52), (53, 55)];

/// The flag of a trace whose spans are recorded.
const SAMPLED: u8 = 1;

/// The flag of a trace whose id is random in its last seven bytes, as ours are.
const RANDOM: u8 = 2;

/// A place in a trace: the span that a call is made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The id of the span.
    pub span: NonZeroU64,
    /// What the caller knows of the trace, and hands on.
    pub flags: u8,
}

impl Trace {
    /// The first place in a trace that begins here and is recorded.
    pub fn begin() -> Trace {
        Trace { span: new_span(), flags: SAMPLED | RANDOM }
    }

    /// Reads the header of a request; nothing if it has none that can be understood, as the standard wants it.
    pub fn read(header: &HeaderMap) -> Option<(RequestId, Trace)> {
        if header.is_empty() {
            return None;
        }
        let mut given = header.get_all(TRACEPARENT).iter();
        let (value, None) = (given.next()?.as_bytes(), given.next()) else { return None };
        let [version, trace, span, flags] = FIELDS.map(|(from, to)| number(value.get(from..to)?));
        let separators = [2, 35, 52].map(|at| value.get(at));
        // A later version may have more fields; 255 is none.
        let is_whole = match version? {
            0 => value.len() == LENGTH,
            255 => false,
            _ => matches!(value.get(LENGTH), None | Some(b'-')),
        };
        if !is_whole || separators != [Some(&b'-'); 3] {
            return None;
        }
        let trace = trace.filter(|trace| *trace != 0)?;
        let span = NonZeroU64::new(u64::try_from(span?).ok()?)?;
        Some((RequestId::from(trace), Trace { span, flags: u8::try_from(flags?).ok()? }))
    }

    /// The header for whoever is called from here.
    pub fn to_header(self, id: RequestId) -> HeaderValue {
        let mut text = [b'-'; LENGTH];
        let span = format!("{:016x}", self.span);
        let flags = format!("{:02x}", self.flags);
        let parts: [&[u8]; 4] = [VERSION, &id.to_hex(), span.as_bytes(), flags.as_bytes()];
        for ((from, to), part) in FIELDS.into_iter().zip(parts) {
            if let Some(place) = text.get_mut(from..to) {
                place.copy_from_slice(part);
            }
        }
        // Digits and dashes make a header.
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Whether the spans of the trace are recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace, recorded or not.
    #[must_use]
    pub fn sampled(self, is_sampled: bool) -> Trace {
        Trace { flags: if is_sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED }, ..self }
    }

    /// A new place in the same trace.
    #[must_use]
    pub fn next(self) -> Trace {
        Trace { span: new_span(), ..self }
    }
}

impl Call {
    /// Lets the call stand there in its trace, for its callee to read.
    pub fn set_trace(&mut self, trace: Trace) {
        self.trace = Some(trace);
        self.header.insert(TRACEPARENT, trace.to_header(self.id));
    }
}

fn new_span() -> NonZeroU64 {
    NonZeroU64::new(random()).unwrap_or(NonZeroU64::MIN)
}

/// Small hexadecimal digits, as the standard has them.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}
