//! How many calls of one revision run at once, and how many wait.

use micro_engine::manifest::Limits;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

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

    /// Waits for a place, which is free again when the permit is dropped.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, TurnedAway> {
        if let Ok(permit) = self.running.try_acquire() {
            return Ok(permit);
        }
        let Some(_place) = Place::take(&self.waiting, self.queue) else {
            return Err(TurnedAway::QueueFull { queue: self.queue });
        };
        let waited = TurnedAway::WaitedTooLong { patience: self.patience };
        match tokio::time::timeout(self.patience, self.running.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(waited),
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
        let permit = gate.enter().await.unwrap();
        assert_eq!(gate.enter().await.unwrap_err(), TurnedAway::QueueFull { queue: 0 });
        assert_eq!(gate.running(), 1);
        drop(permit);
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_leaves_the_queue() {
        let gate = gate(1, 1);
        let _permit = gate.enter().await.unwrap();
        assert!(matches!(gate.enter().await, Err(TurnedAway::WaitedTooLong { .. })));
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test]
    async fn who_stops_waiting_gives_the_place_back() {
        let gate = gate(1, 1);
        let _permit = gate.enter().await.unwrap();
        {
            let waiting = gate.enter();
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
            assert_eq!(gate.waiting(), 1);
        }
        assert_eq!(gate.waiting(), 0);
    }
}
