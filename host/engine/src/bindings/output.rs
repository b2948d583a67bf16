//! A guest's stdout or stderr, written to its log.

use crate::log::{LineWriter, Log, Stream};
use bytes::Bytes;
use micro_mesh::call::RequestId;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// How much a guest may write at once; the log takes it without waiting.
const WRITE_ROOM: usize = 64 * 1024;

/// The request that an instance works for at the moment, as its log lines name it.
pub(crate) struct CurrentRequest(Mutex<RequestId>);

impl CurrentRequest {
    pub(crate) fn new(id: RequestId) -> CurrentRequest {
        CurrentRequest(Mutex::new(id))
    }

    pub(crate) fn set(&self, id: RequestId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    pub(crate) fn get(&self) -> RequestId {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes streams that write lines to a log.
pub(super) struct Output {
    log: Arc<dyn Log>,
    request: Arc<CurrentRequest>,
    stream: Stream,
}

impl Output {
    pub(super) fn new(log: Arc<dyn Log>, request: Arc<CurrentRequest>, stream: Stream) -> Output {
        Output { log, request, stream }
    }

    fn writer(&self) -> OutputWriter {
        let request = self.request.clone();
        OutputWriter { lines: LineWriter::new(self.log.clone(), request.get(), self.stream), request }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.writer())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.writer())
    }
}

/// One such stream. What is left without a line break is a line when the stream is dropped.
struct OutputWriter {
    lines: LineWriter,
    request: Arc<CurrentRequest>,
}

impl OutputWriter {
    fn take(&mut self, bytes: &[u8]) {
        self.lines.set_request(self.request.get());
        self.lines.write(bytes);
    }
}

#[async_trait::async_trait]
impl Pollable for OutputWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for OutputWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_ROOM)
    }
}

impl AsyncWrite for OutputWriter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
