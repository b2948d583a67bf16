//! A name with what runs under it now.

use super::errors;
use super::gate::Gate;
use super::logs::DeploymentLog;
use super::store::RevisionRow;
use arc_swap::ArcSwap;
use micro_engine::{Function, Inspection, LoadError, Manifest};
use micro_mesh::Error;
use micro_mesh::call::RequestId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// A deployment: its name, its log, its counters, and the revision that answers new calls.
#[derive(Debug)]
pub struct Deployment {
    /// The name that callers use.
    pub name: Arc<str>,
    /// What it wrote, and what the host says of it.
    pub log: Arc<DeploymentLog>,
    current: ArcSwap<Revision>,
    calls: AtomicU64,
    errors: AtomicU64,
    failure: Mutex<Option<String>>,
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
    function: OnceCell<Arc<Function>>,
    inspection: OnceCell<Arc<Inspection>>,
}

impl Deployment {
    /// A deployment whose revision is known and not loaded.
    pub(super) fn restored(row: RevisionRow) -> Deployment {
        let log = Arc::new(DeploymentLog::new(row.deployment.as_str().into()));
        Deployment::new(log, Revision::restored(row))
    }

    pub(super) fn new(log: Arc<DeploymentLog>, revision: Revision) -> Deployment {
        log.set_revision(revision.number);
        Deployment {
            name: log.deployment().clone(),
            log,
            current: ArcSwap::from_pointee(revision),
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// The revision that answers new calls.
    pub fn current(&self) -> Arc<Revision> {
        self.current.load_full()
    }

    /// Lets `revision` answer all calls from now on.
    pub(super) fn switch(&self, revision: Arc<Revision>) {
        self.log.set_revision(revision.number);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.current.store(revision);
    }

    pub(super) fn count(&self, is_error: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if is_error {
            self.errors.fetch_add(1, Ordering::Relaxed);
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

    fn fail(&self, error: &LoadError) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

impl Revision {
    fn restored(row: RevisionRow) -> Revision {
        Revision {
            number: row.number,
            version: row.version,
            digest: row.digest,
            size: row.size,
            gate: Gate::new(&row.manifest.limits),
            manifest: row.manifest,
            deployed_at: row.deployed_at,
            function: OnceCell::new(),
            inspection: OnceCell::new(),
        }
    }

    /// A revision whose component is loaded already.
    pub(super) fn loaded(row: RevisionRow, inspection: Arc<Inspection>, function: Arc<Function>) -> Revision {
        let mut revision = Revision::restored(row);
        revision.function = OnceCell::new_with(Some(function));
        revision.inspection = OnceCell::new_with(Some(inspection));
        revision
    }

    /// Whether the component is in memory.
    pub fn is_loaded(&self) -> bool {
        self.function.initialized()
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
    pub(super) async fn function(
        &self,
        deployment: &Deployment,
        revision: &Revision,
        request: RequestId,
    ) -> Result<Arc<Function>, Error> {
        if let Some(function) = revision.function.get() {
            return Ok(function.clone());
        }
        let loaded = revision.function.get_or_try_init(async || {
            let inspection = self.inspection(deployment, revision).await;
            let inspection = inspection.map_err(|error| LoadError::Host(format!("{error:#}")))?;
            let limits = revision.manifest.limits.clone();
            self.load(inspection, limits, deployment.log.clone()).await
        });
        let loaded = loaded.await.inspect_err(|error| deployment.fail(error));
        loaded.cloned().map_err(|error| errors::load_error(&deployment.name, request, &error))
    }
}
