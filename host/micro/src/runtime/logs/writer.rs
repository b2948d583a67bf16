//! The thread that writes lines to the rings, and keeps all of them within their bounds.

use super::block::Head;
use super::queue::{Queue, Work};
use super::record::{self, Line};
use super::ring::OpenFiles;
use super::room::Drops;
use super::{DeploymentLog, Shared};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// Lines that come within this time are written together.
const MOMENT: Duration = Duration::from_millis(20);
/// The same when writing takes long, so that it takes no more than a fifth of a processor. It is what `kill -9` may cost.
const LONGEST_MOMENT: Duration = Duration::from_millis(250);
/// The writer waits so many times as long as it has written.
const WAITS: u32 = 4;

/// Between two lines in a log that say how many were dropped.
const BETWEEN_TELLINGS: Duration = Duration::from_secs(1);

/// So long after the last failure, a disk takes lines again: a full one now and then has room for a small block.
const CALM: Duration = Duration::from_secs(5);

/// After the start, when what the rings take is counted, and how often that is done.
const FIRST_TIDY: Duration = Duration::from_secs(10);
const BETWEEN_TIDIES: Duration = Duration::from_secs(10 * 60);

/// Says that the writer is gone, also where it panicked.
struct Ending<'q>(&'q Queue);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Writes until the queue is closed and empty.
pub(super) fn run(shared: &Arc<Shared>) {
    let _ending = Ending(&shared.queue);
    let mut writer = Writer::new(shared.clone());
    let mut tidy_at = Instant::now() + FIRST_TIDY;
    let mut moment = MOMENT;
    loop {
        let work = shared.queue.next(writer.longest_wait(tidy_at), moment);
        let began = Instant::now();
        match work {
            Work::Write(logs) => {
                writer.write(logs);
                shared.queue.finish_round();
            }
            Work::Nothing => {}
            Work::End => {
                writer.tell_all();
                return;
            }
        }
        writer.tell_due();
        moment = (began.elapsed() * WAITS).clamp(MOMENT, LONGEST_MOMENT);
        if Instant::now() >= tidy_at && shared.is_settled.load(Ordering::Relaxed) {
            writer.tidy(SystemTime::now());
            tidy_at = Instant::now() + BETWEEN_TIDIES;
        }
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    pub(super) files: OpenFiles,
    /// Logs that have to say how many lines were dropped, by their ids.
    owing: HashMap<usize, Owing>,
    /// The disk does not take all.
    failing: Option<Failing>,
}

#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    last: Instant,
}

/// What one log has to say.
struct Owing {
    log: Arc<DeploymentLog>,
    drops: Drops,
    told_at: Option<Instant>,
}

impl Owing {
    fn is_due(&self) -> bool {
        self.told_at.is_none_or(|told_at| told_at.elapsed() >= BETWEEN_TELLINGS)
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Writer {
        Writer { shared, files: OpenFiles::default(), owing: HashMap::new(), failing: None }
    }

    fn longest_wait(&self, tidy_at: Instant) -> Duration {
        let tidy = tidy_at.saturating_duration_since(Instant::now()).max(MOMENT);
        if self.owing.is_empty() { tidy } else { tidy.min(BETWEEN_TELLINGS) }
    }

    /// Writes what these logs have.
    pub(super) fn write(&mut self, logs: Vec<Arc<DeploymentLog>>) {
        let (mut failure, mut lost) = (None, 0);
        let mut has_written = false;
        for log in logs {
            match self.write_one(&log) {
                Ok(written) => has_written |= written,
                Err((error, lines)) => {
                    lost += lines;
                    failure.get_or_insert((error, log));
                }
            }
        }
        self.note(failure, lost, has_written);
        if self.shared.queue.space() > self.shared.bounds.host.as_u64() {
            self.make_space();
        }
    }

    /// Says once that the disk takes nothing, and once that it does again.
    fn note(&mut self, failure: Option<(io::Error, Arc<DeploymentLog>)>, lost: u64, has_written: bool) {
        let now = Instant::now();
        match (failure, &mut self.failing) {
            (Some((error, log)), None) => {
                let folder = log.folder();
                tracing::error!(
                    "log lines are dropped until {} can be written again: {error} ({lost} so far)",
                    folder.display()
                );
                self.failing = Some(Failing { since: now, last: now });
            }
            (Some(_), Some(failing)) => failing.last = now,
            (None, Some(failing)) if has_written && now - failing.last >= CALM => {
                let time = humantime::format_duration(Duration::from_secs((now - failing.since).as_secs()));
                tracing::info!("logs are written again, after {time}; each says how many of its lines were dropped");
                self.failing = None;
            }
            _ => {}
        }
    }

    /// Whether there was anything to write; else why not, and how many lines that cost.
    fn write_one(&mut self, log: &Arc<DeploymentLog>) -> Result<bool, (io::Error, u64)> {
        let (mut batch, drops) = log.empty();
        let (id, rate) = (log.id(), log.rate.load(Ordering::Relaxed));
        let new = |log: &Arc<DeploymentLog>| Owing { log: log.clone(), drops: Drops::default(), told_at: None };
        if drops.total() > 0 {
            self.owing.entry(id).or_insert_with(|| new(log)).drops.add(drops);
        }
        let lines = u64::from(batch.count);
        let due = self.owing.get_mut(&id).filter(|owing| owing.drops.total() > 0 && owing.is_due());
        let told = due.map(|owing| {
            owing.told_at = Some(Instant::now());
            std::mem::take(&mut owing.drops)
        });
        if let Some(told) = told {
            let revision = log.revision.load(Ordering::Relaxed);
            batch.add(&Line::of_host(&told.tell(rate)), record::now(), revision);
        }
        if batch.count == 0 {
            return Ok(false);
        }
        let folder = log.folder();
        let mut ring = log.ring();
        let bound = self.shared.bounds.deployment.as_u64();
        let written = ring.open(&folder).and_then(|()| {
            Head::seal(batch.count, ring.next(), batch.times, &mut batch.block);
            ring.append((id, &folder), &mut self.files, (batch.count, &batch.block), bound)
        });
        drop(ring);
        written.map(|()| true).map_err(|error| {
            log.count_unwritten(lines);
            let owing = self.owing.entry(id).or_insert_with(|| new(log));
            owing.drops.add(told.unwrap_or_default());
            owing.drops.unwritten += lines;
            // It is tried again with the next lines, and not in a circle.
            owing.told_at.get_or_insert_with(Instant::now);
            (error, lines)
        })
    }

    /// Lets the logs whose time has come say how many lines were dropped.
    fn tell_due(&mut self) {
        let due = self.owing.values().filter(|owing| owing.is_due());
        let due: Vec<Arc<DeploymentLog>> = due.map(|owing| owing.log.clone()).collect();
        if due.is_empty() {
            return;
        }
        self.write(due);
        // Who has said all, and dropped nothing for a while, is not looked at any more.
        self.owing.retain(|_, owing| owing.drops.total() > 0 || !owing.is_due());
        self.shared.queue.finish_telling();
    }

    pub(super) fn tell_all(&mut self) {
        for owing in self.owing.values_mut() {
            owing.told_at = None;
        }
        self.tell_due();
    }

    /// Counts what the rings take, forgets logs that nobody needs, and keeps all within the host's bound.
    pub(super) fn tidy(&mut self, now: SystemTime) {
        let all = match self.shared.all() {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!("read {}: {error}", self.shared.folder.display());
                return;
            }
        };
        for log in &all {
            let folder = log.folder();
            if let Err(error) = log.ring().list(&folder) {
                tracing::warn!("read {}: {error}", folder.display());
            }
        }
        drop(all);
        let shared = self.shared.clone();
        // Whoever wants one of them waits for the lock, and gets it whole or a new one.
        shared.logs().retain(|_, log| {
            let folder = log.folder();
            let mut ring = log.ring();
            let age = ring.written_at().and_then(|written_at| now.duration_since(written_at).ok());
            let is_needed = match ring.written_at() {
                Some(_) => age.is_none_or(|age| age < shared.bounds.removed),
                None => false,
            };
            if is_needed || Arc::strong_count(log) > 1 {
                return true;
            }
            ring.remove((log.id(), &folder), &mut self.files);
            false
        });
        self.make_space();
    }

    /// Takes the oldest segments away until all logs together are within their bound: those of removed deployments
    /// first, then of the largest ring, so that who writes much does not push out what others wrote.
    fn make_space(&mut self) {
        let shared = self.shared.clone();
        let logs: Vec<_> = {
            let logs = shared.logs();
            logs.values().map(|log| (Arc::strong_count(log) == 1, log.clone())).collect()
        };
        let is_settled = shared.is_settled.load(Ordering::Relaxed);
        let bound = shared.bounds.host.as_u64();
        while shared.queue.space() > bound {
            let largest = logs.iter().map(|(is_unheld, log)| ((*is_unheld && is_settled, log.ring().space()), log));
            let Some(((_, space), log)) = largest.filter(|((_, space), _)| *space > 0).max_by_key(|(key, _)| *key)
            else {
                return;
            };
            tracing::debug!(deployment = %log.deployment, space, "its oldest lines make room");
            let folder = log.folder();
            log.ring().remove_oldest((log.id(), &folder), &mut self.files);
        }
    }
}
