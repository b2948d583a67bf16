//! A host inside the test's own process.

use crate::client::Client;
use micro::runtime::CodeLimits;
use micro::server::{self, DoorLimits, Options, Permits, RunningHost};
use std::ops::Deref;
use std::path::Path;
use tempfile::TempDir;

/// A host of its own for one test, on ports that the system chose. It is its [`Client`].
pub struct Host {
    client: Client,
    running: Option<RunningHost>,
    folder: Option<TempDir>,
    code: CodeLimits,
    permits: Permits,
}

impl Host {
    /// Starts a host in a new data folder.
    pub async fn start() -> Host {
        Host::start_with_namespace("").await
    }

    /// Starts a host that keeps no more code in memory than this, now and after restarts.
    pub async fn start_with_code(code: CodeLimits) -> Host {
        let folder = tempfile::tempdir().expect("a data folder");
        let (running, client) = start(folder.path(), Options { code, ..Options::default() }).await;
        Host { client, running: Some(running), folder: Some(folder), code, permits: Permits::default() }
    }

    /// Starts a host whose gateway puts `namespace` in front of names.
    pub async fn start_with_namespace(namespace: &str) -> Host {
        Host::start_with(Options { namespace: namespace.into(), ..Options::default() }).await
    }

    /// Starts a host with these options, in a new data folder.
    pub async fn start_with(options: Options) -> Host {
        let folder = tempfile::tempdir().expect("a data folder");
        let (code, permits) = (options.code, options.permits.clone());
        let (running, client) = start(folder.path(), options).await;
        Host { client, running: Some(running), folder: Some(folder), code, permits }
    }

    /// Starts a host whose doors take no more than this.
    pub async fn start_with_doors(doors: DoorLimits) -> Host {
        Host::start_with(Options { doors, ..Options::default() }).await
    }

    /// Starts a host that permits its deployments this.
    pub async fn start_with_permits(permits: Permits) -> Host {
        Host::start_with(Options { permits, ..Options::default() }).await
    }

    /// Stops the host in good order and starts it again in the same data folder.
    pub async fn restart(&mut self) {
        self.stop().await;
        let folder = self.folder.as_ref().expect("a data folder");
        let options = Options { code: self.code, permits: self.permits.clone(), ..Options::default() };
        let (running, client) = start(folder.path(), options).await;
        (self.running, self.client) = (Some(running), client);
    }

    /// Stops the host in good order: calls that run come to their end.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

impl Deref for Host {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

async fn start(folder: &Path, options: Options) -> (RunningHost, Client) {
    let options = Options { data_dir: folder.to_path_buf(), ..options };
    let running = server::start(options).await.unwrap_or_else(|error| panic!("start a host: {error:#}"));
    let url = |address| format!("http://{address}");
    let client = Client::new(url(running.api_address), url(running.sidecar_address), folder);
    (running, client)
}
