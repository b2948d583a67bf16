//! A program's standard output: it waits while nobody takes what it wrote.

use bytes::{Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that wait to be taken; after that the program waits.
const ROOM: usize = 256 * 1024;

/// What a program may write at once.
const WRITE_ROOM: usize = 64 * 1024;

/// Both ends of a standard output.
pub fn pipe() -> (Output, OutputReader) {
    let written = Arc::new(Mutex::new(Written::default()));
    (Output(written.clone()), OutputReader(written))
}

/// The program's end.
#[derive(Clone)]
pub struct Output(Arc<Mutex<Written>>);

/// The end of who takes what was written. When it is dropped, the program can write no more.
pub struct OutputReader(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    bytes: BytesMut,
    is_closed: bool,
    reader: Option<Waker>,
    /// Those that wait for room.
    writers: Vec<Waker>,
}

impl OutputReader {
    /// Waits until there is something to take.
    pub async fn readable(&self) {
        std::future::poll_fn(|context| {
            let mut written = lock(&self.0);
            if !written.bytes.is_empty() {
                return Poll::Ready(());
            }
            written.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// All that was written and not taken, which may be nothing.
    pub fn take(&self) -> Bytes {
        let mut written = lock(&self.0);
        written.writers.drain(..).for_each(Waker::wake);
        written.bytes.split().freeze()
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        let mut written = lock(&self.0);
        written.is_closed = true;
        written.writers.drain(..).for_each(Waker::wake);
    }
}

impl Written {
    fn poll_room(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.is_closed || self.bytes.len() < ROOM {
            return Poll::Ready(());
        }
        if !self.writers.iter().any(|waiting| waiting.will_wake(context.waker())) {
            self.writers.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn lock(written: &Mutex<Written>) -> MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| lock(&self.0).poll_room(context)).await;
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut written = lock(&self.0);
        if written.is_closed {
            return Err(StreamError::Closed);
        }
        // Several streams may each have been told that there is room.
        if written.bytes.len() >= ROOM + WRITE_ROOM {
            return Err(StreamError::Trap(wasmtime::format_err!("standard output was written to without room")));
        }
        written.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let written = lock(&self.0);
        match written.is_closed {
            true => Err(StreamError::Closed),
            false if written.bytes.len() < ROOM => Ok(WRITE_ROOM),
            false => Ok(0),
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut written = lock(&self.0);
        std::task::ready!(written.poll_room(context));
        if written.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let bytes = bytes.get(..WRITE_ROOM).unwrap_or(bytes);
        written.put(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
