//! A guest's stdout or stderr, written to its log.

use crate::log::{LineWriter, Log, Stream};
use bytes::Bytes;
use micro_mesh::call::RequestId;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// How much a guest may write at once; the log takes it without waiting.
const WRITE_ROOM: usize = 64 * 1024;

/// Makes streams that write lines to a log.
pub(super) struct Output {
    log: Arc<dyn Log>,
    request: RequestId,
    stream: Stream,
}

impl Output {
    pub(super) fn new(log: Arc<dyn Log>, request: RequestId, stream: Stream) -> Output {
        Output { log, request, stream }
    }

    fn writer(&self) -> OutputWriter {
        OutputWriter(LineWriter::new(self.log.clone(), self.request, self.stream))
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
struct OutputWriter(LineWriter);

#[async_trait::async_trait]
impl Pollable for OutputWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for OutputWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
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
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
