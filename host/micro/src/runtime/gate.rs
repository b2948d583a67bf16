//! How many calls of one revision run at once, and how many wait.
//!
//! A call whose turn would come after its caller has left does not wait for that: it is turned away at once, and told when
//! to come again.

use micro_engine::manifest::Limits;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Lets so many calls in at once and so many more wait; turns the others away at the door. Each call changes it, so it
/// shares no line of the processor's cache with what calls only read.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Gate {
    running: Semaphore,
    concurrency: u32,
    queue: u32,
    waiting: AtomicU32,
    patience: Duration,
    /// How long calls run of late, in nanoseconds; 0 while nobody knows.
    pace: AtomicU64,
}

/// A call weighs so much, against all before it, in how long calls run: one in eight.
const WEIGHT: u64 = 8;

/// Why a call was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// All places in the queue are taken.
    QueueFull {
        /// How many places there are.
        queue: u32,
        /// When there may be one.
        again: Duration,
    },
    /// Its turn would come too late.
    TooLate {
        /// When it would come.
        wait: Duration,
    },
    /// The call waited as long as it may run, and its turn did not come.
    WaitedTooLong {
        /// How long that was.
        patience: Duration,
        /// When the turn of another may come.
        again: Duration,
    },
    /// The caller's own time was over before its turn came.
    CallerLeft,
}

/// A call that was let in. The place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Permit<'g> {
    gate: &'g Gate,
    /// When it was let in.
    pub(super) begun: Instant,
    /// Whether it had to wait for that.
    pub(super) has_waited: bool,
    _place: SemaphorePermit<'g>,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Gate {
        Gate {
            running: Semaphore::new(limits.concurrency as usize),
            concurrency: limits.concurrency,
            queue: limits.queue,
            waiting: AtomicU32::new(0),
            patience: limits.timeout,
            pace: AtomicU64::new(0),
        }
    }

    /// Waits for a place; no longer than the caller does, and not at all where that would be in vain.
    pub(super) async fn enter(&self, caller: Option<Instant>) -> Result<Permit<'_>, TurnedAway> {
        let now = Instant::now();
        if let Ok(place) = self.running.try_acquire() {
            return Ok(Permit { gate: self, begun: now, has_waited: false, _place: place });
        }
        let Some(_place) = Place::take(&self.waiting, self.queue) else {
            return Err(TurnedAway::QueueFull { queue: self.queue, again: self.wait(self.queue) });
        };
        let wait = self.wait(self.waiting());
        let patience = now + self.patience;
        let until = caller.map_or(patience, |caller| caller.min(patience));
        if now + wait > until {
            return Err(TurnedAway::TooLate { wait });
        }
        match tokio::time::timeout_at(until, self.running.acquire()).await {
            Ok(Ok(place)) => Ok(Permit { gate: self, begun: Instant::now(), has_waited: true, _place: place }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) if until < patience => Err(TurnedAway::CallerLeft),
            Ok(Err(_)) | Err(_) => {
                Err(TurnedAway::WaitedTooLong { patience: self.patience, again: self.wait(self.waiting()) })
            }
        }
    }

    /// How long it takes until so many that wait have had their turn, by how long calls run of late.
    fn wait(&self, waiting: u32) -> Duration {
        let pace = self.pace.load(Ordering::Relaxed);
        Duration::from_nanos(pace.saturating_mul(waiting.into()) / u64::from(self.concurrency.max(1)))
    }

    pub(super) fn running(&self) -> u32 {
        self.concurrency.saturating_sub(self.running.available_permits() as u32)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // A stream or a response may last for hours, which says nothing of how soon the next turn comes.
        let took = self.begun.elapsed().min(self.gate.patience);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let pace = self.gate.pace.load(Ordering::Relaxed);
        // Two that end at the same time may forget one of them, which does not matter.
        let pace = if pace == 0 { took } else { pace - pace / WEIGHT + took / WEIGHT };
        self.gate.pace.store(pace, Ordering::Relaxed);
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

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_turns_away_at_once() {
        let gate = gate(1, 0);
        let permit = gate.enter(None).await.unwrap();
        let turned_away = gate.enter(None).await.unwrap_err();
        assert_eq!(turned_away, TurnedAway::QueueFull { queue: 0, again: Duration::ZERO });
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

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_turn_would_come_too_late_does_not_wait_for_it() {
        let gate = gate(2, 8);
        for _ in 0..100 {
            let _permit = gate.enter(None).await.unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let _permits = [gate.enter(None).await.unwrap(), gate.enter(None).await.unwrap()];
        let caller = Instant::now() + Duration::from_millis(400);
        let before = Instant::now();
        let turned_away = gate.enter(Some(caller)).await.unwrap_err();
        // Alone in the queue, with two places that are free once in a second each.
        assert_eq!(turned_away, TurnedAway::TooLate { wait: Duration::from_millis(500) });
        assert_eq!((Instant::now(), gate.waiting()), (before, 0));
        let caller = Instant::now() + Duration::from_millis(600);
        assert_eq!(gate.enter(Some(caller)).await.unwrap_err(), TurnedAway::CallerLeft);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_longer_than_a_call_may_counts_as_one_that_took_its_time() {
        let gate = gate(1, 8);
        let permit = gate.enter(None).await.unwrap();
        tokio::time::advance(Duration::from_secs(24 * 60 * 60)).await;
        drop(permit);
        assert_eq!(gate.wait(1), Limits::default().timeout);
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
