//! Changes: deploy, promote, roll back, remove. Each is checked, then written down, then made true for new calls.

use super::deployment::{Canary, Deployment, Revision, not_stored};
use super::events::Notices;
use super::handover::Begun;
use super::logs::{DeploymentLog, RevisionLog};
use super::refuse::{check_grants, check_kind, check_routes};
use super::replicas::States;
use super::schedule::check_schedules;
use super::sites::Takes;
use super::status::{self, DeploymentStatus};
use super::store::{NewRevision, Readers, RevisionRow, interfaces};
use super::subscriptions::check_subscriptions;
use super::{Runtime, grant};
use bytes::Bytes;
use micro_engine::manifest::{Allow, AskedLimits, Kind, check_name};
use micro_engine::{Access, Inspection, LoadError, Manifest, Program, Usage};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

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

/// How a component is deployed. What is not said here, its manifest says.
#[derive(Debug, Default)]
pub struct DeployOptions {
    /// The version that callers see.
    pub version: Option<String>,
    /// The share of the calls, in percent, that the revision gets beside the current one.
    pub canary: Option<f64>,
    /// Deploy although deployments that import from this one break.
    pub force: bool,
    /// Command line arguments of the guest, in place of the manifest's.
    pub args: Option<Vec<String>>,
    /// Environment variables of the guest, added to the manifest's.
    pub env: BTreeMap<String, String>,
    /// Limits, in place of the manifest's.
    pub limits: AskedLimits,
    /// What the guest reads by `wasi:config`, added to the manifest's.
    pub config: BTreeMap<String, String>,
    /// What it may reach, added to the manifest's.
    pub allow: Allow,
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
pub(super) struct Checked {
    /// The number that it gets, or has, as a revision.
    pub(super) number: u64,
    pub(super) inspection: Arc<Inspection>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) program: Arc<Program>,
    pub(super) log: Arc<DeploymentLog>,
    pub(super) usage: Arc<Usage>,
    pub(super) notices: Notices,
}

impl Runtime {
    /// Makes `component` a revision of `name`: inspected, compiled, linked, instantiated once as a check, written to
    /// disk, and only then given the calls, all of them or the share of a canary.
    pub async fn deploy(&self, name: &str, component: Bytes, options: DeployOptions) -> Result<Deployed, DeployError> {
        check_name(name).map_err(|reason| DeployError::BadRequest(format!("name {name:?}: {reason}")))?;
        let _change = self.change(name).await;
        let outcome = self.try_deploy(name, component, options).await;
        if let Err(error) = &outcome {
            self.events.tell("refused", name, None, error.to_string());
            if let Some(deployment) = self.deployment(name) {
                deployment.log.host_line(&format!("deploy refused: {error}"));
            }
        }
        outcome
    }

    async fn try_deploy(&self, name: &str, component: Bytes, options: DeployOptions) -> Result<Deployed, DeployError> {
        let deployment = self.deployment(name);
        let inspection = {
            let (name, component) = (name.to_string(), component.clone());
            blocking(move || micro_engine::inspect(&component, Some(&name))).await??
        };
        let DeployOptions { version, canary, force, args, env, limits, config, allow } = options;
        let mut manifest = inspection.manifest.clone().unwrap_or_default();
        if let Some(args) = args {
            manifest.args = args;
        }
        manifest.env.extend(env.into_iter().map(|(name, text)| (name, text.into())));
        manifest.limits = manifest.limits.with(&limits);
        manifest.limits.check_within(&self.bounds.limits).map_err(DeployError::Refused)?;
        manifest.config.extend(config);
        manifest.allow.extend(allow);
        manifest.check_allow().map_err(DeployError::BadRequest)?;
        // Before it is compared: it fills in what the manifest leaves out.
        check_subscriptions(&inspection, &mut manifest)?;
        let version = version.or_else(|| manifest.version.clone()).unwrap_or_else(|| DEFAULT_VERSION.into());
        if let Some(deployment) = &deployment
            && deployment.failure().is_none()
            && deployment.canary().is_none()
        {
            let current = deployment.current();
            if current.digest == inspection.digest && current.version == version && *current.manifest == manifest {
                return Ok(Deployed { status: self.status(deployment).await?, changed: false });
            }
        }
        if let Some(percent) = canary {
            self.check_canary(percent, deployment.as_deref(), &inspection, &manifest).await?;
        }
        self.check_paths(name, &manifest).map_err(DeployError::Refused)?;
        check_kind(&inspection, &manifest)?;
        check_routes(&inspection, &manifest)?;
        check_schedules(&inspection, &manifest)?;
        check_grants(&inspection, &manifest)?;
        if !force {
            self.check_importers(name, &inspection).await?;
        }
        let (number, inspection, manifest) = (self.next_number(name).await?, Arc::new(inspection), Arc::new(manifest));
        let checked = self.check(name, number, deployment.as_deref(), inspection, manifest, component.clone()).await?;
        let deployed = match canary {
            None => self.deploy_current(deployment, version, checked, component).await?,
            Some(percent) => {
                let deployment = deployment.ok_or_else(|| DeployError::NotFound(format!("deployment {name}")))?;
                self.deploy_canary(&deployment, version, checked, component, percent).await?;
                deployment
            }
        };
        Ok(Deployed { status: self.status(&deployed).await?, changed: true })
    }

    /// Lets a checked component take over all calls.
    pub(super) async fn deploy_current(
        &self,
        deployment: Option<Arc<Deployment>>,
        version: String,
        checked: Checked,
        component: Bytes,
    ) -> Result<Arc<Deployment>, DeployError> {
        let name = checked.log.deployment().to_string();
        let begun = self.begin(deployment.as_deref(), &checked).await?;
        let states = Some(begun.states.clone());
        let row = match self.write_down(&name, version, &checked, component, None, states).await {
            Ok(row) => row,
            Err(error) => {
                begun.undo().await;
                return Err(error);
            }
        };
        let number = row.number;
        let deployment = self.switch(deployment, row, checked, begun).await;
        self.events.tell("deployed", &name, Some(number), format!("version {}", deployment.current().version));
        Ok(deployment)
    }

    /// Lets a checked component answer a share of the calls.
    pub(super) async fn deploy_canary(
        &self,
        deployment: &Arc<Deployment>,
        version: String,
        checked: Checked,
        component: Bytes,
        percent: f64,
    ) -> Result<(), DeployError> {
        let name = deployment.name.to_string();
        let replicas = self.start_replicas(&checked, &[]).await;
        let replicas = replicas.map_err(|error| DeployError::Refused(error.to_string()))?;
        let row = match self.write_down(&name, version, &checked, component, Some(percent), None).await {
            Ok(row) => row,
            Err(error) => {
                Begun { new: replicas, ..Begun::default() }.undo().await;
                return Err(error);
            }
        };
        if let Some(replicas) = &replicas {
            replicas.supervise();
        }
        let revision = Arc::new(Revision::loaded(row, &self.bounds.limits, checked.program, replicas));
        self.code.note(&revision);
        revision.watch(None, true);
        let before = deployment.set_canary(Some(Canary { revision: revision.clone(), percent }));
        if let Some(before) = before {
            before.revision.retire();
        }
        self.tell_of(deployment).await;
        let detail = format!("version {} gets {percent} % of the calls", revision.version);
        self.events.tell("canary", &name, Some(revision.number), detail);
        Ok(())
    }

    /// Compiles or finds a component in the cache, and links it.
    pub(super) async fn load(
        &self,
        inspection: Arc<Inspection>,
        manifest: &Manifest,
        log: RevisionLog,
        usage: Arc<Usage>,
    ) -> Result<Arc<Program>, LoadError> {
        let imports = self.find_imports(log.deployment(), &inspection, manifest).await?;
        let access = Arc::new(self.access(manifest, imports, log, usage).await?);
        let (engines, components) = (self.engines.clone(), self.components.clone());
        let limits = manifest.limits.within(&self.bounds.limits);
        let load = move || {
            let bytes = || components.read(&inspection.digest);
            Program::load(&engines, &inspection, &limits, access, bytes).map(Arc::new)
        };
        blocking(load).await.map_err(|error| LoadError::Host(format!("{error:#}")))?
    }

    pub(super) async fn check(
        &self,
        name: &str,
        number: u64,
        deployment: Option<&Deployment>,
        inspection: Arc<Inspection>,
        manifest: Arc<Manifest>,
        component: Bytes,
    ) -> Result<Checked, DeployError> {
        let (log, usage, notices) = match deployment {
            Some(deployment) => (deployment.log.clone(), deployment.usage.clone(), deployment.notices.clone()),
            None => (self.logs.of(name), Arc::new(self.bounds.usage()), self.notices(name.into())),
        };
        let imports = self.find_imports(log.deployment(), &inspection, &manifest).await?;
        let program = {
            let (engines, inspection) = (self.engines.clone(), inspection.clone());
            let limits = manifest.limits.within(&self.bounds.limits);
            let own_log = RevisionLog::new(log.clone(), number, limits.log);
            let access = Arc::new(self.access(&manifest, imports, own_log, usage.clone()).await?);
            let bytes = move || Ok(component.to_vec());
            blocking(move || Program::load(&engines, &inspection, &limits, access, bytes)).await??
        };
        // A service shows that it starts by starting.
        if manifest.kind == Kind::Function {
            program.check_start().await?;
        }
        Ok(Checked { number, inspection, manifest, program: Arc::new(program), log, usage, notices })
    }

    /// What the instances of a revision reach.
    pub(super) async fn access(
        &self,
        manifest: &Manifest,
        imports: HashMap<Arc<str>, String>,
        log: RevisionLog,
        usage: Arc<Usage>,
    ) -> Result<Access, LoadError> {
        let (service, log) = (log.deployment().clone(), Arc::new(log));
        let given = match grant::reads_files(manifest) {
            false => self.grants.give(&service, manifest, log)?,
            true => {
                let (grants, service, manifest) = (self.grants.clone(), service.clone(), manifest.clone());
                let give = blocking(move || grants.give(&service, &manifest, log)).await;
                give.map_err(|error| LoadError::Host(format!("{error:#}")))??
            }
        };
        Ok(Access {
            client: Some(self.client.clone()),
            store: Some(self.kept.clone()),
            broker: Some(self.broker()),
            outbox: Some(self.outbox.clone()),
            allow: manifest.allow.clone(),
            imports,
            args: [service.to_string()].into_iter().chain(manifest.args.iter().cloned()).collect(),
            service,
            env: given.env,
            granted: given.granted,
            log: given.log,
            usage,
        })
    }

    /// Puts the component into the folder and the revision into the database. After this it survives anything.
    pub(super) async fn write_down(
        &self,
        name: &str,
        version: String,
        checked: &Checked,
        component: Bytes,
        canary: Option<f64>,
        states: Option<States>,
    ) -> Result<RevisionRow, DeployError> {
        let _storage = self.storage.lock().await;
        let (components, digest) = (self.components.clone(), checked.inspection.digest.clone());
        let written = blocking(move || components.put(&digest, &component)).await?;
        written.map_err(|error| anyhow::anyhow!("write component {}: {error}", checked.inspection.digest))?;
        let new = NewRevision {
            deployment: name.to_string(),
            version,
            inspection: checked.inspection.clone(),
            manifest: checked.manifest.clone(),
            deployed_at: status::now(),
            canary,
            states,
        };
        let (row, unused) = self
            .with_store(move |store| {
                let (number, previous, unused) = store.add_revision(&new)?;
                let row = RevisionRow {
                    deployment: new.deployment,
                    number,
                    version: new.version,
                    digest: new.inspection.digest.clone(),
                    size: new.inspection.size as u64,
                    manifest: new.manifest,
                    deployed_at: new.deployed_at,
                    previous,
                    takes: Takes::of(&new.inspection),
                };
                Ok((row, unused))
            })
            .await?;
        self.forget(unused).await?;
        Ok(row)
    }

    /// Gives new calls to the checked revision, and tells everybody. It is written down: nothing stops it now.
    pub(super) async fn switch(
        &self,
        deployment: Option<Arc<Deployment>>,
        row: RevisionRow,
        checked: Checked,
        begun: Begun,
    ) -> Arc<Deployment> {
        let Checked { log, usage, program, notices, .. } = checked;
        if let Some(replicas) = &begun.new {
            replicas.supervise();
        }
        let revision = Arc::new(Revision::loaded(row, &self.bounds.limits, program, begun.new));
        self.code.note(&revision);
        let deployment = match deployment {
            Some(deployment) => {
                revision.watch(Some(Instant::now() + revision.manifest.rollout.window), false);
                let canary = deployment.canary();
                let before = deployment.switch(revision);
                before.retire();
                if let Some(canary) = canary {
                    canary.revision.retire();
                }
                deployment
            }
            None => {
                let deployment = Arc::new(Deployment::new(log, usage, revision, notices));
                self.note_words(&deployment.name);
                self.routes.rcu(|routes| routes.insert(deployment.name.clone(), deployment.clone()));
                deployment
            }
        };
        self.tell_of(&deployment).await;
        deployment
    }

    /// Takes paths, schedules and the registry's records anew after a change that is true already.
    pub(super) async fn tell_of(&self, deployment: &Arc<Deployment>) {
        self.refresh_paths_of(&deployment.name);
        self.schedules.set(deployment).await;
        self.subscriptions.set(deployment).await;
        if let Err(error) = self.register(deployment).await {
            tracing::error!(deployment = %deployment.name, "the registry was not told: {error:#}");
        }
    }

    /// Removes components and compiled code that no revision needs.
    pub(super) async fn forget(&self, digests: Vec<String>) -> Result<(), DeployError> {
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

    /// The number that the next revision of `name` gets.
    pub(super) async fn next_number(&self, name: &str) -> anyhow::Result<u64> {
        let name = name.to_string();
        self.with_store(move |store| store.next_number(&name)).await
    }

    pub(super) async fn revision_rows(&self, name: &str) -> anyhow::Result<Vec<RevisionRow>> {
        let name = name.to_string();
        self.with_store(move |store| store.revisions(&name)).await
    }

    pub(super) async fn stored_inspection(&self, name: &str, number: u64) -> anyhow::Result<Inspection> {
        let name = name.to_string();
        let read = move |readers: &Readers| {
            let found = readers.read(|connection| interfaces::inspection(connection, &name, number))?;
            found.ok_or_else(|| not_stored(&name, number))
        };
        self.with_readers(read).await
    }

    /// What inspection found in these revisions, in their order.
    pub(super) async fn inspections(&self, revisions: Vec<(Arc<str>, u64)>) -> anyhow::Result<Vec<Inspection>> {
        let read = move |readers: &Readers| {
            let one = |(name, number): &(Arc<str>, u64)| {
                let found = readers.read(|connection| interfaces::inspection(connection, name, *number))?;
                found.ok_or_else(|| not_stored(name, *number))
            };
            revisions.iter().map(one).collect()
        };
        self.with_readers(read).await
    }

    /// Waits until no other change of `name` is under way, and keeps others out until the guard is dropped.
    pub(super) async fn change(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut changes = self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Names that nobody changes any more need no lock.
            changes.retain(|_, lock| Arc::strong_count(lock) > 1);
            changes.entry(name.to_string()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Runs work that may wait for the disk and mostly does not, on this thread: another does meanwhile what this one would.
/// Waking a thread and waiting for it takes longer than such work.
#[expect(clippy::disallowed_methods, reason = "only where the runtime has several threads")]
pub(super) fn at_once<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // There are no others that could.
        _ => work(),
    }
}

/// Runs work that blocks or computes for long on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
