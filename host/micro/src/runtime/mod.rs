//! What runs here: the deployments of this host, their revisions, and the one way in, [`Runtime::invoke`].
//!
//! Every change is written down before it is acknowledged, and every deployment is loaded when it is first called.

mod components;
mod deploy;
mod deployment;
mod errors;
mod events;
mod gate;
mod invoke;
mod logs;
mod message;
mod record;
mod status;
mod store;

pub use deploy::{DeployError, Deployed};
pub use deployment::{Deployment, Revision};
pub use events::{Event, Events};
pub use logs::{DeploymentLog, LogRecord};
pub(crate) use message::QUERY;
pub(crate) use record::endpoint as endpoint_record;
pub use status::{DeploymentStatus, RevisionStatus};

use crate::runtime::components::Components;
use crate::runtime::store::Store;
use arc_swap::ArcSwap;
use micro_engine::Engines;
use micro_mesh::{Client, Registry};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The deployments by name. Calls read it without a lock; a change puts a new map in its place.
type Routes = HashMap<Arc<str>, Arc<Deployment>>;

/// The deployments of one host.
pub struct Runtime {
    engines: Arc<Engines>,
    store: Arc<Mutex<Store>>,
    components: Components,
    routes: ArcSwap<Routes>,
    /// One change at a time per name.
    changes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while components and database change together: a component that one deployment takes up must not be
    /// removed as the last use of another.
    storage: tokio::sync::Mutex<()>,
    events: Events,
    client: Client,
    node: record::NodeIdentity,
}

/// Where the host keeps what it must not lose, below its data folder.
const DATABASE: &str = "micro.db";
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
        let runtime = Arc::new(Runtime {
            engines: Arc::new(engines),
            store: Arc::new(Mutex::new(store)),
            components,
            routes: ArcSwap::default(),
            changes: Mutex::default(),
            storage: tokio::sync::Mutex::default(),
            events: Events::default(),
            client: client.clone(),
            node,
        });
        runtime.restore().await?;
        client.attach(Arc::new(invoke::Local::new(&runtime)));
        Ok(runtime)
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
            let deployment = Deployment::restored(row);
            routes.insert(deployment.name.clone(), Arc::new(deployment));
        }
        self.routes.store(Arc::new(routes));
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
