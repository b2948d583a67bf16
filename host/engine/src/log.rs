//! What a guest writes: its stdout and stderr become lines of its deployment's log.

use micro_mesh::call::RequestId;
use std::sync::Arc;

/// A line longer than this is cut into several.
pub const MAX_LINE: usize = 8 * 1024;

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

    /// Lines that are finished from now on belong to this request.
    pub(crate) fn set_request(&mut self, request: RequestId) {
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

    /// Keeps what it takes.
    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Log for Kept {
        fn line(&self, _: RequestId, _: Stream, line: &str) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_string());
        }
    }

    /// The lines of what is written in these steps.
    fn lines(steps: &[&str]) -> Vec<String> {
        let kept = Arc::new(Kept::default());
        let mut writer = LineWriter::new(kept.clone(), RequestId::next(), Stream::Stdout);
        steps.iter().for_each(|step| writer.write(step.as_bytes()));
        drop(writer);
        let lines = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
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
