//! The live instances of one revision of a service: started, called, handed over and stopped.

mod watch;
mod web;

use super::events::Notices;
use super::logs::DeploymentLog;
use arc_swap::ArcSwapOption;
use micro_engine::actor::{ActorError, StartError, Streaming};
use micro_engine::manifest;
use micro_engine::{Actor, CallError, Callable, Deadline, Program, Scope, Value};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The instances of one revision.
pub(super) struct Replicas {
    program: Arc<Program>,
    settings: manifest::Service,
    log: Arc<DeploymentLog>,
    notices: Notices,
    revision: u64,
    slots: Vec<Arc<Slot>>,
    /// Whether the runtime was told last that instances take calls.
    was_ready: AtomicBool,
    /// Calls inside; what waits outside for the revision to go on is not among them.
    inside: AtomicU32,
    stance: Mutex<Stance>,
    /// Told when an instance came or went, when the stance changed, and when the last call left.
    changed: Notify,
}

/// What happens to calls that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stance {
    Open,
    /// They wait: state is handed over.
    Paused,
    /// They go to the revision that came after.
    Retired,
}

/// A place for an instance.
#[derive(Default)]
struct Slot {
    actor: ArcSwapOption<Actor>,
    is_given_up: AtomicBool,
    restarts: AtomicU64,
    reason: Mutex<Option<String>>,
    /// What the last hand-over brought; a replacement begins there.
    state: Mutex<Option<Arc<[u8]>>>,
}

/// What the instances of a service save, by their places.
pub(super) type States = Vec<Option<Vec<u8>>>;

/// Why the instances gave no answer.
#[derive(Debug)]
pub(super) enum ReplicasError {
    /// The revision is not the current one any more: the call belongs to its successor.
    Retired,
    /// There is no instance, for this reason.
    None(String),
    /// The call failed.
    Call(CallError),
}

/// How the instances are, for people.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(super) struct ReplicasStatus {
    pub(super) wanted: usize,
    pub(super) ready: usize,
    pub(super) restarts: u64,
    pub(super) problems: Vec<String>,
}

/// What a revision needs to have live instances.
pub(super) struct Setting {
    pub(super) program: Arc<Program>,
    pub(super) settings: manifest::Service,
    pub(super) log: Arc<DeploymentLog>,
    pub(super) notices: Notices,
    pub(super) revision: u64,
}

impl Replicas {
    /// Starts all instances; if one does not start, none is left behind.
    pub(super) async fn start(setting: Setting, states: &[Option<Vec<u8>>]) -> Result<Arc<Replicas>, StartError> {
        let replicas = Replicas::new(setting, states);
        let mut actors = Vec::with_capacity(replicas.slots.len());
        for slot in &replicas.slots {
            match replicas.begin(slot).await {
                Ok(actor) => actors.push(actor),
                Err(error) => {
                    for actor in actors {
                        Actor::stop(&actor).await;
                    }
                    return Err(error);
                }
            }
        }
        for (slot, actor) in replicas.slots.iter().zip(actors) {
            slot.actor.store(Some(actor));
        }
        replicas.was_ready.store(true, Ordering::Relaxed);
        let instances = replicas.slots.len();
        replicas.log.host_line(&format!("revision {} started, instances: {instances}", replicas.revision));
        Ok(replicas)
    }

    /// Instances that come to live as soon as they can, for a host that starts.
    pub(super) fn restore(setting: Setting, states: &[Option<Vec<u8>>]) -> Arc<Replicas> {
        let replicas = Replicas::new(setting, states);
        replicas.supervise();
        replicas
    }

    fn new(setting: Setting, states: &[Option<Vec<u8>>]) -> Arc<Replicas> {
        let Setting { program, settings, log, notices, revision } = setting;
        let slots = (0..settings.replicas as usize).map(|at| {
            let state = states.get(at).cloned().flatten().map(Arc::from);
            Arc::new(Slot { state: Mutex::new(state), ..Slot::default() })
        });
        Arc::new(Replicas {
            slots: slots.collect(),
            program,
            settings,
            log,
            notices,
            revision,
            was_ready: AtomicBool::new(false),
            inside: AtomicU32::new(0),
            stance: Mutex::new(Stance::Open),
            changed: Notify::new(),
        })
    }

    /// Lets every instance be watched and replaced from now on.
    pub(super) fn supervise(self: &Arc<Self>) {
        for at in 0..self.slots.len() {
            tokio::spawn(watch::supervise(self.clone(), at));
        }
        if self.program.has_health() {
            tokio::spawn(watch::ask_for_health(Arc::downgrade(self), self.settings.health_interval));
        }
    }

    async fn begin(&self, slot: &Slot) -> Result<Arc<Actor>, StartError> {
        let state = lock(&slot.state).clone();
        Actor::start(self.program.clone(), state.as_deref()).await.map(Arc::new)
    }

    /// Calls an endpoint in one of the instances.
    pub(super) async fn call(
        &self,
        scope: Scope,
        callable: &Arc<Callable>,
        mut fields: Vec<Value>,
        key: Option<u64>,
        deadline: Deadline,
    ) -> Result<Option<Value>, ReplicasError> {
        loop {
            let (actor, _inside) = self.enter(key, deadline.at).await?;
            match actor.call(scope.clone(), callable, fields, deadline).await {
                Ok(value) => return Ok(value),
                Err(ActorError::Failed(error)) => return Err(ReplicasError::Call(error)),
                Err(ActorError::NotBegun(given_back)) => fields = given_back,
            }
        }
    }

    /// Opens a streaming call in one of the instances.
    pub(super) async fn open(
        &self,
        scope: Scope,
        callable: &Arc<Callable>,
        mut fields: Vec<Value>,
        key: Option<u64>,
        deadline: Deadline,
    ) -> Result<Streaming, ReplicasError> {
        loop {
            let (actor, _inside) = self.enter(key, deadline.at).await?;
            match actor.open(scope.clone(), callable, fields, deadline).await {
                Ok(streaming) => return Ok(streaming),
                Err(ActorError::Failed(error)) => return Err(ReplicasError::Call(error)),
                Err(ActorError::NotBegun(given_back)) => fields = given_back,
            }
        }
    }

    /// Lets a call in, to the instance that shall serve it: the least busy one, or the one that a key belongs to.
    async fn enter(&self, key: Option<u64>, deadline: Instant) -> Result<(Arc<Actor>, Inside<'_>), ReplicasError> {
        loop {
            let changed = self.changed.notified();
            {
                // Counted under the lock, so that a pause sees every call that it did not stop. A call that still waits
                // for an instance is not inside: it may be the next revision that has one.
                let stance = lock(&self.stance);
                match *stance {
                    Stance::Retired => return Err(ReplicasError::Retired),
                    Stance::Paused => {}
                    Stance::Open => {
                        if let Some(actor) = self.pick(key)? {
                            self.inside.fetch_add(1, Ordering::Relaxed);
                            return Ok((actor, Inside(self)));
                        }
                    }
                }
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(ReplicasError::None(match self.stance() {
                    Stance::Paused => "its state is being handed over".into(),
                    Stance::Open | Stance::Retired => self.problem(),
                }));
            }
        }
    }

    /// An instance that takes calls; none for now, if one is to come.
    fn pick(&self, key: Option<u64>) -> Result<Option<Arc<Actor>>, ReplicasError> {
        let slots = match key {
            Some(key) => {
                let at = usize::try_from(key % self.slots.len().max(1) as u64).unwrap_or(0);
                self.slots.get(at..=at).unwrap_or_default()
            }
            None => &self.slots[..],
        };
        let ready = slots.iter().filter_map(|slot| slot.ready()).min_by_key(|actor| actor.busy());
        match ready {
            None if slots.iter().all(|slot| slot.is_given_up.load(Ordering::Relaxed)) => {
                Err(ReplicasError::None(self.problem()))
            }
            ready => Ok(ready),
        }
    }

    fn problem(&self) -> String {
        let mut reasons = self.slots.iter().rev().filter_map(|slot| lock(&slot.reason).clone());
        reasons.next().unwrap_or_else(|| "no instance is ready".into())
    }

    /// Whether the instances can tell their state. It is their own program that says so: the revision's may have been
    /// unloaded while they came to live.
    pub(super) fn saves(&self) -> bool {
        self.program.hands_over().0
    }

    /// Keeps new calls waiting, lets those inside come to their end, and takes every instance's state. The calls that
    /// wait go on with [`Replicas::resume`] or [`Replicas::retire`].
    pub(super) async fn hand_over(&self) -> Result<States, String> {
        self.set(Stance::Paused);
        self.drain(self.program.time_limit() + self.settings.grace).await?;
        let mut states = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            // One that is not well can still tell what it knows.
            let saved = match slot.actor.load_full().filter(|actor| !actor.has_ended()) {
                Some(actor) => actor.save().await.map_err(|reason| format!("save: {reason}"))?,
                // One that failed leaves what its predecessor left.
                None => lock(&slot.state).as_ref().map(|state| state.to_vec()),
            };
            states.push(saved);
        }
        Ok(states)
    }

    /// Goes on after a hand-over that did not come about.
    pub(super) fn resume(&self) {
        self.set(Stance::Open);
    }

    /// Sends all further calls to the revision that came after, lets those inside come to their end, and stops the
    /// instances.
    pub(super) async fn retire(&self) {
        if self.set(Stance::Retired) == Stance::Retired {
            return;
        }
        if let Err(reason) = self.drain(self.settings.grace).await {
            self.log.host_line(&format!("revision {} is stopped although {reason}", self.revision));
        }
        let stops = self.slots.iter().filter_map(|slot| slot.actor.swap(None)).map(async |actor| {
            // Streams that are open are not among the calls inside.
            let stopped = async {
                actor.idle().await;
                actor.stop().await;
            };
            if tokio::time::timeout(self.settings.grace, stopped).await.is_err() {
                // Callers that still hold its streams would keep it for as long as they like.
                actor.abort();
                self.log.host_line("stop: the instance did not end in time and was dropped");
            }
        });
        futures::future::join_all(stops).await;
        self.log.host_line(&format!("revision {} stopped", self.revision));
    }

    /// Takes a stance, and gives the one before.
    fn set(&self, stance: Stance) -> Stance {
        let before = std::mem::replace(&mut *lock(&self.stance), stance);
        self.changed.notify_waiters();
        before
    }

    fn stance(&self) -> Stance {
        *lock(&self.stance)
    }

    async fn drain(&self, time: Duration) -> Result<(), String> {
        let deadline = Instant::now() + time;
        loop {
            let changed = self.changed.notified();
            let inside = self.inside.load(Ordering::Relaxed);
            if inside == 0 {
                return Ok(());
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(format!("{inside} calls still ran after {}", humantime::format_duration(time)));
            }
        }
    }

    /// Whether any instance takes calls.
    pub(super) fn is_ready(&self) -> bool {
        self.slots.iter().any(|slot| slot.ready().is_some())
    }

    /// Whether any instance takes calls, if that is news. Where none does because others are about to take their place,
    /// nothing has changed: calls wait.
    pub(super) fn readiness(&self) -> Option<bool> {
        let is_ill = |slot: &Arc<Slot>| slot.actor.load().as_ref().is_some_and(|actor| !actor.is_well());
        let is_ready = self.is_ready();
        (is_ready || self.slots.iter().any(is_ill)).then_some(is_ready).filter(|_| self.note(is_ready))
    }

    /// Notes what the runtime is told; false if it knew.
    pub(super) fn note(&self, is_ready: bool) -> bool {
        self.was_ready.swap(is_ready, Ordering::Relaxed) != is_ready
    }

    /// What is wrong with the instances.
    pub(super) fn problems(&self) -> Vec<String> {
        self.slots.iter().filter_map(|slot| lock(&slot.reason).clone()).collect()
    }

    /// How many take calls.
    pub(super) fn ready(&self) -> u32 {
        self.slots.iter().map(|slot| u32::from(slot.ready().is_some())).sum()
    }

    /// How often one took the place of another that ended.
    pub(super) fn restarts(&self) -> u64 {
        self.slots.iter().map(|slot| slot.restarts.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn status(&self) -> ReplicasStatus {
        ReplicasStatus {
            wanted: self.slots.len(),
            ready: self.ready() as usize,
            restarts: self.restarts(),
            problems: self.problems(),
        }
    }
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Replicas").field("revision", &self.revision).field("status", &self.status()).finish()
    }
}

impl Slot {
    /// The instance, if it takes calls.
    fn ready(&self) -> Option<Arc<Actor>> {
        let actor = self.actor.load_full()?;
        (actor.is_well() && !actor.has_ended()).then_some(actor)
    }
}

/// Counts a call as inside for as long as it is there.
struct Inside<'r>(&'r Replicas);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.0.inside.fetch_sub(1, Ordering::Relaxed) == 1 && self.0.stance() != Stance::Open {
            self.0.changed.notify_waiters();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
