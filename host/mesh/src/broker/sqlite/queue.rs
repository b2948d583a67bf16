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

/// How long a writer that has something to do waits for as much as it had the last time. Who was just told of a message
/// is about to publish the next one, and a wait for the disk takes longer than this.
const GATHER: Duration = Duration::from_micros(200);

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
    /// How many requests the writer waits for.
    enough: usize,
    /// How many it took the last time.
    last: usize,
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
        if inner.requests.len() >= inner.enough {
            self.wake(inner);
        }
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
        let mut gather = None;
        loop {
            if !inner.requests.is_empty() {
                let wanted = inner.last / 4 * 3;
                let until = *gather.get_or_insert_with(|| Instant::now() + GATHER);
                let left = until.saturating_duration_since(Instant::now());
                if inner.requests.len() < wanted && !left.is_zero() && !inner.is_closed {
                    inner.enough = wanted;
                    inner = self.sleep(inner, Some(left));
                    continue;
                }
                inner.enough = 0;
                inner.last = inner.requests.len();
                inner.acks = None;
                std::mem::swap(&mut inner.requests, requests);
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
            let alarm = [acks, until].into_iter().flatten().min();
            inner = self.sleep(inner, alarm.map(|at| at.saturating_duration_since(now)));
        }
    }

    fn sleep<'a>(&self, mut inner: MutexGuard<'a, Inner>, time: Option<Duration>) -> MutexGuard<'a, Inner> {
        inner.is_asleep = true;
        let mut inner = match time {
            None => self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner),
            Some(time) => self.arrived.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner).0,
        };
        inner.is_asleep = false;
        inner
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
