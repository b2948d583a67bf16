//! The host whose messages these are, in a process of its own.

use crate::Settings;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncBufReadExt as _;
use tokio::process::{Child, Command};

/// How long a host may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `micro server`.
pub(super) struct Host {
    child: Child,
    http: reqwest::Client,
    token: String,
    pub(super) sidecar: String,
}

impl Host {
    /// Starts a host in a folder, where it listened before if that is given.
    pub(super) async fn start(settings: &Settings, folder: &Path, sidecar: Option<&str>) -> anyhow::Result<Host> {
        let mut command = Command::new(&settings.micro);
        command.args(["server", "--output", "json", "--api-address", "127.0.0.1:0"]);
        command.args(["--sidecar-address", sidecar.unwrap_or("127.0.0.1:0")]);
        command.arg("--data-dir").arg(folder).args(&settings.options).env("MICRO_LOG", "error");
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("run {}", settings.micro.display()))?;
        let output = child.stdout.take().context("no standard output")?;
        let mut lines = tokio::io::BufReader::new(output).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("the host does not start")??;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let told: Value = serde_json::from_str(&line.context("the host ended at its start")?)?;
        let sidecar = told["sidecar_address"].as_str().context("an address is missing")?.to_owned();
        // reqwest makes a client for TLS as well. That there is a provider already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let token = std::fs::read_to_string(folder.join("token"))?.trim().to_owned();
        Ok(Host { child, http, token, sidecar })
    }

    /// Ends it as a power cut would.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Ends it in good order.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.child.id().context("the host has ended")?;
        Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        self.child.wait().await?;
        Ok(())
    }

    pub(super) async fn deploy(&self, settings: &Settings, name: &str) -> anyhow::Result<()> {
        let component = std::fs::read(settings.guests.join(format!("{name}.wasm")))?;
        let answer = self.admin(reqwest::Method::PUT, &format!("/deployments/{name}")).body(component).send().await?;
        ensure!(answer.status().is_success(), "{name} is not deployed: {}", answer.text().await?);
        Ok(())
    }

    pub(super) async fn call(&self, service: &str, endpoint: &str, request: Value) -> anyhow::Result<Value> {
        let call = serde_json::json!({ "service": service, "endpoint": endpoint, "request": request });
        let answer = self.http.post(format!("http://{}/rpc", self.sidecar)).json(&call).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{service} {endpoint}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.admin(reqwest::Method::GET, path).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(answer.json().await?)
    }

    fn admin(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}/v1{path}", self.sidecar)).bearer_auth(&self.token)
    }
}
