//! The way of lines to the one thread that writes them: which logs have some, how much memory they take together, and
//! how far the writer is.

use super::DeploymentLog;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Memory of all lines on this host that are not written yet, in bytes.
const MEMORY: usize = 32 * 1024 * 1024;

/// Stands for the rounds of a writer that is gone.
pub(super) const ENDED: u64 = u64::MAX;

/// Between logs and their writer.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    woken: Condvar,
    /// Memory of the lines that are not written yet.
    memory: AtomicUsize,
    /// The rounds that the writer has been through, or [`ENDED`].
    rounds: watch::Sender<u64>,
    /// What all rings take on disk, as far as they are known, in bytes.
    space: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each once: a log with lines that are not written yet.
    logs: Vec<Arc<DeploymentLog>>,
    /// Somebody waits for the writer, or a log's room is half full.
    is_urgent: bool,
    is_closed: bool,
    /// The rounds that the writer began.
    begun: u64,
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Work {
    /// Write what these logs have.
    Write(Vec<Arc<DeploymentLog>>),
    /// Nothing, but time has passed.
    Nothing,
    /// End.
    End,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            waiting: Mutex::default(),
            woken: Condvar::new(),
            memory: AtomicUsize::new(0),
            rounds: watch::Sender::new(0),
            space: AtomicU64::new(0),
        }
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a log has something for the writer.
    pub(super) fn push(&self, log: Arc<DeploymentLog>) {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return;
        }
        waiting.logs.push(log);
        if waiting.logs.len() == 1 {
            self.woken.notify_one();
        }
    }

    /// Lets the writer begin at once.
    pub(super) fn hurry(&self) {
        self.waiting().is_urgent = true;
        self.woken.notify_one();
    }

    /// Takes memory for lines; false if there is none left.
    pub(super) fn take_memory(&self, bytes: usize) -> bool {
        let before = self.memory.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > MEMORY {
            self.give_back_memory(bytes);
            return false;
        }
        true
    }

    pub(super) fn give_back_memory(&self, bytes: usize) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What all rings take on disk, in bytes.
    pub(super) fn space(&self) -> u64 {
        self.space.load(Ordering::Relaxed)
    }

    /// Notes how much more or less a ring takes.
    pub(super) fn note_space(&self, before: u64, after: u64) {
        self.space.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Waits for something to write, at most so long, and then for a moment, so that more comes together.
    pub(super) fn next(&self, longest: Duration, moment: Duration) -> Work {
        let waiting = self.waiting();
        let is_idle = |waiting: &mut Waiting| waiting.logs.is_empty() && !waiting.is_closed;
        let waited = self.woken.wait_timeout_while(waiting, longest, is_idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if waiting.logs.is_empty() {
            waiting.is_urgent = false;
            return if waiting.is_closed { Work::End } else { Work::Nothing };
        }
        let is_early = |waiting: &mut Waiting| !waiting.is_urgent && !waiting.is_closed;
        let waited = self.woken.wait_timeout_while(waiting, moment, is_early);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.is_urgent = false;
        waiting.begun += 1;
        Work::Write(std::mem::take(&mut waiting.logs))
    }

    /// The writer has written what [`Queue::next`] gave it.
    pub(super) fn finish_round(&self) {
        self.rounds.send_modify(|rounds| *rounds += 1);
    }

    /// The writer has written what it had to say itself: those who follow look again.
    pub(super) fn finish_telling(&self) {
        self.rounds.send_modify(|_| {});
    }

    /// Tells of every round of the writer.
    pub(super) fn rounds(&self) -> watch::Receiver<u64> {
        self.rounds.subscribe()
    }

    /// Waits until all lines that came before are written.
    pub(super) async fn flush(&self) {
        let mut rounds = self.rounds();
        let wanted = {
            let mut waiting = self.waiting();
            if waiting.is_closed {
                return;
            }
            if waiting.logs.is_empty() {
                waiting.begun
            } else {
                waiting.is_urgent = true;
                self.woken.notify_one();
                waiting.begun + 1
            }
        };
        // It is this queue that tells of rounds, so that somebody always does.
        let _ = rounds.wait_for(|done| *done >= wanted).await;
    }

    /// Lets the writer come to its end.
    pub(super) fn close(&self) {
        self.waiting().is_closed = true;
        self.woken.notify_all();
    }

    /// The writer is gone, however that came: nobody waits for it any more.
    pub(super) fn end(&self) {
        self.close();
        self.rounds.send_replace(ENDED);
    }
}
