//! What is read of a deployment when somebody looks.

use crate::runtime::deployment::{Deployment, Revision};
use std::sync::Arc;

impl Deployment {
    /// `failed`, `ready`, or `starting` while none of a service's instances takes calls.
    pub(super) fn state(&self) -> &'static str {
        if self.failure().is_some() {
            return "failed";
        }
        let current = self.current();
        if current.replicas().is_none_or(|replicas| replicas.is_ready()) { "ready" } else { "starting" }
    }

    /// Calls that run, and calls that wait.
    pub(super) fn load(&self) -> (u32, u32) {
        let loads = self.in_use().map(|revision| revision.load());
        loads.fold((0, 0), |(running, waiting), (more, more_waiting)| (running + more, waiting + more_waiting))
    }

    /// Instances: those of a service that take calls, those of a function that run.
    pub(super) fn instances(&self) -> u32 {
        let count = |revision: Arc<Revision>| match revision.replicas() {
            Some(replicas) => replicas.ready(),
            None if revision.is_service() => 0,
            None => revision.load().0,
        };
        self.in_use().map(count).sum()
    }

    /// How often an instance of a service took the place of one that ended; nothing of what never was a service.
    pub(super) fn restarts(&self) -> Option<u64> {
        let restarts = self.notices.restarts();
        (restarts > 0 || self.in_use().any(|revision| revision.is_service())).then_some(restarts)
    }

    /// The revisions that answer calls.
    fn in_use(&self) -> impl Iterator<Item = Arc<Revision>> {
        [Some(self.current()), self.canary().map(|canary| canary.revision.clone())].into_iter().flatten()
    }
}
