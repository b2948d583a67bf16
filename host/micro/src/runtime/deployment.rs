//! A name with what runs under it now.

use super::bounds::Bounds;
use super::code::{InUse, Slot};
use super::deploy::at_once;
use super::errors;
use super::events::Notices;
use super::gate::Gate;
use super::logs::{DeploymentLog, RevisionLog};
use super::metrics::calls::CallCounts;
use super::replicas::{Replicas, Setting};
use super::sites::Takes;
use super::store::{RevisionRow, Store, interfaces};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use micro_engine::manifest::{HostLimits, Kind, Limits};
use micro_engine::{Inspection, LoadError, Manifest, Program, Usage};
use micro_mesh::call::{RequestId, random_below};
use micro_mesh::{Call, Error};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// A deployment: its name, its log, its counters, and the revisions that answer new calls.
#[derive(Debug)]
pub struct Deployment {
    /// The name that callers use.
    pub name: Arc<str>,
    /// What it wrote, and what the host says of it.
    pub log: Arc<DeploymentLog>,
    /// What its instances use, and how often its limits bit.
    pub usage: Arc<Usage>,
    pub(super) notices: Notices,
    current: ArcSwap<Revision>,
    canary: ArcSwapOption<Canary>,
    /// Made at its first call.
    counts: OnceLock<Box<CallCounts>>,
    failure: Mutex<Option<String>>,
}

/// A revision that gets a share of the calls beside the current one.
#[derive(Debug)]
pub struct Canary {
    /// What is tried.
    pub revision: Arc<Revision>,
    /// Its share of the calls.
    pub percent: f64,
}

/// One deployed component of a deployment. Calls that began on it end on it, whatever is current by then.
#[derive(Debug)]
pub struct Revision {
    /// Counted up from 1 within the deployment.
    pub number: u64,
    /// As callers see it.
    pub version: String,
    /// Of the component.
    pub digest: String,
    /// Of the component, in bytes.
    pub size: u64,
    /// What the component's manifest says, or the defaults.
    pub manifest: Arc<Manifest>,
    /// What binds it.
    pub limits: Limits,
    pub(super) deployed_at: i64,
    pub(super) gate: Gate,
    pub(super) stats: RevisionStats,
    watch: Mutex<Option<Watch>>,
    is_watched: AtomicBool,
    is_retired: AtomicBool,
    pub(super) code: Slot,
    replicas: OnceCell<Arc<Replicas>>,
    pub(super) takes: Takes,
}

/// The counts of one revision since the host started, with a line of the processor's cache for themselves.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct RevisionStats {
    pub(super) calls: AtomicU64,
    pub(super) errors: AtomicU64,
    /// Errors that are not the caller's: code 500 and above.
    pub(super) faults: AtomicU64,
}

/// How long and by what a new revision is watched.
#[derive(Debug, Clone, Copy)]
struct Watch {
    until: Option<Instant>,
    calls_before: u64,
    faults_before: u64,
}

impl Deployment {
    /// A deployment whose revision is known and not loaded.
    pub(super) fn restored(log: Arc<DeploymentLog>, row: RevisionRow, bounds: &Bounds, notices: Notices) -> Deployment {
        let revision = Arc::new(Revision::restored(row, &bounds.limits));
        Deployment::new(log, Arc::new(bounds.usage()), revision, notices)
    }

    pub(super) fn new(
        log: Arc<DeploymentLog>,
        usage: Arc<Usage>,
        revision: Arc<Revision>,
        notices: Notices,
    ) -> Deployment {
        log.set_revision(revision.number);
        log.set_rate(revision.limits.log);
        Deployment {
            name: log.deployment().clone(),
            log,
            usage,
            notices,
            current: ArcSwap::new(revision),
            canary: ArcSwapOption::empty(),
            counts: OnceLock::new(),
            failure: Mutex::default(),
        }
    }

    /// The revision that answers new calls, all of them or those that a canary leaves.
    pub fn current(&self) -> Arc<Revision> {
        self.current.load_full()
    }

    /// The revision that is tried.
    pub fn canary(&self) -> Option<Arc<Canary>> {
        self.canary.load_full()
    }

    /// The revision for a call: by the version that it asks for, or else by chance. It is not counted as held once
    /// more: every call of every thread would write to that counter.
    pub(super) fn choose(&self, call: &Call) -> Guard<Arc<Revision>> {
        self.choose_by(call.version.as_deref())
    }

    /// The same for a request that is no call.
    pub(super) fn choose_by(&self, version: Option<&str>) -> Guard<Arc<Revision>> {
        let canary = self.canary.load();
        let Some(canary) = &*canary else { return self.current.load() };
        let is_for_canary = match version {
            Some(version) => canary.revision.version == version && self.current.load().version != version,
            None => (random_below(10_000) as f64) < canary.percent * 100.0,
        };
        if is_for_canary { Guard::from_inner(canary.revision.clone()) } else { self.current.load() }
    }

    /// Lets `revision` answer all calls from now on, and gives the one that did before.
    pub(super) fn switch(&self, revision: Arc<Revision>) -> Arc<Revision> {
        self.log.set_revision(revision.number);
        self.log.set_rate(revision.limits.log);
        self.set_failure(None);
        let before = self.current.swap(revision);
        self.canary.store(None);
        before
    }

    /// Lets `canary` answer its share of the calls, and gives the one that did before.
    pub(super) fn set_canary(&self, canary: Option<Canary>) -> Option<Arc<Canary>> {
        self.canary.swap(canary.map(Arc::new))
    }

    /// The counts of its calls, from its first one on.
    pub(super) fn counts(&self) -> Option<&CallCounts> {
        self.counts.get().map(|counts| &**counts)
    }

    /// The same for a call that begins: this may be the first.
    pub(super) fn counts_for_call(&self) -> &CallCounts {
        self.counts.get_or_init(Box::default)
    }

    /// How the current revision takes HTTP requests.
    pub(super) fn takes(&self) -> Takes {
        self.current.load().takes
    }

    /// Counts the end of a call for the revision that it went to.
    pub(super) fn count(&self, revision: &Revision, error: Option<u16>) {
        revision.stats.calls.fetch_add(1, Ordering::Relaxed);
        let Some(code) = error else { return };
        revision.stats.errors.fetch_add(1, Ordering::Relaxed);
        if code < 500 {
            return;
        }
        revision.stats.faults.fetch_add(1, Ordering::Relaxed);
        if revision.is_watched.load(Ordering::Relaxed)
            && let Some(detail) = revision.too_many_faults()
        {
            self.notices.errors(revision.number, detail);
        }
    }

    /// Calls since the host started.
    pub fn calls(&self) -> u64 {
        self.counts().map_or(0, CallCounts::calls)
    }

    /// How many of them failed.
    pub fn errors(&self) -> u64 {
        self.counts().map_or(0, CallCounts::errors)
    }

    /// Why the deployment cannot serve, if it cannot.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has failed in a way that no call mends: its instances were given up. Code that could not be loaded is
    /// loaded by the next call, if the reason has passed.
    pub(super) fn is_given_up(&self) -> bool {
        self.failure().is_some() && self.current.load().replicas().is_some_and(|replicas| !replicas.is_ready())
    }

    /// Notes why the current revision cannot serve. What is wrong with another is no failure of the deployment.
    pub(super) fn fail(&self, revision: &Revision, reason: String) {
        if self.current.load().number == revision.number {
            self.set_failure(Some(reason));
        }
    }

    /// Forgets why the current revision could not serve, now that it can.
    pub(super) fn recover(&self, revision: &Revision) {
        if self.current.load().number == revision.number {
            self.set_failure(None);
        }
    }

    pub(super) fn set_failure(&self, reason: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

impl Revision {
    /// A revision that is not loaded. What it asks for beyond what the host gives now, it does not get.
    pub(super) fn restored(row: RevisionRow, host: &HostLimits) -> Revision {
        let limits = row.manifest.limits.within(host);
        Revision {
            number: row.number,
            version: row.version,
            digest: row.digest,
            size: row.size,
            gate: Gate::new(&limits),
            limits,
            manifest: row.manifest,
            deployed_at: row.deployed_at,
            stats: RevisionStats::default(),
            watch: Mutex::default(),
            is_watched: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            code: Slot::default(),
            replicas: OnceCell::new(),
            takes: row.takes,
        }
    }

    /// A revision whose component is loaded already, and whose instances live if it is a service.
    pub(super) fn loaded(
        row: RevisionRow,
        host: &HostLimits,
        program: Arc<Program>,
        replicas: Option<Arc<Replicas>>,
    ) -> Revision {
        let mut revision = Revision::restored(row, host);
        revision.code = Slot::with(program);
        revision.replicas = OnceCell::new_with(replicas);
        revision
    }

    /// Until then, or for as long as it is a canary, what goes wrong is put down to its deploy; its faults are counted
    /// if `by_faults`.
    pub(super) fn watch(&self, until: Option<Instant>, by_faults: bool) {
        let watch = Watch {
            until,
            calls_before: self.stats.calls.load(Ordering::Relaxed),
            faults_before: self.stats.faults.load(Ordering::Relaxed),
        };
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        self.is_watched.store(by_faults, Ordering::Relaxed);
    }

    /// Whether it was deployed so lately that what goes wrong now is put down to that.
    pub(super) fn is_fresh(&self) -> bool {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.is_some_and(|watch| watch.until.is_none_or(|until| Instant::now() < until))
    }

    /// What is wrong with its faults, told once.
    fn too_many_faults(&self) -> Option<String> {
        let rollout = &self.manifest.rollout;
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let Watch { until, calls_before, faults_before } = (*watch)?;
        if until.is_some_and(|until| Instant::now() >= until) {
            self.is_watched.store(false, Ordering::Relaxed);
            return None;
        }
        let calls = self.stats.calls.load(Ordering::Relaxed) - calls_before;
        let faults = self.stats.faults.load(Ordering::Relaxed) - faults_before;
        let percent = faults as f64 * 100.0 / calls.max(1) as f64;
        if calls < rollout.min_calls || percent <= rollout.max_errors {
            return None;
        }
        let is_news = self.is_watched.swap(false, Ordering::Relaxed);
        is_news
            .then(|| format!("{faults} of {calls} calls failed ({percent:.1} %, at most {} % may)", rollout.max_errors))
    }

    /// Whether the component is in memory.
    pub fn is_loaded(&self) -> bool {
        self.code.look().is_some()
    }

    /// Whether its instances live on.
    pub fn is_service(&self) -> bool {
        self.manifest.kind == Kind::Service
    }

    /// The program, if it is loaded.
    pub(super) fn program(&self) -> Option<Arc<Program>> {
        self.code.look()
    }

    /// What its instances write to.
    fn log(&self, deployment: &Deployment) -> RevisionLog {
        RevisionLog::new(deployment.log.clone(), self.number, self.limits.log)
    }

    /// Stops its instances, now or as soon as they come to live, while nobody waits for it.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
        if let Some(replicas) = self.replicas.get().cloned() {
            tokio::spawn(async move { replicas.retire().await });
        }
    }

    /// The live instances, if there are any.
    pub(super) fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.replicas.get()
    }

    /// Calls that run, and calls that wait.
    pub fn load(&self) -> (u32, u32) {
        (self.gate.running(), self.gate.waiting())
    }
}

impl super::Runtime {
    /// What inspection found in the revision's component. It is read whenever it is asked for: calls do not need it, and
    /// it would be the largest part of a deployment that nobody calls.
    pub(super) async fn inspection(&self, deployment: &Deployment, revision: &Revision) -> anyhow::Result<Inspection> {
        self.stored_inspection(&deployment.name, revision.number).await
    }

    /// The revision's program, loaded at the first call and after it was unloaded.
    pub(super) async fn program(
        &self,
        deployment: &Deployment,
        revision: &Arc<Revision>,
        request: RequestId,
    ) -> Result<InUse, Error> {
        let program = revision.code.enter(self.code.epoch());
        if program.is_some() {
            return Ok(program);
        }
        // Boxed, or its room would be kept on every call's way.
        Box::pin(self.load_program(deployment, revision, request)).await
    }

    /// The same for those who keep it for long, or elsewhere.
    pub(super) async fn kept_program(
        &self,
        deployment: &Deployment,
        revision: &Arc<Revision>,
        request: RequestId,
    ) -> Result<Arc<Program>, Error> {
        let program = Guard::into_inner(self.program(deployment, revision, request).await?);
        program.ok_or_else(|| errors::no_instance(&deployment.name, "its code was unloaded"))
    }

    async fn load_program(
        &self,
        deployment: &Deployment,
        revision: &Arc<Revision>,
        request: RequestId,
    ) -> Result<InUse, Error> {
        let _loading = revision.code.loading().await;
        let program = revision.code.enter(self.code.epoch());
        if program.is_some() {
            return Ok(program);
        }
        match self.load_stored(deployment, revision).await {
            Ok(program) => {
                revision.code.put(program.clone());
                self.code.note(revision);
                // A reason that has passed, as a full disk has.
                deployment.recover(revision);
                Ok(Guard::from_inner(Some(program)))
            }
            Err(error) => {
                deployment.fail(revision, error.to_string());
                Err(errors::load_error(&deployment.name, request, &error))
            }
        }
    }

    /// Reads what inspection found and loads the code: at once, unless there is something to compile or to find.
    async fn load_stored(&self, deployment: &Deployment, revision: &Revision) -> Result<Arc<Program>, LoadError> {
        let access =
            self.access(&revision.manifest, HashMap::new(), revision.log(deployment), deployment.usage.clone()).await?;
        let (readers, engines, components) = (self.readers.clone(), self.engines.clone(), self.components.clone());
        let (name, number, limits) = (deployment.name.clone(), revision.number, revision.limits);
        let load = move || -> anyhow::Result<Result<Arc<Program>, Inspection>> {
            let found = readers.read(|connection| interfaces::inspection(connection, &name, number))?;
            let inspection = found.ok_or_else(|| not_stored(&name, number))?;
            if !inspection.needs.is_empty() || !engines.is_at_hand(inspection.engine, &inspection.digest) {
                return Ok(Err(inspection));
            }
            let bytes = || components.read(&inspection.digest);
            Ok(Ok(Arc::new(Program::load(&engines, &inspection, &limits, Arc::new(access), bytes)?)))
        };
        let loaded = at_once(load).map_err(|error| match error.downcast::<LoadError>() {
            Ok(error) => error,
            Err(error) => LoadError::Host(format!("{error:#}")),
        });
        match loaded? {
            Ok(program) => Ok(program),
            Err(inspection) => {
                let (log, usage) = (revision.log(deployment), deployment.usage.clone());
                self.load(Arc::new(inspection), &revision.manifest, log, usage).await
            }
        }
    }

    /// The revision's live instances. After a start of the host they come to live here, from what was saved last.
    pub(super) async fn replicas<'r>(
        &self,
        deployment: &Deployment,
        revision: &'r Arc<Revision>,
        request: RequestId,
    ) -> Result<&'r Arc<Replicas>, Error> {
        if let Some(replicas) = revision.replicas.get() {
            return Ok(replicas);
        }
        let program = self.kept_program(deployment, revision, request).await?;
        let restored = revision.replicas.get_or_try_init(async || {
            let name = deployment.name.to_string();
            let states = self.with_store(move |store: &mut Store| store.states(&name)).await?;
            anyhow::Ok(Replicas::restore(setting(deployment, revision, program), &states))
        });
        let replicas = restored.await.map_err(|error| {
            let error = LoadError::Host(format!("{error:#}"));
            errors::load_error(&deployment.name, request, &error)
        })?;
        if revision.is_retired.load(Ordering::SeqCst) {
            revision.retire();
        }
        Ok(replicas)
    }
}

/// The error of a revision that the database should hold.
pub(super) fn not_stored(name: &str, number: u64) -> anyhow::Error {
    anyhow::anyhow!("revision {number} of {name} is not in the database")
}

/// What instances of a revision need.
fn setting(deployment: &Deployment, revision: &Revision, program: Arc<Program>) -> Setting {
    Setting {
        program,
        settings: revision.manifest.service.clone(),
        log: deployment.log.clone(),
        notices: deployment.notices.clone(),
        revision: revision.number,
    }
}
