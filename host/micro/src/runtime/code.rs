//! Which programs are in memory: loaded at the first call, unloaded when they were idle for long or when all of them
//! together take more than their budget, those that were not used for longest first.
//!
//! A call finds its program without a lock and without writing to what others read; that it was used is noted in the
//! revision's own memory. What runs holds its program, so an unload never hurts it: it only comes too early to gain
//! anything. So programs in use are left alone, and those of live instances as well.

use super::deployment::Revision;
use arc_swap::{ArcSwapOption, Guard};
use micro_engine::engines::EPOCH;
use micro_engine::{Engines, Program};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// What all loaded code may take, unless an option says otherwise.
pub const DEFAULT_BUDGET: u64 = 1024 * 1024 * 1024;

/// How long a program may be idle, unless an option says otherwise.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(600);

/// An unload makes this part of the budget free at once, so that not every load has to look for room.
const FREED: u64 = 8;

/// Where Linux says how many mappings a process may have, and the share of one component: it has two to four, and the
/// pool of instances has a quarter of them all.
const MAPPINGS: &str = "/proc/sys/vm/max_map_count";
const MAPPED: u64 = 8;

/// Between two looks for idle programs, at the least and at the most.
const LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];

/// How much code may stay in memory.
#[derive(Debug, Clone, Copy)]
pub struct CodeLimits {
    /// What all of it may take, in bytes.
    pub budget: u64,
    /// How long a program that nobody calls stays.
    pub idle: Duration,
}

impl Default for CodeLimits {
    fn default() -> CodeLimits {
        CodeLimits { budget: DEFAULT_BUDGET, idle: DEFAULT_IDLE }
    }
}

/// The code in memory, as the host's status shows it.
#[derive(Debug, Clone, Serialize)]
pub struct CodeStatus {
    /// Components in memory.
    loaded: u64,
    /// What they take, about.
    bytes: u64,
    /// What they may take.
    budget: u64,
    /// Loads since the host started.
    loads: u64,
    /// Components that were unloaded since then.
    unloads: u64,
}

/// Where a revision's program is while it is loaded.
#[derive(Debug, Default)]
pub(super) struct Slot {
    program: ArcSwapOption<Program>,
    /// The epoch of the last call.
    used: AtomicU64,
    /// Held by who loads, so that others wait and share.
    loading: tokio::sync::Mutex<()>,
}

/// A program that a call works with. Whatever is unloaded meanwhile, it stays until this is dropped.
pub(super) type InUse = Guard<Option<Arc<Program>>>;

/// The books of all revisions that may have a program in memory.
pub(super) struct Code {
    engines: Arc<Engines>,
    limits: CodeLimits,
    loaded: Mutex<Vec<Weak<Revision>>>,
    /// Told when there is more than the budget allows, and when the books are closed.
    attention: Arc<Notify>,
    /// Components that may be in memory whatever they take: each may hold open files.
    most: u64,
}

impl Slot {
    pub(super) fn with(program: Arc<Program>) -> Slot {
        Slot { program: ArcSwapOption::new(Some(program)), ..Slot::default() }
    }

    /// The program for a call that begins at this epoch, if it is loaded.
    pub(super) fn enter(&self, epoch: u64) -> InUse {
        // Most calls find that the one before them wrote the same.
        if self.used.load(Ordering::Relaxed) != epoch {
            self.used.store(epoch, Ordering::Relaxed);
        }
        self.program.load()
    }

    /// The program, if it is loaded, without using it.
    pub(super) fn look(&self) -> Option<Arc<Program>> {
        self.program.load_full()
    }

    /// Waits until nobody else loads the program, and keeps others from doing so.
    pub(super) async fn loading(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.loading.lock().await
    }

    pub(super) fn put(&self, program: Arc<Program>) {
        self.program.store(Some(program));
    }
}

impl Code {
    /// Opens the books, and begins to look after what is in them.
    pub(super) fn start(engines: Arc<Engines>, limits: CodeLimits) -> Arc<Code> {
        let attention = Arc::new(Notify::new());
        let code =
            Code { engines, limits, loaded: Mutex::default(), attention: attention.clone(), most: most_components() };
        let code = Arc::new(code);
        let [least, most] = LOOKS;
        let pause = (limits.idle / 4).clamp(least, most);
        tokio::spawn(look_after(Arc::downgrade(&code), attention, pause));
        code
    }

    /// The time by which uses are noted.
    pub(super) fn epoch(&self) -> u64 {
        self.engines.epochs()
    }

    /// Takes a revision into the books whose program was just loaded.
    pub(super) fn note(&self, revision: &Arc<Revision>) {
        revision.code.used.store(self.epoch(), Ordering::Relaxed);
        self.loaded().push(Arc::downgrade(revision));
        if self.holds_more_than(self.limits.budget, self.most) {
            self.attention.notify_one();
        }
    }

    fn holds_more_than(&self, bytes: u64, components: u64) -> bool {
        let report = self.engines.loaded();
        report.bytes > bytes || report.components > components
    }

    pub(super) fn status(&self) -> CodeStatus {
        let report = self.engines.loaded();
        CodeStatus {
            loaded: report.components,
            bytes: report.bytes,
            budget: self.limits.budget,
            loads: report.loads,
            unloads: report.unloads,
        }
    }

    /// Unloads what was idle for too long, and what there is no room for.
    fn sweep(&self) {
        let known = std::mem::take(&mut *self.loaded());
        let mut loaded: Vec<(u64, Arc<Revision>)> = Vec::with_capacity(known.len());
        for revision in known.iter().filter_map(Weak::upgrade) {
            if revision.code.program.load().is_some() {
                loaded.push((revision.code.used.load(Ordering::Relaxed), revision));
            }
        }
        let idle_epochs = u64::try_from(self.limits.idle.as_millis() / EPOCH.as_millis()).unwrap_or(u64::MAX);
        let now = self.epoch();
        loaded.retain(|(used, revision)| now.saturating_sub(*used) <= idle_epochs || !unload(revision));
        if self.holds_more_than(self.limits.budget, self.most) {
            let [bytes, components] = [self.limits.budget, self.most].map(|limit| limit - limit / FREED);
            loaded.sort_unstable_by_key(|(used, _)| *used);
            // The one that was used last stays, even if it is too large all by itself: a call may be about to begin.
            let last = loaded.pop();
            loaded.retain(|(_, revision)| !self.holds_more_than(bytes, components) || !unload(revision));
            loaded.extend(last);
        }
        self.loaded().extend(loaded.iter().map(|(_, revision)| Arc::downgrade(revision)));
    }

    fn loaded(&self) -> MutexGuard<'_, Vec<Weak<Revision>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the system lets one process have, with as much again for everything else: the memory that a component's
/// instances begin with is an open file to the system, and its code some mappings.
fn most_components() -> u64 {
    let by_files = getrlimit(Resource::Nofile).current.map_or(u64::MAX, |files| files / 2);
    // Where there is no such file there is no such limit.
    let mappings = std::fs::read_to_string(MAPPINGS).ok().and_then(|text| text.trim().parse::<u64>().ok());
    by_files.min(mappings.map_or(u64::MAX, |mappings| mappings / MAPPED))
}

impl Drop for Code {
    fn drop(&mut self) {
        self.attention.notify_one();
    }
}

/// Takes a revision's program out of memory unless something uses it; says whether it did.
fn unload(revision: &Revision) -> bool {
    if revision.load() != (0, 0) || revision.replicas().is_some() {
        return false;
    }
    // A call that has just found it still holds it, and it goes when that call has ended.
    revision.code.program.store(None);
    true
}

/// Sweeps when it is told to and every now and then, for as long as there are books.
async fn look_after(code: Weak<Code>, attention: Arc<Notify>, pause: Duration) {
    loop {
        // A pause that is over says the same as being told.
        let _ = tokio::time::timeout(pause, attention.notified()).await;
        let Some(code) = code.upgrade() else { return };
        // Memory is given back to the system, which takes its time.
        if tokio::task::spawn_blocking(move || code.sweep()).await.is_err() {
            tracing::error!("unloading of idle code failed");
        }
    }
}
