//! What the instances of a deployment use, and how often a limit bit.

use crate::engines::EPOCH;
use crate::fair::Habit;
use crate::manifest::Limit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The memory of all guests together, and how much of it there may be.
#[derive(Debug)]
pub struct GuestMemory {
    used: AtomicU64,
    limit: u64,
    refusals: AtomicU64,
}

impl GuestMemory {
    /// At most so many bytes.
    pub fn new(limit: u64) -> GuestMemory {
        GuestMemory { used: AtomicU64::new(0), limit, refusals: AtomicU64::new(0) }
    }

    /// Bytes that guests have now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that they may have.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How often a guest was refused memory because of it.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        if self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.limit {
            return true;
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.refusals.fetch_add(1, Ordering::Relaxed);
        false
    }
}

/// What one deployment uses, over all its revisions and instances.
#[derive(Debug)]
pub struct Usage {
    memory: AtomicU64,
    largest: AtomicU64,
    instances: AtomicU32,
    ticks: AtomicU64,
    hits: [AtomicU64; Limit::ALL.len()],
    pub(crate) habit: Habit,
    all: Arc<GuestMemory>,
}

impl Usage {
    /// Of a deployment whose memory counts among `all`.
    pub fn new(all: Arc<GuestMemory>) -> Usage {
        Usage {
            memory: AtomicU64::new(0),
            largest: AtomicU64::new(0),
            instances: AtomicU32::new(0),
            ticks: AtomicU64::new(0),
            hits: Default::default(),
            habit: Habit::default(),
            all,
        }
    }

    /// Of a deployment that stands alone.
    pub fn alone() -> Usage {
        Usage::new(Arc::new(GuestMemory::new(u64::MAX)))
    }

    /// Bytes that its instances have now, all together.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// The most bytes that one instance has ever had.
    pub fn largest(&self) -> u64 {
        self.largest.load(Ordering::Relaxed)
    }

    /// Instances that there are now.
    pub fn instances(&self) -> u32 {
        self.instances.load(Ordering::Relaxed)
    }

    /// Time on processors, in steps of the engines' clock: what runs when it ticks is counted for one step.
    pub fn cpu(&self) -> Duration {
        let step = EPOCH.as_millis() as u64;
        Duration::from_millis(self.ticks.load(Ordering::Relaxed).saturating_mul(step))
    }

    /// How often a limit bit.
    pub fn hits(&self, limit: Limit) -> u64 {
        self.hits[limit as usize].load(Ordering::Relaxed)
    }

    /// Counts that a limit bit.
    pub fn hit(&self, limit: Limit) {
        self.hits[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn begin_instance(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance ends that had `bytes` at most, and gave none of them back.
    pub(crate) fn end_instance(&self, bytes: u64) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
        self.all.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes memory for an instance that will have `in_all`; false if the host has no more for guests.
    pub(crate) fn take_memory(&self, bytes: u64, in_all: u64) -> bool {
        if !self.all.take(bytes) {
            return false;
        }
        self.memory.fetch_add(bytes, Ordering::Relaxed);
        // Most instances are as large as the one before: they only read.
        if in_all > self.largest.load(Ordering::Relaxed) {
            self.largest.fetch_max(in_all, Ordering::Relaxed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_processors_is_counted_for_longer_than_497_days() {
        let usage = Usage::alone();
        usage.ticks.store(1 << 40, Ordering::Relaxed);
        let before = usage.cpu();
        usage.tick();
        assert_eq!(usage.cpu() - before, EPOCH);
    }
}
