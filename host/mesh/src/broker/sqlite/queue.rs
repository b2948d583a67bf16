//! What waits for the writer. Publishers put it in, and the writer takes all of it at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::super::{BrokerError, closed};
use super::writer::Request;

/// What may wait, in KiB of messages: 16 MiB. Who comes then waits for a place.
const ROOM: u32 = 16 * 1_024;

/// How long acknowledgements wait for something to be published that their transaction can be shared with.
const ACKS_WAIT: Duration = Duration::from_millis(2);

pub(super) struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct Inner {
    requests: Vec<Request>,
    /// The room that the requests take.
    taken: u32,
    /// Since when there are acknowledgements to be written.
    acks: Option<Instant>,
    is_closed: bool,
    /// Whether the writer sleeps and wants to be woken.
    is_asleep: bool,
}

/// Why the writer was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is something to do.
    Work,
    /// Nothing came until the given moment.
    Time,
    /// Nobody asks for anything any more.
    Closed,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::default(), arrived: Condvar::new(), room: Semaphore::new(ROOM as usize) }
    }

    /// Puts a request in that has this many bytes, when there is room for it.
    pub(super) async fn send(&self, request: Request, bytes: usize) -> Result<(), BrokerError> {
        let cost = u32::try_from(1 + bytes / 1_024).unwrap_or(ROOM).min(ROOM);
        let room = self.room.acquire_many(cost).await.map_err(|_| closed())?;
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(closed());
        }
        // The writer gives it back when it has taken the request.
        room.forget();
        inner.taken += cost;
        inner.requests.push(request);
        self.wake(inner);
        Ok(())
    }

    /// Says that there are acknowledgements to be written.
    pub(super) fn acks(&self) {
        let mut inner = self.lock();
        if inner.acks.is_none() {
            inner.acks = Some(Instant::now());
            self.wake(inner);
        }
    }

    /// Takes all that waits, after waiting for something until then.
    pub(super) fn take(&self, requests: &mut Vec<Request>, until: Option<Instant>) -> Woken {
        let mut inner = self.lock();
        loop {
            if !inner.requests.is_empty() {
                std::mem::swap(&mut inner.requests, requests);
                inner.acks = None;
                let taken = std::mem::take(&mut inner.taken);
                drop(inner);
                self.room.add_permits(taken as usize);
                return Woken::Work;
            }
            if inner.is_closed {
                return Woken::Closed;
            }
            let now = Instant::now();
            let acks = inner.acks.map(|since| since + ACKS_WAIT);
            if acks.is_some_and(|at| at <= now) {
                inner.acks = None;
                return Woken::Work;
            }
            if until.is_some_and(|at| at <= now) {
                return Woken::Time;
            }
            inner.is_asleep = true;
            let alarm = [acks, until].into_iter().flatten().min();
            inner = match alarm {
                None => self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = at.saturating_duration_since(now);
                    self.arrived.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            inner.is_asleep = false;
        }
    }

    /// Takes no more from now on. What is in it is still taken out.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        self.wake(inner);
        self.room.close();
    }

    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        // Waking somebody is a call of the system, also when nobody sleeps.
        if std::mem::take(&mut inner.is_asleep) {
            drop(inner);
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
