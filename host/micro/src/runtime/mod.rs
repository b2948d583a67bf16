//! What runs here: the deployments of this host, their revisions, and the one way in, [`Runtime::invoke`].
//!
//! Every change is written down before it is acknowledged, and every deployment is loaded when it is first called.

mod components;
mod deploy;
mod deployment;
mod errors;
mod events;
mod gate;
mod handover;
mod imports;
mod invoke;
mod logs;
mod message;
pub mod paths;
mod record;
mod refuse;
mod replicas;
mod rollout;
pub mod schedule;
mod show;
mod status;
mod store;
mod stream;
mod supervise;

pub use deploy::{DeployError, DeployOptions, Deployed};
pub use deployment::{Deployment, Revision};
pub use events::{Event, Events};
pub use logs::{DeploymentLog, LogRecord};
pub(crate) use record::endpoint as endpoint_record;
pub use status::{DeploymentStatus, RevisionStatus};

use crate::runtime::components::Components;
use crate::runtime::deployment::Canary;
use crate::runtime::events::{Notice, Notices};
use crate::runtime::store::Store;
use arc_swap::ArcSwap;
use micro_engine::Engines;
use micro_mesh::{Client, Registry, store as kept};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// The deployments by name. Calls read it without a lock; a change puts a new map in its place.
type Routes = HashMap<Arc<str>, Arc<Deployment>>;

/// The deployments of one host.
pub struct Runtime {
    engines: Arc<Engines>,
    store: Arc<Mutex<Store>>,
    components: Components,
    routes: ArcSwap<Routes>,
    /// The paths that manifests give to endpoints; taken anew with each change.
    paths: ArcSwap<paths::Paths>,
    /// One change at a time per name.
    changes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while components and database change together: a component that one deployment takes up must not be
    /// removed as the last use of another.
    storage: tokio::sync::Mutex<()>,
    events: Events,
    notices: mpsc::Sender<Notice>,
    client: Client,
    /// Where guests keep what must outlive them.
    kept: Arc<dyn kept::Store>,
    node: record::NodeIdentity,
    schedules: schedule::Schedules,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Runtime").field("host", &self.node.host).finish_non_exhaustive()
    }
}

/// Notices that wait to be acted on; more are kept by the tasks that tell them.
const NOTICES: usize = 1024;

/// Where the host keeps what it must not lose, below its data folder.
const DATABASE: &str = "micro.db";
const STORES: &str = "store.db";
const COMPONENTS: &str = "components";
const CACHE: &str = "cache";
const HOST_KEY: &str = "host.key";

impl Runtime {
    /// Opens the runtime in `data_dir` and brings back every deployment that was acknowledged, without loading any.
    ///
    /// `address` is what the registry says of this node.
    pub async fn open(data_dir: &Path, client: Client, address: String) -> anyhow::Result<Arc<Runtime>> {
        use anyhow::Context as _;
        let engines = Engines::new(&data_dir.join(CACHE), &data_dir.join(HOST_KEY))?;
        let store = Store::open(&data_dir.join(DATABASE)).context("open the host's database")?;
        let components = Components::open(&data_dir.join(COMPONENTS))?;
        let node = record::NodeIdentity { host: store.host_id()?, address };
        let options = kept::OpenOptions { path: Some(data_dir.join(STORES)), ..kept::OpenOptions::default() };
        let kept = kept::open("sqlite", options).await.context("open the stores")?;
        let (notices, told) = mpsc::channel(NOTICES);
        let (store, events) = (Arc::new(Mutex::new(store)), Events::default());
        let schedules =
            schedule::Schedules::start(store.clone(), client.clone(), events.clone(), kept::Clock::default());
        let runtime = Arc::new(Runtime {
            engines: Arc::new(engines),
            store,
            components,
            routes: ArcSwap::default(),
            paths: ArcSwap::default(),
            changes: Mutex::default(),
            storage: tokio::sync::Mutex::default(),
            events,
            notices,
            client: client.clone(),
            kept,
            node,
            schedules,
        });
        runtime.restore().await?;
        client.attach(Arc::new(invoke::Local::new(&runtime)));
        tokio::spawn(supervise::run(Arc::downgrade(&runtime), told));
        runtime.start_services();
        runtime.schedules.restore(&runtime.deployments()).await?;
        Ok(runtime)
    }

    /// Where guests keep what must outlive them.
    pub fn kept(&self) -> &Arc<dyn kept::Store> {
        &self.kept
    }

    /// The deployment called `name`.
    pub fn deployment(&self, name: &str) -> Option<Arc<Deployment>> {
        self.routes.load().get(name).cloned()
    }

    /// All deployments, sorted by name.
    pub fn deployments(&self) -> Vec<Arc<Deployment>> {
        let mut all: Vec<_> = self.routes.load().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// What happened on this host, and what will.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The engines, for reports.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// The id that this host keeps for as long as its data folder lives.
    pub fn host_id(&self) -> &str {
        &self.node.host
    }

    fn notices(&self, deployment: Arc<str>) -> Notices {
        Notices::new(deployment, self.events.clone(), self.notices.clone())
    }

    fn registry(&self) -> &Arc<dyn Registry> {
        self.client.cache().registry()
    }

    /// Brings back what the database knows, and tells the registry; nothing is loaded.
    async fn restore(self: &Arc<Self>) -> anyhow::Result<()> {
        let known = self.with_store(Store::digests).await?;
        self.components.sweep(&known)?;
        let rows = self.with_store(Store::current_revisions).await?;
        let mut routes = Routes::with_capacity(rows.len());
        for row in rows {
            let notices = self.notices(row.deployment.as_str().into());
            let deployment = Deployment::restored(row, notices);
            routes.insert(deployment.name.clone(), Arc::new(deployment));
        }
        for (row, percent) in self.with_store(Store::canaries).await? {
            if let Some(deployment) = routes.get(row.deployment.as_str()) {
                let revision = Arc::new(Revision::restored(row));
                revision.watch(None, true);
                deployment.set_canary(Some(Canary { revision, percent }));
            }
        }
        self.routes.store(Arc::new(routes));
        self.refresh_paths();
        self.reconcile_registry().await
    }

    /// Runs one database operation on a thread that may block.
    async fn with_store<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let store = self.store.clone();
        let run = move || operation(&mut store.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(run).await??)
    }
}
