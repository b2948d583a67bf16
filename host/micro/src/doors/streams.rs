//! The streams of HTTP/2, each a task, and the limit for one that is not read.
//!
//! The window of a stream is its reader's: one who never opens it would keep a reply, and the place of its request, for
//! ever, while the connection itself is in best health.

use super::connection::Connection;
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Sleep, sleep};

/// What a stream did when it was last polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: it waits for its reader.
    Nothing,
    /// It waits for who makes the reply.
    Waits,
    /// A part of the reply was handed on.
    Gave,
}

thread_local! {
    /// Set while a stream is polled, by what it polls.
    static STEP: Cell<Step> = const { Cell::new(Step::Nothing) };
}

/// Says what the stream that is being polled does.
pub(super) fn note(step: Step) {
    STEP.set(step);
}

/// Runs the streams of a connection.
#[derive(Clone)]
pub(super) struct StreamTasks(Arc<Connection>);

impl StreamTasks {
    pub(super) fn new(connection: Arc<Connection>) -> StreamTasks {
        StreamTasks(connection)
    }
}

impl<F> Executor<F> for StreamTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Watched { stream, stall: None, connection: self.0.clone() });
    }
}

pin_project! {
    /// A stream that is reset, by dropping it, when its reader leaves it unread for too long.
    struct Watched<F> {
        #[pin]
        stream: F,
        stall: Option<Pin<Box<Sleep>>>,
        connection: Arc<Connection>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        STEP.set(Step::Nothing);
        if this.stream.poll(context).is_ready() {
            return Poll::Ready(());
        }
        match STEP.get() {
            Step::Waits => {
                *this.stall = None;
                return Poll::Pending;
            }
            Step::Gave => *this.stall = None,
            Step::Nothing => {}
        }
        let limit = this.connection.limits().reader;
        ready!(this.stall.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context));
        this.connection.count_slow();
        Poll::Ready(())
    }
}
