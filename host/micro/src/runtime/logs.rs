//! The last lines that each deployment wrote.

use micro_engine::log::{Level, Log, Stream};
use micro_mesh::call::RequestId;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;
use tokio::sync::broadcast;

/// Lines kept per deployment, and the bytes that they may be together. The oldest go first.
const KEPT_LINES: usize = 1000;
const KEPT_BYTES: usize = 512 * 1024;

/// Room of an old line's text that a new line may take over, in bytes.
const REUSED_TEXT: usize = 256;

/// Lines that a slow follower may lag behind before it misses some.
const FOLLOWER_LAG: usize = 1024;

/// One line, as the admin API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct LogRecord {
    /// When the host took it.
    #[serde(serialize_with = "super::status::rfc3339")]
    pub time: SystemTime,
    /// Who wrote it.
    pub deployment: Arc<str>,
    /// The revision that was current.
    pub revision: u64,
    /// The request it was written for.
    pub request: RequestId,
    /// `stdout`, `stderr`, `host` or `log`.
    pub stream: &'static str,
    /// How much it matters, where the writer says so: `trace` to `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<&'static str>,
    /// The line.
    pub message: String,
}

/// The log of one deployment: a ring in memory, and everybody who follows it.
pub struct DeploymentLog {
    deployment: Arc<str>,
    revision: AtomicU64,
    ring: Mutex<Ring>,
    /// Made when somebody follows for the first time: its room for lines is two hundred kilobytes.
    followers: OnceLock<broadcast::Sender<LogRecord>>,
}

#[derive(Default)]
struct Ring {
    records: VecDeque<LogRecord>,
    bytes: usize,
}

impl DeploymentLog {
    pub(super) fn new(deployment: Arc<str>) -> DeploymentLog {
        DeploymentLog { deployment, revision: AtomicU64::new(0), ring: Mutex::default(), followers: OnceLock::new() }
    }

    pub(super) fn deployment(&self) -> &Arc<str> {
        &self.deployment
    }

    /// Takes a line of the host that belongs to no request.
    pub(super) fn host_line(&self, line: &str) {
        self.line(RequestId::from(0), Stream::Host, line);
    }

    pub(super) fn set_revision(&self, number: u64) {
        self.revision.store(number, Ordering::Relaxed);
    }

    /// The last `count` lines, oldest first.
    pub fn tail(&self, count: usize) -> Vec<LogRecord> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).last(count)
    }

    /// The last `count` lines, oldest first, and all that come after them.
    pub fn follow(&self, count: usize) -> (Vec<LogRecord>, broadcast::Receiver<LogRecord>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let followers = self.followers.get_or_init(|| broadcast::Sender::new(FOLLOWER_LAG));
        (ring.last(count), followers.subscribe())
    }
}

impl Log for DeploymentLog {
    fn line(&self, request: RequestId, stream: Stream, line: &str) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        // A full ring lends the text of its oldest line to the new one: a busy log allocates nothing.
        let mut message = ring.make_room(line.len());
        message.push_str(line);
        let record = LogRecord {
            time: SystemTime::now(),
            deployment: self.deployment.clone(),
            revision: self.revision.load(Ordering::Relaxed),
            request,
            stream: stream.as_str(),
            level: stream.level().map(Level::as_str),
            message,
        };
        if let Some(followers) = self.followers.get()
            && followers.receiver_count() > 0
        {
            // Nobody listening any more is no error.
            let _ = followers.send(record.clone());
        }
        ring.bytes += line.len();
        ring.records.push_back(record);
    }
}

impl Ring {
    fn last(&self, count: usize) -> Vec<LogRecord> {
        let skip = self.records.len().saturating_sub(count);
        self.records.iter().skip(skip).cloned().collect()
    }

    /// Drops the oldest lines until one of `length` bytes fits, and gives an empty text to write it in.
    fn make_room(&mut self, length: usize) -> String {
        let mut text = String::new();
        while self.records.len() >= KEPT_LINES || self.bytes + length > KEPT_BYTES {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.message.len();
            text = oldest.message;
        }
        // A long line's room would outlive it many times over.
        if text.capacity() > REUSED_TEXT {
            return String::new();
        }
        text.clear();
        text
    }
}

impl std::fmt::Debug for DeploymentLog {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("DeploymentLog").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}
