//! What a guest writes: its stdout and stderr become lines of its deployment's log.

use micro_mesh::call::RequestId;
use std::sync::Arc;

/// A line longer than this is cut into several.
pub const MAX_LINE: usize = 8 * 1024;

/// How long a line of the host may be that a guest's text is part of, in bytes: a name of a host is there three times.
const MAX_HOST_LINE: usize = 1024;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The guest's standard output.
    Stdout,
    /// The guest's standard error.
    Stderr,
    /// The host, about the guest.
    Host,
    /// The guest, which says how much it matters.
    Log(Level),
}

impl Stream {
    /// One of each.
    pub const ALL: [Stream; 4] = [Stream::Stdout, Stream::Stderr, Stream::Host, Stream::Log(Level::Info)];

    /// How much the line matters, if it says so.
    pub fn level(self) -> Option<Level> {
        match self {
            Stream::Log(level) => Some(level),
            Stream::Stdout | Stream::Stderr | Stream::Host => None,
        }
    }

    /// `stdout`, `stderr`, `host` or `log`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Host => "host",
            Stream::Log(_) => "log",
        }
    }
}

/// How grave a line is, where its guest says so; the words of `wasi:logging`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What goes as it should.
    Info,
    /// What may become a mistake.
    Warn,
    /// What went wrong.
    Error,
    /// What nothing can go on after.
    Critical,
}

impl Level {
    /// All of them, the least grave first.
    pub const ALL: [Level; 6] = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];

    /// `trace`, `debug`, `info`, `warn`, `error` or `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Critical => "critical",
        }
    }
}

/// Takes the lines of one deployment.
pub trait Log: Send + Sync {
    /// Takes one line, without its line break. Must not block.
    fn line(&self, request: RequestId, stream: Stream, line: &str);
}

/// A text with what a guest chose in it, as one line that the host writes: without line breaks and other controls, which
/// could look like lines of somebody else, and cut off where it is too long.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_HOST_LINE));
    for char in text.chars() {
        if line.len() >= MAX_HOST_LINE {
            line.push('…');
            break;
        }
        match char.is_control() {
            true => line.extend(char.escape_default()),
            false => line.push(char),
        }
    }
    line
}

/// Cuts what a guest writes into lines.
pub(crate) struct LineWriter {
    log: Arc<dyn Log>,
    request: RequestId,
    stream: Stream,
    rest: Vec<u8>,
}

impl LineWriter {
    pub(crate) fn new(log: Arc<dyn Log>, request: RequestId, stream: Stream) -> LineWriter {
        LineWriter { log, request, stream, rest: Vec::new() }
    }

    /// What is written from now on belongs to this request. A line that another one began ends here.
    pub(crate) fn set_request(&mut self, request: RequestId) {
        if self.request != request && !self.rest.is_empty() {
            self.finish_line();
        }
        self.request = request;
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.rest.len() >= MAX_LINE {
                self.finish_line();
            }
        }
    }

    fn finish_line(&mut self) {
        let line = self.rest.strip_suffix(b"\n").unwrap_or(&self.rest);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Cut into pieces an empty line would be none.
        let pieces = line.chunks(MAX_LINE).chain(line.is_empty().then_some(line));
        pieces.for_each(|piece| self.log.line(self.request, self.stream, &String::from_utf8_lossy(piece)));
        self.rest.clear();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            self.finish_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// Keeps what it takes, and for whom.
    #[derive(Default)]
    struct Kept(Mutex<Vec<(RequestId, String)>>);

    impl Log for Kept {
        fn line(&self, request: RequestId, _: Stream, line: &str) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((request, line.to_string()));
        }
    }

    /// The lines of what is written in these steps.
    fn lines(steps: &[&str]) -> Vec<String> {
        let kept = Arc::new(Kept::default());
        let mut writer = LineWriter::new(kept.clone(), RequestId::next(), Stream::Stdout);
        steps.iter().for_each(|step| writer.write(step.as_bytes()));
        drop(writer);
        let lines = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|(_, line)| line.clone()).collect()
    }

    #[test]
    fn what_a_request_wrote_without_a_line_break_is_not_the_next_ones() {
        let kept = Arc::new(Kept::default());
        let [first, second] = [RequestId::next(), RequestId::next()];
        let mut writer = LineWriter::new(kept.clone(), first, Stream::Stdout);
        writer.write(b"secret of the first");
        writer.set_request(first);
        writer.write(b", all of it");
        writer.set_request(second);
        writer.write(b"second\n");
        let lines = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*lines, [(first, "secret of the first, all of it".to_string()), (second, "second".to_string())]);
    }

    #[test]
    fn what_a_guest_asks_for_is_one_short_line_of_the_host() {
        assert_eq!(one_line("an ordinary \"name\", grüße"), "an ordinary \"name\", grüße");
        assert_eq!(one_line("a\nb\r\u{1b}[2J\u{0}\u{85}"), "a\\nb\\r\\u{1b}[2J\\u{0}\\u{85}");
        let long = one_line(&"ß".repeat(10_000));
        assert!(long.len() < MAX_HOST_LINE + 10 && long.ends_with("ß…"), "{}", long.len());
    }

    #[test]
    fn empty_lines_are_lines_whatever_their_line_break() {
        assert_eq!(lines(&["a\n\nb\r\n\r\nc"]), ["a", "", "b", "", "c"]);
        assert_eq!(lines(&["a", "\r", "\n", "\n"]), ["a", ""]);
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let long = "x".repeat(MAX_LINE + 1);
        let cut = lines(&[&long, "\n"]);
        assert_eq!(cut.concat(), long);
        assert_eq!(cut[0].len(), MAX_LINE);
    }
}
