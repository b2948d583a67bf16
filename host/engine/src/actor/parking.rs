//! Where an idle instance waits. Whoever calls while it waits there takes it and runs the call at once, without a
//! detour over the instance's task: that saves two thirds of a short call.

use super::Ending;
use crate::live::Live;
use crate::program::Callable;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The place of one instance on the lean engine.
#[derive(Default)]
pub(super) struct Parking {
    state: Mutex<State>,
    /// Told when the instance was put back, or failed.
    changed: Notify,
    /// Whether the instance's task waits for it, with work that came before.
    is_wanted: AtomicBool,
}

#[derive(Default)]
enum State {
    /// Somebody has it.
    #[default]
    Away,
    Here(Box<Live>),
    Failed(String),
}

impl Parking {
    /// Takes the instance for a call, if it is idle and nobody waits for it.
    pub(super) fn take_idle(self: &Arc<Self>, callable: &Arc<Callable>) -> Option<(Borrowed, Box<Live>)> {
        if self.is_wanted.load(Ordering::Relaxed) {
            return None;
        }
        let live = self.take().ok().flatten()?;
        Some((Borrowed { parking: self.clone(), callable: callable.clone(), is_settled: false }, live))
    }

    /// Waits for the instance, before all others; its end, if it failed meanwhile.
    pub(super) async fn wait(&self) -> Result<Box<Live>, Ending> {
        self.is_wanted.store(true, Ordering::Relaxed);
        let taken = loop {
            let changed = self.changed.notified();
            match self.take() {
                Ok(Some(live)) => break Ok(live),
                Ok(None) => changed.await,
                Err(ending) => break Err(ending),
            }
        };
        self.is_wanted.store(false, Ordering::Relaxed);
        taken
    }

    fn take(&self) -> Result<Option<Box<Live>>, Ending> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *state) {
            State::Away => Ok(None),
            State::Here(live) => Ok(Some(live)),
            State::Failed(reason) => {
                *state = State::Failed(reason.clone());
                Err(Ending::Failed(reason))
            }
        }
    }

    /// Puts the instance back.
    pub(super) fn put(&self, live: Box<Live>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Here(live);
        if self.is_wanted.load(Ordering::Relaxed) {
            self.changed.notify_waiters();
        }
    }

    /// There is no instance any more, for this reason.
    fn fail(&self, reason: String) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Failed(reason);
        self.changed.notify_waiters();
    }

    /// Waits until the instance has failed in the hands of a caller.
    pub(super) async fn failed(&self) -> Ending {
        loop {
            let changed = self.changed.notified();
            if let State::Failed(reason) = &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
                return Ending::Failed(reason.clone());
            }
            changed.await;
        }
    }
}

/// Who has the instance in hand, for one call. Dropped without a word, in the middle of it, the instance counts as lost.
pub(super) struct Borrowed {
    parking: Arc<Parking>,
    pub(super) callable: Arc<Callable>,
    is_settled: bool,
}

impl Borrowed {
    /// Gives the instance back, for the next call.
    pub(super) fn put_back(mut self, live: Box<Live>) {
        self.is_settled = true;
        self.parking.put(live);
    }

    /// The instance failed, for this reason, and is dropped.
    pub(super) fn fail(mut self, reason: &dyn std::fmt::Display) {
        self.is_settled = true;
        self.parking.fail(format!("{}: {reason}", self.callable.endpoint.name));
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.is_settled {
            self.parking.fail(format!("{}: it did not come to its end in time", self.callable.endpoint.name));
        }
    }
}
