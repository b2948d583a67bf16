//! What deployments write: a ring of lines for each, on disk.
//!
//! A line is put into its deployment's room in memory ([`DeploymentLog::take`]); one thread writes what came together
//! in the rooms to the rings, some fifty times a second ([`writer`]). Who reads a log reads the ring, and who follows it
//! goes on reading when the writer has been through another round ([`reading`]): the number that each line has in its log
//! says whether any is missing. So nothing is lost or doubled between what was and what comes.
//!
//! What the writer has handed to the kernel survives the end of the process; what it has not, up to a quarter of a second
//! of lines when it is busy, does not. Nothing is forced to the disk: when the machine loses its power, the last half
//! minute may be gone.

mod block;
mod filter;
mod merged;
mod queue;
mod reader;
mod reading;
mod record;
mod ring;
mod room;
mod writer;

pub use filter::{BadFilter, Parameters, Query};
pub use reading::Lines;
pub use record::Line;

use bytesize::ByteSize;
use micro_engine::log::{Log, Stream};
use micro_engine::manifest::check_name;
use micro_mesh::call::RequestId;
use queue::Queue;
use ring::Ring;
use room::{Batch, Drops, Room, Taken};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// What logs may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of one deployment, on disk.
    pub deployment: ByteSize,
    /// Of all of them together, on disk. The largest ring gives way first.
    pub host: ByteSize,
    /// How long the log of what is deployed no more is kept.
    pub removed: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { deployment: ByteSize::mib(16), host: ByteSize::gib(1), removed: Duration::from_secs(24 * 60 * 60) }
    }
}

/// Text that one deployment may write, in bytes per second, and at once after a silence.
const DEFAULT_RATE: ByteSize = ByteSize::mib(1);

/// The logs of one host.
#[derive(Debug)]
pub struct Logs {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    folder: Arc<Path>,
    bounds: Bounds,
    queue: Arc<Queue>,
    logs: Mutex<HashMap<Arc<str>, Arc<DeploymentLog>>>,
    /// How many logs were ever put there: who follows all of them looks for new ones when it has changed.
    made: AtomicU64,
    /// Whether it is known which deployments there are: what nobody holds then belongs to none.
    is_settled: AtomicBool,
}

impl Logs {
    /// The logs in a folder, and the thread that writes them. Nothing is read or made yet.
    pub fn open(folder: &Path, bounds: Bounds) -> std::io::Result<Logs> {
        let shared = Arc::new(Shared::new(folder, bounds));
        let writer = {
            let shared = shared.clone();
            std::thread::Builder::new().name("logs".into()).spawn(move || writer::run(&shared))?
        };
        Ok(Logs { shared, writer: Mutex::new(Some(writer)) })
    }

    /// The log of a deployment. One of that name that is removed had the same.
    pub fn of(&self, deployment: &str) -> Arc<DeploymentLog> {
        self.shared.of(deployment)
    }

    /// The log of what is or was deployed under this name, if there is one.
    pub async fn find(&self, name: &str) -> Option<Arc<DeploymentLog>> {
        if let Some(log) = self.shared.logs().get(name) {
            return Some(log.clone());
        }
        // Only a name is a folder's name.
        check_name(name).ok()?;
        let folder = self.shared.folder.join(name);
        tokio::fs::metadata(folder).await.ok().filter(std::fs::Metadata::is_dir).map(|_| self.of(name))
    }

    /// From now on, a log that nobody holds belongs to no deployment, and goes when its time has come.
    pub fn settle(&self) {
        self.shared.is_settled.store(true, Ordering::Relaxed);
    }

    /// Writes what is left, and ends the writer.
    pub async fn close(&self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that panicked has said so itself.
            let _ = tokio::task::spawn_blocking(|| writer.join().is_ok()).await;
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Shared {
    fn new(folder: &Path, bounds: Bounds) -> Shared {
        Shared {
            folder: folder.into(),
            bounds,
            queue: Arc::default(),
            logs: Mutex::default(),
            made: AtomicU64::new(0),
            is_settled: AtomicBool::new(false),
        }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<DeploymentLog>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, deployment: &str) -> Arc<DeploymentLog> {
        let mut logs = self.logs();
        if let Some(log) = logs.get(deployment) {
            return log.clone();
        }
        let log = DeploymentLog::new(deployment.into(), self.folder.clone(), self.queue.clone());
        logs.insert(log.deployment.clone(), log.clone());
        self.made.fetch_add(1, Ordering::Relaxed);
        log
    }

    /// All logs, those of removed deployments too. It reads a folder.
    fn all(&self) -> std::io::Result<Vec<Arc<DeploymentLog>>> {
        match std::fs::read_dir(&self.folder) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry?.file_name();
                    if let Some(name) = name.to_str().filter(|name| check_name(name).is_ok()) {
                        self.of(name);
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(self.logs().values().cloned().collect())
    }
}

/// The log of one deployment.
pub struct DeploymentLog {
    deployment: Arc<str>,
    /// Below it is the folder of the ring.
    logs: Arc<Path>,
    queue: Arc<Queue>,
    revision: AtomicU64,
    rate: AtomicU64,
    dropped: AtomicU64,
    /// The number that the next line on disk gets, once the ring is open.
    end: AtomicU64,
    room: Mutex<Room>,
    /// Held while files are read or written: never on the way of a call.
    ring: Mutex<Ring>,
    me: Weak<DeploymentLog>,
}

impl DeploymentLog {
    fn new(deployment: Arc<str>, logs: Arc<Path>, queue: Arc<Queue>) -> Arc<DeploymentLog> {
        Arc::new_cyclic(|me| DeploymentLog {
            deployment,
            logs,
            queue,
            revision: AtomicU64::new(0),
            rate: AtomicU64::new(DEFAULT_RATE.as_u64()),
            dropped: AtomicU64::new(0),
            end: AtomicU64::new(0),
            room: Mutex::default(),
            ring: Mutex::default(),
            me: me.clone(),
        })
    }

    pub(super) fn deployment(&self) -> &Arc<str> {
        &self.deployment
    }

    /// Takes a line of the host that belongs to no request.
    pub(super) fn host_line(&self, line: &str) {
        self.take(Line::of_host(line));
    }

    pub(super) fn set_revision(&self, number: u64) {
        self.revision.store(number, Ordering::Relaxed);
    }

    /// Binds the text that is taken to so many bytes per second. What is more is dropped and counted.
    pub fn set_rate(&self, rate: ByteSize) {
        self.rate.store(rate.as_u64(), Ordering::Relaxed);
    }

    /// Lines that were dropped since the host started: they came too fast, or the disk did not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Takes a line. It is written to disk soon, by another thread.
    pub fn take(&self, line: Line<'_>) {
        self.take_of(self.revision.load(Ordering::Relaxed), self.rate.load(Ordering::Relaxed), line);
    }

    /// The same for what a revision wrote that may write so many bytes per second.
    fn take_of(&self, revision: u64, rate: u64, line: Line<'_>) {
        let line = line.cut();
        let taken = self.room().take(&line, revision, rate, &self.queue);
        let Taken { is_dropped, is_news, is_urgent } = taken;
        if is_dropped {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if is_news && let Some(me) = self.me.upgrade() {
            self.queue.push(me);
        }
        if is_urgent {
            self.queue.hurry();
        }
    }

    /// What came since this was asked last.
    fn empty(&self) -> (Batch, Drops) {
        self.room().empty(&self.queue)
    }

    fn count_unwritten(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ring, to look at or change. The room that it takes is noted when the guard is dropped.
    fn ring(&self) -> RingGuard<'_> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        RingGuard { before: ring.space(), ring, log: self }
    }

    fn folder(&self) -> PathBuf {
        self.logs.join(&*self.deployment)
    }

    /// Tells this log from all others.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Log for DeploymentLog {
    fn line(&self, request: RequestId, stream: Stream, line: &str) {
        self.take(Line { request, trace: None, stream, level: stream.level(), text: line });
    }
}

/// The log of a deployment as one of its revisions has it: beside the current one there may be one that is tried.
pub(super) struct RevisionLog {
    log: Arc<DeploymentLog>,
    revision: u64,
    rate: u64,
}

impl RevisionLog {
    pub(super) fn new(log: Arc<DeploymentLog>, revision: u64, rate: ByteSize) -> RevisionLog {
        RevisionLog { log, revision, rate: rate.as_u64() }
    }

    pub(super) fn deployment(&self) -> &Arc<str> {
        self.log.deployment()
    }
}

impl Log for RevisionLog {
    fn line(&self, request: RequestId, stream: Stream, line: &str) {
        let line = Line { request, trace: None, stream, level: stream.level(), text: line };
        self.log.take_of(self.revision, self.rate, line);
    }
}

impl std::fmt::Debug for DeploymentLog {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("DeploymentLog").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}

/// A ring that is locked.
struct RingGuard<'l> {
    ring: MutexGuard<'l, Ring>,
    before: u64,
    log: &'l DeploymentLog,
}

impl std::ops::Deref for RingGuard<'_> {
    type Target = Ring;

    fn deref(&self) -> &Ring {
        &self.ring
    }
}

impl std::ops::DerefMut for RingGuard<'_> {
    fn deref_mut(&mut self) -> &mut Ring {
        &mut self.ring
    }
}

impl Drop for RingGuard<'_> {
    fn drop(&mut self) {
        self.log.queue.note_space(self.before, self.ring.space());
        self.log.end.store(self.ring.next(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
