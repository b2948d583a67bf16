//! One line of a log: as it is handed in, as it lies in a block, and as the admin API shows it.

use micro_engine::log::{Level, Stream};
use micro_mesh::call::RequestId;
use serde::Serialize;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// A longer line is cut, in bytes. What a guest writes is shorter already; a backtrace of the host's may not be.
pub(super) const MAX_TEXT: usize = 64 * 1024;

/// What stands before a line's text: time in microseconds since 1970 (8), revision (4), stream, level and what follows
/// (1 each), request (16), length of the text (4).
pub(super) const RECORD_HEAD: usize = 35;

/// A trace id follows the head.
const HAS_TRACE: u8 = 1;
const TRACE: usize = size_of::<u128>();

/// A line as it is handed in.
#[derive(Debug, Clone, Copy)]
pub struct Line<'l> {
    /// The request it was written for; zero for none.
    pub request: RequestId,
    /// The W3C trace that the request belongs to.
    pub trace: Option<u128>,
    /// Who wrote it.
    pub stream: Stream,
    /// How grave it is, where the guest says so.
    pub level: Option<Level>,
    /// The line, without its line break.
    pub text: &'l str,
}

impl<'l> Line<'l> {
    /// A line of the host that belongs to no request.
    pub(super) fn of_host(text: &'l str) -> Line<'l> {
        Line { request: RequestId::from(0), trace: None, stream: Stream::Host, level: None, text }
    }

    /// The same with as much of its text as is kept.
    pub(super) fn cut(mut self) -> Line<'l> {
        if self.text.len() > MAX_TEXT {
            self.text = self.text.get(..self.text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
        }
        self
    }

    /// The bytes that it takes in a block.
    pub(super) fn size(&self) -> usize {
        RECORD_HEAD + self.trace.map_or(0, |_| TRACE) + self.text.len()
    }

    /// Puts it at the end of a block. The block's owner has made room.
    pub(super) fn write(&self, time: u64, revision: u64, block: &mut Vec<u8>) {
        let mut head = [0; RECORD_HEAD];
        let [stream, level, follows] = [stream_code(self.stream), self.level.map_or(0, level_code), self.follows()];
        let length = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        head[..8].copy_from_slice(&time.to_le_bytes());
        head[8..12].copy_from_slice(&u32::try_from(revision).unwrap_or(u32::MAX).to_le_bytes());
        head[12..15].copy_from_slice(&[stream, level, follows]);
        head[15..31].copy_from_slice(&self.request.as_u128().to_le_bytes());
        head[31..].copy_from_slice(&length.to_le_bytes());
        block.extend_from_slice(&head);
        if let Some(trace) = self.trace {
            block.extend_from_slice(&trace.to_le_bytes());
        }
        block.extend_from_slice(self.text.as_bytes());
    }

    fn follows(&self) -> u8 {
        if self.trace.is_some() { HAS_TRACE } else { 0 }
    }
}

/// A line as it lies in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'b> {
    /// Microseconds since 1970.
    pub(super) time: u64,
    pub(super) revision: u32,
    pub(super) stream: Stream,
    pub(super) level: Option<Level>,
    pub(super) request: RequestId,
    pub(super) trace: Option<u128>,
    text: &'b [u8],
}

impl<'b> Record<'b> {
    /// Takes the first record off `bytes`.
    pub(super) fn read(bytes: &mut &'b [u8]) -> Option<Record<'b>> {
        let (head, mut rest) = bytes.split_first_chunk::<RECORD_HEAD>()?;
        let [stream, level, follows] = *head[12..].first_chunk()?;
        let length = u32::from_le_bytes(*head[31..].first_chunk()?) as usize;
        let mut trace = None;
        if follows & HAS_TRACE != 0 {
            let (bytes, after) = rest.split_first_chunk()?;
            (trace, rest) = (Some(u128::from_le_bytes(*bytes)), after);
        }
        let (text, rest) = rest.split_at_checked(length)?;
        *bytes = rest;
        let level = Level::ALL.into_iter().find(|known| level_code(*known) == level);
        Some(Record {
            time: u64::from_le_bytes(*head.first_chunk()?),
            revision: u32::from_le_bytes(*head[8..].first_chunk()?),
            stream: stream_of(stream, level),
            level,
            request: u128::from_le_bytes(*head[15..].first_chunk()?).into(),
            trace,
            text,
        })
    }

    pub(super) fn text(&self) -> Cow<'b, str> {
        String::from_utf8_lossy(self.text)
    }
}

fn stream_code(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
        Stream::Host => 3,
        Stream::Log(_) => 4,
    }
}

/// What a later host wrote and this one does not know is said to be the host's.
fn stream_of(code: u8, level: Option<Level>) -> Stream {
    match (code, level) {
        (1, _) => Stream::Stdout,
        (2, _) => Stream::Stderr,
        (4, Some(level)) => Stream::Log(level),
        _ => Stream::Host,
    }
}

/// Zero is no level.
fn level_code(level: Level) -> u8 {
    level as u8 + 1
}

/// A line as the admin API shows it: one JSON object.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'r> {
    #[serde(serialize_with = "crate::runtime::status::rfc3339")]
    time: SystemTime,
    deployment: &'r str,
    revision: u32,
    request: RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<RequestId>,
    stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    message: Cow<'r, str>,
}

impl<'r> Shown<'r> {
    pub(super) fn new(deployment: &'r str, record: &Record<'r>) -> Shown<'r> {
        Shown {
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(record.time),
            deployment,
            revision: record.revision,
            request: record.request,
            // It is written as a request id is.
            trace: record.trace.map(RequestId::from),
            stream: record.stream.as_str(),
            level: record.level.map(Level::as_str),
            message: record.text(),
        }
    }

    /// What the host has to say to a reader, which is in no log.
    pub(super) fn remark(deployment: &'r str, revision: u64, message: String) -> Shown<'r> {
        Shown {
            time: SystemTime::now(),
            deployment,
            revision: u32::try_from(revision).unwrap_or(u32::MAX),
            request: RequestId::from(0),
            trace: None,
            stream: Stream::Host.as_str(),
            level: None,
            message: message.into(),
        }
    }

    /// Adds it to `out` with a line end.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let before = out.len();
        // A vector takes all that is written, and nothing here fails to be JSON.
        match serde_json::to_writer(&mut *out, self) {
            Ok(()) => out.push(b'\n'),
            Err(_) => out.truncate(before),
        }
    }
}

/// The time now, as records have it.
pub(super) fn now() -> u64 {
    micros(SystemTime::now())
}

/// A time as records have it: microseconds since 1970.
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let line = Line {
            request: RequestId::from(7),
            trace: Some(9),
            stream: Stream::Stderr,
            level: Some(Level::Warn),
            text: "größer",
        };
        let mut block = Vec::new();
        line.write(1_000_001, 3, &mut block);
        assert_eq!(block.len(), line.size());
        Line::of_host("").write(2, 4, &mut block);
        let mut rest = &block[..];
        let record = Record::read(&mut rest).unwrap();
        assert_eq!((record.time, record.revision, record.stream), (1_000_001, 3, Stream::Stderr));
        assert_eq!((record.request, record.trace, record.level), (line.request, Some(9), Some(Level::Warn)));
        assert_eq!(record.text(), "größer");
        let host = Record::read(&mut rest).unwrap();
        assert_eq!((host.stream, host.level, host.trace, &*host.text()), (Stream::Host, None, None, ""));
        assert_eq!((rest, Record::read(&mut rest)), (&[][..], None));
        // Cut anywhere, it is no record.
        for length in 0..line.size() {
            assert_eq!(Record::read(&mut &block[..length]), None);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        let text = "ü".repeat(MAX_TEXT);
        let line = Line::of_host(&text).cut();
        assert_eq!(line.text.len(), MAX_TEXT);
        let odd = format!("x{text}");
        assert_eq!(Line::of_host(&odd).cut().text.len(), MAX_TEXT - 1);
    }

    #[test]
    fn a_record_is_shown_as_one_json_object() {
        let mut block = Vec::new();
        let line = Line { level: Some(Level::Error), trace: Some(255), ..Line::of_host("a\n\"b\"") };
        line.write(1_500_000, 2, &mut block);
        let record = Record::read(&mut &block[..]).unwrap();
        let mut out = Vec::new();
        Shown::new("greeter", &record).write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"time\":\"1970-01-01T00:00:01.500Z\",\"deployment\":\"greeter\",\"revision\":2,\
             \"request\":\"00000000000000000000000000000000\",\"trace\":\"000000000000000000000000000000ff\",\
             \"stream\":\"host\",\"level\":\"error\",\"message\":\"a\\n\\\"b\\\"\"}\n"
        );
    }
}
