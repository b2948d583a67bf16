//! What happened to the deployments of this host.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{broadcast, mpsc};

/// Events that a slow listener may lag behind before it misses some.
const LISTENER_LAG: usize = 256;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When.
    #[serde(serialize_with = "super::status::rfc3339")]
    pub time: SystemTime,
    /// `deployed`, `canary`, `promoted`, `rolled-back`, `removed`, `refused`; of instances `instance-failed`, `instance-restarted`;
    /// `failed`, `unhealthy`, `healthy`; of a scheduled call `schedule-failed`; of messages `dead-letter` and
    /// `subscription-failed`.
    pub kind: &'static str,
    /// To which deployment.
    pub deployment: String,
    /// Which revision, if one was made or left.
    pub revision: Option<u64>,
    /// In words.
    pub detail: String,
}

/// Tells events to whoever listens.
#[derive(Debug, Clone)]
pub struct Events {
    listeners: broadcast::Sender<Event>,
    /// How often each kind was told. It is rare, and there are few kinds.
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Default for Events {
    fn default() -> Events {
        Events { listeners: broadcast::Sender::new(LISTENER_LAG), counts: Arc::default() }
    }
}

impl Events {
    /// All events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.listeners.subscribe()
    }

    pub(super) fn tell(&self, kind: &'static str, deployment: &str, revision: Option<u64>, detail: impl Into<String>) {
        let event =
            Event { time: SystemTime::now(), kind, deployment: deployment.into(), revision, detail: detail.into() };
        tracing::info!(kind, deployment, revision, detail = event.detail, "deployment changed");
        // Nobody listening is no error.
        let _ = self.listeners.send(event);
        *self.counts().entry(kind).or_default() += 1;
    }

    /// How often each kind of event was told since the host started.
    pub(super) fn count_by_kind(&self) -> Vec<(&'static str, u64)> {
        self.counts().iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the instances of a revision have to say to the runtime, which does something about it.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) deployment: Arc<str>,
    pub(super) revision: u64,
    pub(super) kind: NoticeKind,
}

#[derive(Debug)]
pub(super) enum NoticeKind {
    /// An instance failed again and again.
    GivenUp(String),
    /// More or fewer instances take calls than before.
    HealthChanged,
    /// Too many of its calls fail.
    Errors(String),
}

/// The way of one deployment's instances to events and to the runtime.
#[derive(Debug, Clone)]
pub(super) struct Notices {
    deployment: Arc<str>,
    events: Events,
    runtime: mpsc::Sender<Notice>,
    /// Counted over all revisions: one of them that goes takes nothing with it.
    restarts: Arc<AtomicU64>,
}

impl Notices {
    pub(super) fn new(deployment: Arc<str>, events: Events, runtime: mpsc::Sender<Notice>) -> Notices {
        Notices { deployment, events, runtime, restarts: Arc::default() }
    }

    /// How often an instance took the place of one that ended, since the host started.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self, revision: u64, detail: &str) {
        self.events.tell("instance-failed", &self.deployment, Some(revision), detail);
    }

    pub(super) fn restarted(&self, revision: u64, detail: &str) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.events.tell("instance-restarted", &self.deployment, Some(revision), detail);
        self.health_changed(revision);
    }

    pub(super) fn given_up(&self, revision: u64, reason: &str) {
        self.send(revision, NoticeKind::GivenUp(reason.to_string()));
    }

    pub(super) fn health_changed(&self, revision: u64) {
        self.send(revision, NoticeKind::HealthChanged);
    }

    /// Looks once more at how many instances take calls, in a while.
    pub(super) fn look_again(&self, revision: u64, pause: Duration) {
        let notices = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            notices.health_changed(revision);
        });
    }

    pub(super) fn errors(&self, revision: u64, detail: String) {
        self.send(revision, NoticeKind::Errors(detail));
    }

    fn send(&self, revision: u64, kind: NoticeKind) {
        let (runtime, notice) = (self.runtime.clone(), Notice { deployment: self.deployment.clone(), revision, kind });
        // A runtime that is gone has nothing left to do about it.
        tokio::spawn(async move { runtime.send(notice).await.is_ok() });
    }
}
