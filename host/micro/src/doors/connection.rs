//! One connection: how HTTP is spoken on it, and what its parts know of each other.

use super::limits::{DoorLimits, DoorName, Doors};
use super::request::Requests;
use super::socket::Socket;
use super::streams::StreamTasks;
use super::watch::{Verdict, Watch};
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::watch;
use tower_service::Service;

/// The head of a request, in bytes: 64 KiB, which is what the settings of a deploy need in their percent-encoded form.
/// Paths of calls have a limit of their own, as has the number of headers.
/// HTTP/1 reads and writes in pieces up to this size, too.
const MAX_HEAD: u32 = 64 * 1024;

/// Streams that one connection of HTTP/2 may have open.
const MAX_STREAMS: u32 = 200;

/// Streams that a caller opened and reset before they were taken up; beyond them the connection ends. That is what
/// stops a "rapid reset" (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;

/// Streams that the host itself reset because of the caller's mistakes; beyond them the connection ends
/// (RUSTSEC-2024-0003).
const MAX_FAULTY_STREAMS: usize = 100;

/// What the parts of a connection know of each other.
#[derive(Debug)]
pub(super) struct Connection {
    doors: Arc<Doors>,
    door: DoorName,
    /// Bytes read. One task reads, so they are counted without a lock on the bus.
    read: AtomicU64,
    /// As many of them as had been read when the last request ended: what comes after them is the next one's.
    read_before: AtomicU64,
    /// Requests that began; counted by the connection's task alone.
    begun: AtomicU64,
    /// Requests whose replies are not out.
    running: AtomicUsize,
    is_http2: AtomicBool,
    /// Whether what was written waits for the other side.
    is_stuck: AtomicBool,
}

impl Connection {
    pub(super) fn new(doors: Arc<Doors>, door: DoorName) -> Connection {
        Connection {
            doors,
            door,
            read: AtomicU64::new(0),
            read_before: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            is_http2: AtomicBool::new(false),
            is_stuck: AtomicBool::new(false),
        }
    }

    pub(super) fn limits(&self) -> &DoorLimits {
        &self.doors.limits
    }

    /// Counts bytes that were read; true when they were the first.
    pub(super) fn count_read(&self, bytes: usize) -> bool {
        let before = self.read.load(Ordering::Relaxed);
        self.read.store(before.wrapping_add(bytes as u64), Ordering::Relaxed);
        before == 0
    }

    /// Whether something was read since the last request ended.
    pub(super) fn is_next_on_its_way(&self) -> bool {
        self.read.load(Ordering::Relaxed) != self.read_before.load(Ordering::Relaxed)
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub(super) fn set_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    pub(super) fn set_stuck(&self, is_stuck: bool) {
        self.is_stuck.store(is_stuck, Ordering::Relaxed);
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    pub(super) fn count_slow(&self) {
        self.doors.count_slow();
    }

    /// Counts a request for as long as what this gives is there; nothing when the host has too many.
    pub(super) fn begin_request(self: &Arc<Connection>) -> Option<Running> {
        self.begun.store(self.begun().wrapping_add(1), Ordering::Relaxed);
        if !self.doors.begin_request(self.door) {
            return None;
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        Some(Running(self.clone()))
    }
}

/// A request that is served. When this is dropped, its reply is out or given up.
#[derive(Debug)]
pub(super) struct Running(Arc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.read_before.store(self.0.read.load(Ordering::Relaxed), Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.doors.end_request();
    }
}

/// Speaks HTTP on a connection until its end. A WebSocket goes on by itself, and holds `each` as this does.
pub(super) async fn serve<S>(
    socket: Socket,
    connection: Arc<Connection>,
    door: S,
    stopped: watch::Receiver<bool>,
    each: watch::Receiver<()>,
) where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    let mut builder = Builder::new(StreamTasks::new(connection.clone()));
    builder.http1().max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .max_header_list_size(MAX_HEAD)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_FAULTY_STREAMS);
    let requests = Requests::new(door, connection.clone(), stopped.clone(), each);
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(socket), requests));
    // In there it is polled when it has woken by itself, and not with every packet of a busy connection.
    let mut watching = FuturesUnordered::from_iter([Watch::new(connection, stopped).look()]);
    loop {
        let verdict = tokio::select! {
            biased;
            // Why a connection failed is known to the caller.
            _ = serving.as_mut() => return,
            verdict = watching.next() => verdict,
        };
        match verdict {
            Some((Verdict::Leave, watch)) => {
                serving.as_mut().graceful_shutdown();
                watching.push(watch.look());
            }
            Some((Verdict::End, _)) | None => return,
        }
    }
}
