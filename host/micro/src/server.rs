//! A running host, and the one place where its parts are put together.

use crate::gateway::{Door, Gateway};
pub use crate::runtime::Permits;
use crate::runtime::Runtime;
use crate::sidecar::{self, HostStatus, Sidecar, Token};
use crate::whole_file::{self, Readers};
use anyhow::Context as _;
use axum::ServiceExt as _;
use axum::extract::Request;
use axum::response::Response;
use micro_mesh::registry::{self, OpenOptions};
use micro_mesh::{Cache, Client};
use std::convert::Infallible;
use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_service::Service;

/// How long a host that stops waits for calls that run.
const DRAIN: Duration = Duration::from_secs(10);

/// Files in the data folder.
const LOCK: &str = "lock";
pub(crate) const TOKEN: &str = "token";
const REGISTRY: &str = "registry.db";
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
    /// What deployments may be given, where their manifests ask for it.
    pub permits: Permits,
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
    servers: Vec<JoinHandle<std::io::Result<()>>>,
    address_file: PathBuf,
    _lock: File,
}

impl RunningHost {
    /// Ends the host: no new calls, running ones come to their end.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let drained = tokio::time::timeout(DRAIN, async {
            for server in self.servers {
                // A server that failed has said so itself.
                let _ = server.await;
            }
        });
        if drained.await.is_err() {
            tracing::warn!("calls still ran after {} and were ended", humantime::format_duration(DRAIN));
        }
        self.runtime.stop_services().await;
        // A file that is already gone says the same as one that is removed.
        let _ = fs::remove_file(self.address_file);
    }
}

/// Starts a host and returns when it listens.
pub async fn start(options: Options) -> anyhow::Result<RunningHost> {
    let data_dir = options.data_dir;
    fs::create_dir_all(&data_dir).with_context(|| format!("make the data folder {}", data_dir.display()))?;
    let lock = lock(&data_dir)?;
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
    let runtime = Runtime::open(&data_dir, client.clone(), api_address.to_string(), options.permits).await?;
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
    let gateway = Gateway { client, runtime: runtime.clone(), namespace: options.namespace.into() };
    let (stop, stopped) = watch::channel(false);
    let sidecar =
        Sidecar { gateway: gateway.clone(), token: Arc::new(token), host: Arc::new(host), stopped: stopped.clone() };
    let servers = vec![serve(api, Door::new(gateway), stopped.clone()), serve(side, sidecar::router(sidecar), stopped)];
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

fn serve<S>(listener: TcpListener, door: S, mut stopped: watch::Receiver<bool>) -> JoinHandle<std::io::Result<()>>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    use axum::serve::ListenerExt as _;
    // Small replies leave at once instead of waiting for more to send.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY cannot be set: {error}");
        }
    });
    tokio::spawn(async move {
        let stop = async move {
            // An ended sender means the host is gone, which is a stop as well.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        };
        axum::serve(listener, door.into_make_service()).with_graceful_shutdown(stop).await
    })
}
