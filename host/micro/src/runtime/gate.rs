//! How many calls of one revision run at once, and how many wait.

use micro_engine::manifest::Limits;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Lets so many calls in at once and so many more wait; turns the others away at the door.
#[derive(Debug)]
pub(super) struct Gate {
    running: Semaphore,
    concurrency: u32,
    queue: u32,
    waiting: AtomicU32,
    patience: Duration,
}

/// Why a call was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// All places in the queue are taken.
    QueueFull {
        /// How many places there are.
        queue: u32,
    },
    /// The call waited as long as it may run, and its turn did not come.
    WaitedTooLong {
        /// How long that was.
        patience: Duration,
    },
    /// The caller's own time was over before its turn came.
    CallerLeft,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Gate {
        Gate {
            running: Semaphore::new(limits.concurrency as usize),
            concurrency: limits.concurrency,
            queue: limits.queue,
            waiting: AtomicU32::new(0),
            patience: limits.timeout,
        }
    }

    /// Waits for a place, which is free again when the permit is dropped; no longer than the caller does.
    pub(super) async fn enter(&self, caller: Option<Instant>) -> Result<SemaphorePermit<'_>, TurnedAway> {
        if let Ok(permit) = self.running.try_acquire() {
            return Ok(permit);
        }
        let Some(_place) = Place::take(&self.waiting, self.queue) else {
            return Err(TurnedAway::QueueFull { queue: self.queue });
        };
        let patience = Instant::now() + self.patience;
        let (until, reason) = match caller {
            Some(caller) if caller < patience => (caller, TurnedAway::CallerLeft),
            _ => (patience, TurnedAway::WaitedTooLong { patience: self.patience }),
        };
        match tokio::time::timeout_at(until, self.running.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(reason),
        }
    }

    pub(super) fn running(&self) -> u32 {
        self.concurrency.saturating_sub(self.running.available_permits() as u32)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A place in the queue, given back when it is dropped.
struct Place<'g>(&'g AtomicU32);

impl<'g> Place<'g> {
    fn take(waiting: &'g AtomicU32, queue: u32) -> Option<Place<'g>> {
        let count = |waiting: u32| (waiting < queue).then_some(waiting + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).ok().map(|_| Place(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(concurrency: u32, queue: u32) -> Gate {
        Gate::new(&Limits { concurrency, queue, ..Limits::default() })
    }

    #[tokio::test]
    async fn a_full_queue_turns_away_at_once() {
        let gate = gate(1, 0);
        let permit = gate.enter(None).await.unwrap();
        assert_eq!(gate.enter(None).await.unwrap_err(), TurnedAway::QueueFull { queue: 0 });
        assert_eq!(gate.running(), 1);
        drop(permit);
        assert!(gate.enter(None).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_leaves_the_queue() {
        let gate = gate(1, 1);
        let _permit = gate.enter(None).await.unwrap();
        assert!(matches!(gate.enter(None).await, Err(TurnedAway::WaitedTooLong { .. })));
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_no_longer_than_its_caller() {
        let gate = gate(1, 1);
        let _permit = gate.enter(None).await.unwrap();
        let caller = Instant::now() + Duration::from_millis(10);
        assert_eq!(gate.enter(Some(caller)).await.unwrap_err(), TurnedAway::CallerLeft);
        assert_eq!(Instant::now(), caller);
    }

    #[tokio::test]
    async fn who_stops_waiting_gives_the_place_back() {
        let gate = gate(1, 1);
        let _permit = gate.enter(None).await.unwrap();
        {
            let waiting = gate.enter(None);
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
            assert_eq!(gate.waiting(), 1);
        }
        assert_eq!(gate.waiting(), 0);
    }
}
