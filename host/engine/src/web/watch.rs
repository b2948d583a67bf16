//! How long a guest may work on a request.
//!
//! Until it has chosen its response the call's deadline binds it. A response may then last longer, as events do that come
//! for hours: as long as pieces of it pass, and as long as the guest computes no longer between two of them than a call
//! may take at all.

use super::Slot;
use crate::engines::Places;
use crate::error::CallError;
use crate::program::Deadline;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// How long a response that has begun may go on without any piece of either body passing. It is what proxies allow.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Lets a guest run as long as it may. `lasting` gives the place that a response needs which takes longer than a call; an
/// instance that stays has one already.
pub(crate) async fn watch<T>(
    slot: &Arc<Slot>,
    deadline: Deadline,
    lasting: Option<&Places>,
    mut guest: Pin<&mut impl Future<Output = Result<T, CallError>>>,
) -> Result<T, CallError> {
    let mut bounds = Bounds::new(deadline, Some(slot.clone()), lasting.cloned());
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut work = Work::default();
    // Dropped before the guest.
    let mut uncut = Uncut { slot, is_settled: false };
    std::future::poll_fn(|context| {
        let began = slot.status().is_some().then(std::time::Instant::now);
        if let Poll::Ready(outcome) = guest.as_mut().poll(context) {
            uncut.is_settled = outcome.is_ok();
            return Poll::Ready(outcome);
        }
        let mut failure =
            began.filter(|began| work.add(began.elapsed(), slot) > deadline.time).map(|_| deadline.missed());
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.at)));
        while failure.is_none() && timer.as_mut().poll(context).is_ready() {
            match bounds.extend() {
                Ok(until) => timer.as_mut().reset(until),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    })
    .await
}

/// A guest that must come to its end for its response to be whole.
struct Uncut<'s> {
    slot: &'s Slot,
    is_settled: bool,
}

impl Drop for Uncut<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.slot.cut();
        }
    }
}

/// What the guest computed since the last piece passed.
#[derive(Default)]
struct Work {
    time: Duration,
    seen: u32,
}

impl Work {
    fn add(&mut self, time: Duration, slot: &Slot) -> Duration {
        let moves = slot.moves();
        if self.seen != moves {
            *self = Work { time: Duration::ZERO, seen: moves };
        }
        self.time += time;
        self.time
    }
}

/// Until when a call may go on.
pub(crate) struct Bounds {
    deadline: Deadline,
    /// Of a request; a call of an endpoint has none, and its deadline is its end.
    slot: Option<Arc<Slot>>,
    lasting: Option<Places>,
    place: Option<OwnedSemaphorePermit>,
    seen: u32,
    was_taken: bool,
}

impl Bounds {
    pub(crate) fn new(deadline: Deadline, slot: Option<Arc<Slot>>, lasting: Option<Places>) -> Bounds {
        Bounds { deadline, slot, lasting, place: None, seen: 0, was_taken: false }
    }

    /// The instance is lost, and what it had not said yet.
    pub(crate) fn cut(&self) {
        if let Some(slot) = &self.slot {
            slot.cut();
        }
    }

    /// The next end of a call whose time is over, or why it ends now.
    pub(crate) fn extend(&mut self) -> Result<Instant, CallError> {
        let Some(slot) = self.slot.as_ref().filter(|slot| slot.status().is_some() && !self.was_taken) else {
            return Err(self.deadline.missed());
        };
        if let (Some(lasting), None) = (&self.lasting, &self.place) {
            self.place = Some(lasting.try_take_owned().ok_or(CallError::PoolFull)?);
        }
        if slot.is_taken() {
            // What it still does is its own affair, and no longer than a call.
            self.was_taken = true;
            return Ok(Instant::now() + self.deadline.time);
        }
        let moves = slot.moves();
        if self.seen == moves {
            return Err(CallError::Timeout(SILENCE));
        }
        self.seen = moves;
        Ok(Instant::now() + SILENCE)
    }
}
