//! A host inside the test's own process.

use crate::client::Client;
use micro::server::{self, Options, Permits, RunningHost};
use std::ops::Deref;
use std::path::Path;
use tempfile::TempDir;

/// A host of its own for one test, on ports that the system chose. It is its [`Client`].
pub struct Host {
    client: Client,
    running: Option<RunningHost>,
    folder: Option<TempDir>,
    permits: Permits,
}

impl Host {
    /// Starts a host in a new data folder.
    pub async fn start() -> Host {
        Host::start_with_namespace("").await
    }

    /// Starts a host whose gateway puts `namespace` in front of names.
    pub async fn start_with_namespace(namespace: &str) -> Host {
        let folder = tempfile::tempdir().expect("a data folder");
        let permits = Permits::default();
        let (running, client) = start(folder.path(), namespace, &permits).await;
        Host { client, running: Some(running), folder: Some(folder), permits }
    }

    /// Starts a host that permits its deployments this.
    pub async fn start_with_permits(permits: Permits) -> Host {
        let folder = tempfile::tempdir().expect("a data folder");
        let (running, client) = start(folder.path(), "", &permits).await;
        Host { client, running: Some(running), folder: Some(folder), permits }
    }

    /// Stops the host in good order and starts it again in the same data folder.
    pub async fn restart(&mut self) {
        self.stop().await;
        let folder = self.folder.as_ref().expect("a data folder");
        let (running, client) = start(folder.path(), "", &self.permits).await;
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

async fn start(folder: &Path, namespace: &str, permits: &Permits) -> (RunningHost, Client) {
    let options = Options {
        data_dir: folder.to_path_buf(),
        api_address: "127.0.0.1:0".into(),
        sidecar_address: "127.0.0.1:0".into(),
        namespace: namespace.into(),
        permits: permits.clone(),
    };
    let running = server::start(options).await.unwrap_or_else(|error| panic!("start a host: {error:#}"));
    let url = |address| format!("http://{address}");
    let client = Client::new(url(running.api_address), url(running.sidecar_address), folder);
    (running, client)
}
