//! A name with what runs under it now.

use super::errors;
use super::events::Notices;
use super::gate::Gate;
use super::logs::DeploymentLog;
use super::replicas::{Replicas, Setting};
use super::store::{RevisionRow, Store};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use micro_engine::manifest::Kind;
use micro_engine::{Inspection, LoadError, Manifest, Program};
use micro_mesh::call::{RequestId, random_below};
use micro_mesh::{Call, Error};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// A deployment: its name, its log, its counters, and the revisions that answer new calls.
#[derive(Debug)]
pub struct Deployment {
    /// The name that callers use.
    pub name: Arc<str>,
    /// What it wrote, and what the host says of it.
    pub log: Arc<DeploymentLog>,
    pub(super) notices: Notices,
    current: ArcSwap<Revision>,
    canary: ArcSwapOption<Canary>,
    calls: AtomicU64,
    errors: AtomicU64,
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
    pub manifest: Manifest,
    pub(super) deployed_at: i64,
    pub(super) gate: Gate,
    pub(super) stats: RevisionStats,
    watch: Mutex<Option<Watch>>,
    is_watched: AtomicBool,
    is_retired: AtomicBool,
    program: OnceCell<Arc<Program>>,
    replicas: OnceCell<Arc<Replicas>>,
    inspection: OnceCell<Arc<Inspection>>,
}

/// The counts of one revision since the host started.
#[derive(Debug, Default)]
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
    pub(super) fn restored(row: RevisionRow, notices: Notices) -> Deployment {
        let log = Arc::new(DeploymentLog::new(row.deployment.as_str().into()));
        Deployment::new(log, Arc::new(Revision::restored(row)), notices)
    }

    pub(super) fn new(log: Arc<DeploymentLog>, revision: Arc<Revision>, notices: Notices) -> Deployment {
        log.set_revision(revision.number);
        Deployment {
            name: log.deployment().clone(),
            log,
            notices,
            current: ArcSwap::new(revision),
            canary: ArcSwapOption::empty(),
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// The revision that answers new calls, all of them or those that a canary leaves.
    pub fn current(&self) -> Arc<Revision> {
        self.current.load_full()
    }

    /// Looks at what inspection found in the current revision, if it has been read by now.
    pub(super) fn with_inspection<T>(&self, look: impl FnOnce(&Inspection) -> T) -> Option<T> {
        self.current.load().inspection.get().map(|inspection| look(inspection))
    }

    /// The revision that is tried.
    pub fn canary(&self) -> Option<Arc<Canary>> {
        self.canary.load_full()
    }

    /// The revision for a call: by the version that it asks for, or else by chance. It is not counted as held once
    /// more: every call of every thread would write to that counter.
    pub(super) fn choose(&self, call: &Call) -> Guard<Arc<Revision>> {
        let canary = self.canary.load();
        let Some(canary) = &*canary else { return self.current.load() };
        let is_for_canary = match &call.version {
            Some(version) => *canary.revision.version == **version && self.current.load().version != **version,
            None => (random_below(10_000) as f64) < canary.percent * 100.0,
        };
        if is_for_canary { Guard::from_inner(canary.revision.clone()) } else { self.current.load() }
    }

    /// Lets `revision` answer all calls from now on, and gives the one that did before.
    pub(super) fn switch(&self, revision: Arc<Revision>) -> Arc<Revision> {
        self.log.set_revision(revision.number);
        self.set_failure(None);
        let before = self.current.swap(revision);
        self.canary.store(None);
        before
    }

    /// Lets `canary` answer its share of the calls, and gives the one that did before.
    pub(super) fn set_canary(&self, canary: Option<Canary>) -> Option<Arc<Canary>> {
        self.canary.swap(canary.map(Arc::new))
    }

    pub(super) fn count(&self, revision: &Revision, error: Option<u16>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        revision.stats.calls.fetch_add(1, Ordering::Relaxed);
        let Some(code) = error else { return };
        self.errors.fetch_add(1, Ordering::Relaxed);
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
        self.calls.load(Ordering::Relaxed)
    }

    /// How many of them failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Why the deployment cannot serve, if it cannot.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    pub(super) fn restored(row: RevisionRow) -> Revision {
        Revision {
            number: row.number,
            version: row.version,
            digest: row.digest,
            size: row.size,
            gate: Gate::new(&row.manifest.limits),
            manifest: row.manifest,
            deployed_at: row.deployed_at,
            stats: RevisionStats::default(),
            watch: Mutex::default(),
            is_watched: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            program: OnceCell::new(),
            replicas: OnceCell::new(),
            inspection: OnceCell::new(),
        }
    }

    /// A revision whose component is loaded already, and whose instances live if it is a service.
    pub(super) fn loaded(
        row: RevisionRow,
        inspection: Arc<Inspection>,
        program: Arc<Program>,
        replicas: Option<Arc<Replicas>>,
    ) -> Revision {
        let mut revision = Revision::restored(row);
        revision.program = OnceCell::new_with(Some(program));
        revision.replicas = OnceCell::new_with(replicas);
        revision.inspection = OnceCell::new_with(Some(inspection));
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
        self.program.initialized()
    }

    /// Whether its instances live on.
    pub fn is_service(&self) -> bool {
        self.manifest.kind == Kind::Service
    }

    /// The program, if it is loaded.
    pub(super) fn program(&self) -> Option<&Arc<Program>> {
        self.program.get()
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
    /// What inspection found in the revision's component, read from the database once.
    pub(super) async fn inspection(
        &self,
        deployment: &Deployment,
        revision: &Revision,
    ) -> anyhow::Result<Arc<Inspection>> {
        let read = async || {
            let (name, number) = (deployment.name.to_string(), revision.number);
            let found = self.with_store(move |store| store.inspection(&name, number)).await?;
            let found =
                found.ok_or_else(|| anyhow::anyhow!("revision {number} of {} is not in the database", deployment.name));
            anyhow::Ok(Arc::new(found?))
        };
        revision.inspection.get_or_try_init(read).await.cloned()
    }

    /// The revision's component, loaded at the first call.
    pub(super) async fn program<'r>(
        &self,
        deployment: &Deployment,
        revision: &'r Revision,
        request: RequestId,
    ) -> Result<&'r Arc<Program>, Error> {
        if let Some(program) = revision.program.get() {
            return Ok(program);
        }
        let loaded = revision.program.get_or_try_init(async || {
            let inspection = self.inspection(deployment, revision).await;
            let inspection = inspection.map_err(|error| LoadError::Host(format!("{error:#}")))?;
            self.load(inspection, &revision.manifest, deployment.log.clone()).await
        });
        match &loaded.await {
            Ok(program) => {
                // A reason that has passed, as a full disk has.
                deployment.recover(revision);
                Ok(program)
            }
            Err(error) => {
                deployment.fail(revision, error.to_string());
                Err(errors::load_error(&deployment.name, request, error))
            }
        }
    }

    /// The revision's live instances. After a start of the host they come to live here, from what was saved last.
    pub(super) async fn replicas<'r>(
        &self,
        deployment: &Deployment,
        revision: &'r Revision,
        request: RequestId,
    ) -> Result<&'r Arc<Replicas>, Error> {
        if let Some(replicas) = revision.replicas.get() {
            return Ok(replicas);
        }
        let program = self.program(deployment, revision, request).await?.clone();
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
