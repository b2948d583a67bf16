//! What runs here: the deployments of this host, their revisions, and the one way in, [`Runtime::invoke`].
//!
//! Every change is written down before it is acknowledged, and every deployment is loaded when it is first called.

mod bounds;
mod code;
mod command;
mod components;
mod deploy;
mod deployment;
mod errors;
mod events;
mod gate;
mod grant;
mod handover;
mod imports;
mod invoke;
pub mod logs;
mod message;
pub(crate) mod metrics;
pub mod paths;
mod record;
mod refuse;
mod replicas;
mod rollout;
pub mod schedule;
mod show;
mod sites;
mod status;
mod store;
mod stream;
mod subscriptions;
mod supervise;
mod web;

pub use bounds::Bounds;
pub use code::{CodeLimits, CodeStatus, DEFAULT_BUDGET, DEFAULT_IDLE};
pub(crate) use command::Running;
pub use deploy::{DeployError, DeployOptions, Deployed};
pub use deployment::{Deployment, Revision};
pub use events::{Event, Events};
pub use grant::Permits;
pub use logs::DeploymentLog;
pub(crate) use message::sniff;
pub use paths::query_with;
pub(crate) use record::endpoint as endpoint_record;
pub use sites::Destination;
pub(crate) use status::rfc3339_text;
pub use status::{DeploymentStatus, RevisionStatus};
pub use subscriptions::{DeadLetter, Letters, letter_counts};
pub use web::WebCall;

use crate::runtime::code::Code;
use crate::runtime::components::Components;
use crate::runtime::deployment::Canary;
use crate::runtime::events::{Notice, Notices};
use crate::runtime::logs::Logs;
use crate::runtime::store::{Readers, Store};
use crate::telemetry::{self, Tracer};
use arc_swap::ArcSwap;
use micro_engine::Engines;
use micro_mesh::{Broker, Client, Outbox, Registry, store as kept};
use rpds::HashTrieMapSync;
use rusqlite::Connection;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// The deployments by name. Calls read it without a lock; a change puts a new map in its place, which shares with the
/// old one what did not change.
type Routes = HashTrieMapSync<Arc<str>, Arc<Deployment>>;

/// The deployments of one host.
pub struct Runtime {
    engines: Arc<Engines>,
    store: Arc<Mutex<Store>>,
    readers: Arc<Readers>,
    code: Arc<Code>,
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
    logs: Logs,
    notices: mpsc::Sender<Notice>,
    client: Client,
    /// Where guests keep what must outlive them.
    kept: Arc<dyn kept::Store>,
    node: record::NodeIdentity,
    schedules: schedule::Schedules,
    broker: Arc<subscriptions::Published>,
    outbox: Arc<Outbox>,
    subscriptions: subscriptions::Subscriptions,
    bounds: Bounds,
    /// Of the name of a deployment; never less than there are.
    most_words: AtomicUsize,
    tracer: Tracer,
    grants: Arc<grant::Grants>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Runtime").field("host", &self.node.host).finish_non_exhaustive()
    }
}

/// How the host reaches others, and others reach it.
pub struct Mesh {
    /// Calls services.
    pub client: Client,
    /// Passes messages on.
    pub broker: Arc<dyn Broker>,
    /// How long publishers wait while the broker has no room or cannot be reached.
    pub patience: Duration,
    /// What the registry says of this node.
    pub address: String,
}

/// Notices that wait to be acted on; more are kept by the tasks that tell them.
const NOTICES: usize = 1024;

/// Where the host keeps what it must not lose, below its data folder.
const DATABASE: &str = "micro.db";
const STORES: &str = "store.db";
const COMPONENTS: &str = "components";
const CACHE: &str = "cache";
const LOGS: &str = "logs";
const HOST_KEY: &str = "host.key";

impl Runtime {
    /// Opens the runtime in `data_dir` and brings back every deployment that was acknowledged, without loading any.
    pub async fn open(
        data_dir: &Path,
        mesh: Mesh,
        bounds: Bounds,
        code: CodeLimits,
        telemetry: Option<telemetry::Settings>,
        permits: Permits,
    ) -> anyhow::Result<Arc<Runtime>> {
        use anyhow::Context as _;
        let Mesh { client, broker, patience, address } = mesh;
        let grants = Arc::new(grant::Grants::open(permits)?);
        let engines = Arc::new(Engines::new(&data_dir.join(CACHE), &data_dir.join(HOST_KEY))?);
        let store = Store::open(&data_dir.join(DATABASE)).context("open the host's database")?;
        let components = Components::open(&data_dir.join(COMPONENTS))?;
        let logs = Logs::open(&data_dir.join(LOGS), logs::Bounds::default()).context("start the writer of logs")?;
        let node = record::NodeIdentity { host: store.host_id()?, address };
        let options = kept::OpenOptions { path: Some(data_dir.join(STORES)), ..kept::OpenOptions::default() };
        let kept = kept::open("sqlite", options).await.context("open the stores")?;
        let (notices, told) = mpsc::channel(NOTICES);
        let (store, events) = (Arc::new(Mutex::new(store)), Events::default());
        let schedules =
            schedule::Schedules::start(store.clone(), client.clone(), events.clone(), kept::Clock::default());
        let broker = Arc::new(subscriptions::Published::new(broker, patience));
        let outbox = Outbox::open(kept.clone(), broker.clone(), kept::Clock::default()).await;
        let outbox = Arc::new(outbox.context("read the outbox")?);
        let subscriptions = subscriptions::Subscriptions::new(broker.clone(), client.clone(), events.clone());
        let runtime = Arc::new(Runtime {
            code: Code::start(engines.clone(), code),
            engines,
            store,
            readers: Arc::new(Readers::new(&data_dir.join(DATABASE))),
            components,
            routes: ArcSwap::default(),
            paths: ArcSwap::default(),
            changes: Mutex::default(),
            storage: tokio::sync::Mutex::default(),
            events,
            logs,
            notices,
            client: client.clone(),
            kept,
            tracer: Tracer::start(telemetry, &node.host)?,
            node,
            schedules,
            broker,
            outbox: outbox.clone(),
            subscriptions,
            bounds,
            most_words: AtomicUsize::new(0),
            grants,
        });
        runtime.restore().await?;
        runtime.logs.settle();
        client.attach(Arc::new(invoke::Local::new(&runtime)));
        tokio::spawn(supervise::run(Arc::downgrade(&runtime), told));
        tokio::spawn(async move { outbox.relay().await });
        runtime.start_services();
        runtime.schedules.restore(&runtime.deployments()).await?;
        for deployment in runtime.deployments() {
            // The doors open meanwhile: groups that were there before miss nothing.
            tokio::spawn(runtime.subscriptions.set(&deployment));
        }
        Ok(runtime)
    }

    /// Where guests keep what must outlive them.
    pub fn kept(&self) -> &Arc<dyn kept::Store> {
        &self.kept
    }

    /// Where messages are published and subscribed to.
    pub fn broker(&self) -> Arc<dyn Broker> {
        self.broker.clone()
    }

    /// Messages that subscribers could not do with.
    pub fn letters(&self) -> Letters {
        Letters::new(self.broker())
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

    /// What binds the deployments.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// What deployments wrote.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The engines, for reports.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// What records calls.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// The code in memory.
    pub fn code(&self) -> CodeStatus {
        self.code.status()
    }

    /// How many deployments there are.
    pub fn count(&self) -> usize {
        self.routes.load().size()
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
        let (known, rows, canaries) =
            self.with_store(|store| Ok((store.digests()?, store.current_revisions()?, store.canaries()?))).await?;
        let components = self.components.clone();
        let swept = tokio::task::spawn_blocking(move || components.sweep(&known));
        let mut routes = Routes::default();
        for row in rows {
            self.note_words(&row.deployment);
            let notices = self.notices(row.deployment.as_str().into());
            let log = self.logs.of(&row.deployment);
            let deployment = Deployment::restored(log, row, &self.bounds, notices);
            routes.insert_mut(deployment.name.clone(), Arc::new(deployment));
        }
        for (row, percent) in canaries {
            if let Some(deployment) = routes.get(row.deployment.as_str()) {
                let revision = Arc::new(Revision::restored(row, &self.bounds.limits));
                revision.watch(None, true);
                deployment.set_canary(Some(Canary { revision, percent }));
            }
        }
        self.routes.store(Arc::new(routes));
        self.refresh_paths();
        self.reconcile_registry().await?;
        Ok(swept.await??)
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

    /// Reads the database on a thread that may block, without waiting for changes that are written.
    async fn with_readers<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Readers) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let readers = self.readers.clone();
        tokio::task::spawn_blocking(move || read(&readers)).await?
    }

    /// The same for one read.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.with_readers(|readers| Ok(readers.read(read)?)).await
    }
}
