//! A program's standard input: read from its source when the program asks, so that the source feels how fast it is.

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// What a program reads.
#[derive(Clone)]
pub struct Input(Arc<Mutex<Source>>);

struct Source {
    chunks: BoxStream<'static, io::Result<Bytes>>,
    /// Of the chunk that came last.
    rest: Bytes,
    is_over: bool,
    /// Bytes that may still come.
    left: u64,
    is_too_large: bool,
}

impl Input {
    /// Chunks that come as they come.
    pub fn of(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Input {
        Input::new(chunks.boxed(), Bytes::new())
    }

    /// Bytes that are all there.
    pub fn whole(bytes: Bytes) -> Input {
        Input::new(stream::empty().boxed(), bytes)
    }

    fn new(chunks: BoxStream<'static, io::Result<Bytes>>, rest: Bytes) -> Input {
        Input(Arc::new(Mutex::new(Source { chunks, rest, is_over: false, left: u64::MAX, is_too_large: false })))
    }

    /// Lets so many bytes come. What is more is an error to the program.
    pub fn limit(&self, bytes: u64) {
        self.source().left = bytes;
    }

    /// Whether more came than was let.
    pub fn is_too_large(&self) -> bool {
        self.source().is_too_large
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Waits until there is something to read, or nothing will come any more.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.is_over {
            match ready!(self.chunks.poll_next_unpin(context)) {
                Some(Ok(chunk)) => match self.left.checked_sub(chunk.len() as u64) {
                    Some(left) => (self.rest, self.left) = (chunk, left),
                    None => {
                        (self.is_over, self.is_too_large) = (true, true);
                        return Poll::Ready(Err(io::Error::other("the input is larger than it may be")));
                    }
                },
                Some(Err(error)) => {
                    self.is_over = true;
                    return Poll::Ready(Err(error));
                }
                None => self.is_over = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, most: usize) -> Bytes {
        self.rest.split_to(most.min(self.rest.len()))
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Reader { input: self.clone(), failure: None })
    }
}

/// One stream that reads it.
struct Reader {
    input: Input,
    /// What a wait met, told at the next read.
    failure: Option<io::Error>,
}

#[async_trait::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        let filled = std::future::poll_fn(|context| self.input.source().poll_fill(context)).await;
        self.failure = filled.err();
    }
}

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Some(error) = self.failure.take() {
            return Err(StreamError::LastOperationFailed(error.into()));
        }
        let mut source = self.input.source();
        // One that never waits, and only asks again, gets what came as well.
        match source.poll_fill(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Err(StreamError::LastOperationFailed(error.into())),
            Poll::Ready(Ok(())) if source.rest.is_empty() => Err(StreamError::Closed),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(source.take(size)),
        }
    }
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut source = self.source();
        ready!(source.poll_fill(context))?;
        let bytes = source.take(into.remaining());
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}
