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
}

impl Stream {
    /// `stdout`, `stderr` or `host`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Host => "host",
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
            if piece == b"\n" && self.rest.len() == 1 {
                self.log.line(self.request, self.stream, "");
                self.rest.clear();
            } else if piece.ends_with(b"\n") || self.rest.len() >= MAX_LINE {
                self.finish_line();
            }
        }
    }

    fn finish_line(&mut self) {
        for piece in self.rest.trim_ascii_end().chunks(MAX_LINE) {
            self.log.line(self.request, self.stream, &String::from_utf8_lossy(piece));
        }
        self.rest.clear();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.finish_line();
    }
}
