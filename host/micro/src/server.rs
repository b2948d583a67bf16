//! A running host, and the one place where its parts are put together.

pub use crate::doors::DoorLimits;
use crate::doors::{self, DoorName, Doors};
use crate::gateway::{Door, Gateway};
pub use crate::runtime::Permits;
use crate::runtime::{Bounds, CodeLimits, Mesh, Runtime};
use crate::sidecar::{self, HostStatus, Sidecar, Token};
use crate::whole_file::{self, Readers};
use crate::{data_folder, telemetry};
use anyhow::Context as _;
use micro_mesh::registry::{self, OpenOptions};
use micro_mesh::{Cache, Client, broker};
use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a host that stops waits for calls that run.
const DRAIN: Duration = Duration::from_secs(10);

/// Files in the data folder.
const LOCK: &str = "lock";
pub(crate) const TOKEN: &str = "token";
const REGISTRY: &str = "registry.db";
const MESSAGES: &str = "broker.db";
/// What is for the host alone: what guests keep, settings of deployments, the catalogue.
const PRIVATE: [&str; 5] = [LOCK, REGISTRY, MESSAGES, "micro.db", "store.db"];
/// Where the sidecar listens, for commands that use the same data folder.
pub const SIDECAR_ADDRESS: &str = "sidecar.address";

/// What a host is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the host keeps its state.
    pub data_dir: PathBuf,
    /// Where the gateway listens.
    pub api_address: String,
    /// Where the sidecar and the admin API listen.
    pub sidecar_address: String,
    /// What the gateway puts in front of service names.
    pub namespace: String,
    /// Whether the gateway publishes requests, and makes no calls of them.
    pub takes_events: bool,
    /// What the host gives to its guests.
    pub bounds: Bounds,
    /// What the doors take.
    pub doors: DoorLimits,
    /// How much code stays in memory.
    pub code: CodeLimits,
    /// Where spans of calls go, if anywhere.
    pub telemetry: Option<telemetry::Settings>,
    /// What deployments may be given, where their manifests ask for it.
    pub permits: Permits,
    /// What passes messages on.
    pub broker: BrokerSettings,
}

/// What passes messages on, and how much of them is kept.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// The backend's name, as in `sqlite`.
    pub kind: String,
    /// Where its server listens, if it has one.
    pub address: Option<String>,
    /// How long publishers wait while it has no room or cannot be reached.
    pub patience: Duration,
    /// How much is kept.
    pub limits: broker::Limits,
}

/// The embedded one.
impl Default for BrokerSettings {
    fn default() -> BrokerSettings {
        let patience = Duration::from_secs(5);
        BrokerSettings { kind: broker::DEFAULT.into(), address: None, patience, limits: broker::Limits::default() }
    }
}

/// A host on ports that the system chooses, that keeps its state where it stands.
impl Default for Options {
    fn default() -> Options {
        Options {
            data_dir: PathBuf::from("."),
            api_address: "127.0.0.1:0".into(),
            sidecar_address: "127.0.0.1:0".into(),
            namespace: String::new(),
            takes_events: false,
            bounds: Bounds::default(),
            doors: DoorLimits::default(),
            code: CodeLimits::default(),
            telemetry: None,
            permits: Permits::default(),
            broker: BrokerSettings::default(),
        }
    }
}

/// A host that runs inside this process.
#[derive(Debug)]
pub struct RunningHost {
    /// Where the gateway really listens.
    pub api_address: SocketAddr,
    /// Where the sidecar really listens.
    pub sidecar_address: SocketAddr,
    stop: watch::Sender<bool>,
    runtime: Arc<Runtime>,
    servers: Vec<JoinHandle<()>>,
    address_file: PathBuf,
    _lock: File,
}

impl RunningHost {
    /// Ends the host: no new calls, running ones come to their end.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let drained = tokio::time::timeout(DRAIN, async {
            for server in self.servers {
                // A door that panicked has said so itself.
                let _ = server.await;
            }
        });
        if drained.await.is_err() {
            tracing::warn!("calls still ran after {} and were ended", humantime::format_duration(DRAIN));
        }
        self.runtime.stop_services().await;
        self.runtime.tracer().flush().await;
        // A file that is already gone says the same as one that is removed.
        let _ = fs::remove_file(self.address_file);
    }
}

/// Starts a host and returns when it listens.
pub async fn start(options: Options) -> anyhow::Result<RunningHost> {
    let data_dir = options.data_dir;
    data_folder::make(&data_dir)?;
    let lock = lock(&data_dir)?;
    for file in PRIVATE {
        data_folder::keep_private(&data_dir.join(file))?;
    }
    let address_file = data_dir.join(SIDECAR_ADDRESS);
    // One that a killed host left tells of nobody. That there is none is as good.
    let _ = fs::remove_file(&address_file);
    let api = listen("--api-address", &options.api_address).await?;
    let side = listen("--sidecar-address", &options.sidecar_address).await?;
    let (api_address, sidecar_address) = (api.local_addr()?, side.local_addr()?);

    let token = Token::open(&data_dir.join(TOKEN)).context("read the admin token")?;
    let registry = registry::open("sqlite", OpenOptions { path: Some(data_dir.join(REGISTRY)) })
        .await
        .context("open the registry")?;
    let client = Client::new(Arc::new(Cache::open(registry).await));
    // How much code may be in memory goes by it.
    doors::allow_files(&options.doors);
    let BrokerSettings { kind, address, patience, limits } = options.broker;
    let broker_options =
        broker::OpenOptions { path: Some(data_dir.join(MESSAGES)), address, limits, ..broker::OpenOptions::default() };
    let broker = broker::open(&kind, broker_options).await.context("open the broker")?;
    let mesh = Mesh { client: client.clone(), broker, patience, address: api_address.to_string() };
    let Options { bounds, code, telemetry, permits, .. } = options;
    let runtime = Runtime::open(&data_dir, mesh, bounds, code, telemetry, permits).await?;
    let host = HostStatus {
        version: env!("CARGO_PKG_VERSION"),
        host: runtime.host_id().to_string(),
        started_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        api_address,
        sidecar_address,
        namespace: options.namespace.clone(),
        data_dir: data_dir.clone(),
        engines: runtime.engines().report(),
    };
    let (stop, stopped) = watch::channel(false);
    let doors = Doors::new(options.doors);
    let namespace = options.namespace.into();
    let takes_events = options.takes_events;
    let gateway = Gateway { client, runtime: runtime.clone(), namespace, doors: doors.clone(), takes_events };
    let sidecar = Sidecar {
        gateway: Gateway { takes_events: false, ..gateway.clone() },
        token: Arc::new(token),
        host: Arc::new(host),
        doors: doors.clone(),
        stopped: stopped.clone(),
    };
    let (door, router) = (Door::new(gateway), sidecar::router(sidecar));
    let door = move |peer: SocketAddr| door.seen_from(peer.ip());
    let side_door = move |peer| sidecar::Door::new(router.clone(), peer);
    let servers = vec![
        doors::serve(api, DoorName::Gateway, door, doors.clone(), stopped.clone()),
        doors::serve(side, DoorName::Sidecar, side_door, doors, stopped),
    ];
    whole_file::write(&address_file, sidecar_address.to_string().as_bytes(), Readers::Others)
        .context("write the sidecar's address")?;
    Ok(RunningHost { api_address, sidecar_address, stop, runtime, servers, address_file, _lock: lock })
}

/// Two hosts in one data folder would undo each other's work.
fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join(LOCK);
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another host runs in {}: stop it, or choose another --data-dir", data_dir.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

async fn listen(flag: &str, address: &str) -> anyhow::Result<TcpListener> {
    // `:8080` is how the toolkit's users write a port; this host is for its own machine unless told otherwise.
    let full = if address.starts_with(':') { format!("127.0.0.1{address}") } else { address.to_string() };
    TcpListener::bind(&full).await.with_context(|| format!("listen on {address} ({flag})"))
}
