//! Changes: deploy, roll back, remove. Each is checked, then written down, then made true for new calls.

use super::deployment::{Deployment, Revision};
use super::logs::DeploymentLog;
use super::status::{self, DeploymentStatus, RevisionStatus};
use super::store::{NewRevision, RevisionRow};
use super::{Routes, Runtime};
use bytes::Bytes;
use micro_engine::manifest::{Limits, check_name};
use micro_engine::{Function, Inspection, LoadError, Manifest};
use std::sync::Arc;

/// The version of a revision that names none.
const DEFAULT_VERSION: &str = "latest";

/// Why a change was not made. Whatever ran before still runs.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The request itself is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// The component cannot be served here; the text is for the person who deploys.
    #[error("{0}")]
    Refused(String),
    /// There is no such deployment or revision.
    #[error("{0}")]
    NotFound(String),
    /// The host could not do its part.
    #[error("{0:#}")]
    Host(#[from] anyhow::Error),
}

impl From<LoadError> for DeployError {
    fn from(error: LoadError) -> DeployError {
        match error {
            LoadError::Refused(_) | LoadError::Start(_) => DeployError::Refused(error.to_string()),
            LoadError::Host(reason) => DeployError::Host(anyhow::anyhow!(reason)),
        }
    }
}

/// A deploy that went well.
#[derive(Debug)]
pub struct Deployed {
    /// What runs now.
    pub status: DeploymentStatus,
    /// Whether that is something else than before.
    pub changed: bool,
}

/// A component that passed all checks.
struct Checked {
    inspection: Arc<Inspection>,
    manifest: Manifest,
    function: Arc<Function>,
    log: Arc<DeploymentLog>,
}

impl Runtime {
    /// Makes `component` the current revision of `name`: inspected, compiled, linked, instantiated once as a check,
    /// written to disk, and only then given the calls. `version` goes before the manifest's.
    pub async fn deploy(&self, name: &str, version: Option<String>, component: Bytes) -> Result<Deployed, DeployError> {
        check_name(name).map_err(|reason| DeployError::BadRequest(format!("name {name:?}: {reason}")))?;
        let _change = self.change(name).await;
        let outcome = self.try_deploy(name, version, component).await;
        if let Err(error) = &outcome {
            self.events.tell("refused", name, None, error.to_string());
            if let Some(deployment) = self.deployment(name) {
                deployment.log.host_line(&format!("deploy refused: {error}"));
            }
        }
        outcome
    }

    async fn try_deploy(&self, name: &str, version: Option<String>, component: Bytes) -> Result<Deployed, DeployError> {
        let deployment = self.deployment(name);
        let inspection = {
            let (name, component) = (name.to_string(), component.clone());
            blocking(move || micro_engine::inspect(&component, Some(&name))).await??
        };
        let manifest = inspection.manifest.clone().unwrap_or_default();
        let version = version.or_else(|| manifest.version.clone()).unwrap_or_else(|| DEFAULT_VERSION.into());
        if let Some(deployment) = &deployment
            && deployment.failure().is_none()
        {
            let current = deployment.current();
            if current.digest == inspection.digest && current.version == version {
                return Ok(Deployed { status: self.status(deployment).await?, changed: false });
            }
        }
        let checked =
            self.check(name, deployment.as_deref(), Arc::new(inspection), manifest, component.clone()).await?;
        let row = self.write_down(name, version, &checked, component).await?;
        let number = row.number;
        let deployment = self.switch(deployment, row, checked).await?;
        self.events.tell("deployed", name, Some(number), format!("version {}", deployment.current().version));
        Ok(Deployed { status: self.status(&deployment).await?, changed: true })
    }

    /// Goes back to a kept revision: the one given, or the one before the current.
    pub async fn roll_back(&self, name: &str, number: Option<u64>) -> Result<DeploymentStatus, DeployError> {
        let _change = self.change(name).await;
        let deployment = self.existing(name)?;
        let current = deployment.current().number;
        let rows = self.revision_rows(name).await?;
        let wanted = match number {
            Some(number) => rows.into_iter().find(|row| row.number == number),
            None => rows.into_iter().find(|row| row.number < current),
        };
        let row = wanted.ok_or_else(|| match number {
            Some(number) => DeployError::NotFound(format!("{name} keeps no revision {number}")),
            None => DeployError::NotFound(format!("{name} keeps no revision before {current}")),
        })?;
        let number = row.number;
        let inspection = self.stored_inspection(name, number).await?;
        let component = {
            let (components, digest) = (self.components.clone(), row.digest.clone());
            let read = blocking(move || components.read(&digest)).await?;
            Bytes::from(read.map_err(|error| anyhow::anyhow!("read component {}: {error}", row.digest))?)
        };
        let manifest = row.manifest.clone();
        let checked = self.check(name, Some(&deployment), Arc::new(inspection), manifest, component).await?;
        let owned = name.to_string();
        self.with_store(move |store| store.set_current(&owned, number)).await?;
        let deployment = self.switch(Some(deployment), row, checked).await?;
        self.events.tell("rolled-back", name, Some(number), format!("from revision {current}"));
        self.status(&deployment).await
    }

    /// Removes a deployment with all its revisions. Calls that began come to their end.
    pub async fn remove(&self, name: &str) -> Result<DeploymentStatus, DeployError> {
        let _change = self.change(name).await;
        let deployment = self.existing(name)?;
        let status = self.status(&deployment).await?;
        let owned = name.to_string();
        let storage = self.storage.lock().await;
        let unused = self.with_store(move |store| store.remove(&owned)).await?;
        self.forget(unused).await?;
        drop(storage);
        self.routes.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            routes.remove(name);
            routes
        });
        self.deregister(name).await?;
        self.events.tell("removed", name, Some(deployment.current().number), "");
        Ok(status)
    }

    /// One deployment as the admin API shows it.
    pub async fn status(&self, deployment: &Deployment) -> Result<DeploymentStatus, DeployError> {
        let revision = deployment.current();
        let inspection = self.inspection(deployment, &revision).await?;
        Ok(DeploymentStatus::new(deployment, &revision, &inspection))
    }

    /// The schema of the current revision.
    pub async fn current_inspection(&self, deployment: &Deployment) -> Result<Arc<Inspection>, DeployError> {
        Ok(self.inspection(deployment, &deployment.current()).await?)
    }

    /// The kept revisions of a deployment, newest first.
    pub async fn revisions(&self, name: &str) -> Result<Vec<RevisionStatus>, DeployError> {
        let current = self.existing(name)?.current().number;
        let rows = self.revision_rows(name).await?;
        Ok(rows.into_iter().map(|row| RevisionStatus::new(row, current)).collect())
    }

    /// The deployment called `name`, or the error that says there is none.
    pub fn existing(&self, name: &str) -> Result<Arc<Deployment>, DeployError> {
        self.deployment(name).ok_or_else(|| DeployError::NotFound(format!("deployment {name}: not found")))
    }

    /// Compiles or finds a component in the cache, and links it.
    pub(super) async fn load(
        &self,
        inspection: Arc<Inspection>,
        limits: Limits,
        log: Arc<DeploymentLog>,
    ) -> Result<Arc<Function>, LoadError> {
        let (engines, components) = (self.engines.clone(), self.components.clone());
        let load = move || {
            let bytes = || components.read(&inspection.digest);
            Function::load(&engines, &inspection, &limits, log, bytes).map(Arc::new)
        };
        blocking(load).await.map_err(|error| LoadError::Host(format!("{error:#}")))?
    }

    async fn check(
        &self,
        name: &str,
        deployment: Option<&Deployment>,
        inspection: Arc<Inspection>,
        manifest: Manifest,
        component: Bytes,
    ) -> Result<Checked, DeployError> {
        let log = match deployment {
            Some(deployment) => deployment.log.clone(),
            None => Arc::new(DeploymentLog::new(name.into())),
        };
        let function = {
            let (engines, inspection) = (self.engines.clone(), inspection.clone());
            let (limits, log) = (manifest.limits.clone(), log.clone());
            let bytes = move || Ok(component.to_vec());
            blocking(move || Function::load(&engines, &inspection, &limits, log, bytes)).await??
        };
        function.check_start().await?;
        Ok(Checked { inspection, manifest, function: Arc::new(function), log })
    }

    /// Puts the component into the folder and the revision into the database. After this it survives anything.
    async fn write_down(
        &self,
        name: &str,
        version: String,
        checked: &Checked,
        component: Bytes,
    ) -> Result<RevisionRow, DeployError> {
        let _storage = self.storage.lock().await;
        let (components, digest) = (self.components.clone(), checked.inspection.digest.clone());
        let written = blocking(move || components.put(&digest, &component)).await?;
        written.map_err(|error| anyhow::anyhow!("write component {}: {error}", checked.inspection.digest))?;
        let new = NewRevision {
            deployment: name.to_string(),
            version,
            inspection: Inspection::clone(&checked.inspection),
            manifest: checked.manifest.clone(),
            deployed_at: status::now(),
        };
        let (row, unused) = self
            .with_store(move |store| {
                let (number, unused) = store.add_revision(&new)?;
                let row = RevisionRow {
                    deployment: new.deployment,
                    number,
                    version: new.version,
                    digest: new.inspection.digest,
                    size: new.inspection.size as u64,
                    manifest: new.manifest,
                    deployed_at: new.deployed_at,
                };
                Ok((row, unused))
            })
            .await?;
        self.forget(unused).await?;
        Ok(row)
    }

    /// Gives new calls to the checked revision, and tells the registry.
    async fn switch(
        &self,
        deployment: Option<Arc<Deployment>>,
        row: RevisionRow,
        checked: Checked,
    ) -> Result<Arc<Deployment>, DeployError> {
        let inspection = checked.inspection.clone();
        let deployment = match deployment {
            Some(deployment) => {
                deployment.switch(Arc::new(Revision::loaded(row, checked.inspection, checked.function)));
                deployment
            }
            None => {
                let revision = Revision::loaded(row, checked.inspection, checked.function);
                let deployment = Arc::new(Deployment::new(checked.log, revision));
                self.routes.rcu(|routes| {
                    let mut routes = Routes::clone(routes);
                    routes.insert(deployment.name.clone(), deployment.clone());
                    routes
                });
                deployment
            }
        };
        self.register(&deployment, &inspection).await?;
        Ok(deployment)
    }

    /// Removes components and compiled code that no revision needs.
    async fn forget(&self, digests: Vec<String>) -> Result<(), DeployError> {
        if digests.is_empty() {
            return Ok(());
        }
        let (engines, components) = (self.engines.clone(), self.components.clone());
        let remove = move || {
            for digest in digests {
                components.remove(&digest);
                engines.forget(&digest);
            }
        };
        Ok(blocking(remove).await?)
    }

    async fn revision_rows(&self, name: &str) -> anyhow::Result<Vec<RevisionRow>> {
        let name = name.to_string();
        self.with_store(move |store| store.revisions(&name)).await
    }

    async fn stored_inspection(&self, name: &str, number: u64) -> anyhow::Result<Inspection> {
        let owned = name.to_string();
        let found = self.with_store(move |store| store.inspection(&owned, number)).await?;
        found.ok_or_else(|| anyhow::anyhow!("revision {number} of {name} is not in the database"))
    }

    /// Waits until no other change of `name` is under way, and keeps others out until the guard is dropped.
    async fn change(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut changes = self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Names that nobody changes any more need no lock.
            changes.retain(|_, lock| Arc::strong_count(lock) > 1);
            changes.entry(name.to_string()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Runs work that blocks or computes for long on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
