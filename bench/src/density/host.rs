//! The host that is measured, in a process of its own.

use crate::{component, name, read};
use anyhow::{Context as _, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long a host may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `micro server`.
pub(super) struct Host {
    child: Child,
    http: reqwest::Client,
    token: String,
    addresses: Addresses,
}

/// Where a host listens.
pub(super) struct Addresses {
    api: String,
    sidecar: String,
}

impl Host {
    /// Starts a host and waits until its gateway answers; where it listened before, if that is given.
    pub(super) async fn start(
        micro: &Path,
        folder: &Path,
        addresses: Option<&Addresses>,
        code_cache: Option<&str>,
    ) -> anyhow::Result<Host> {
        let any = "127.0.0.1:0";
        let (api, sidecar) = addresses.map_or((any, any), |at| (&at.api, &at.sidecar));
        let mut command = Command::new(micro);
        command.args(["server", "--output", "json", "--api-address", api, "--sidecar-address", sidecar]);
        command.arg("--data-dir").arg(folder);
        if let Some(budget) = code_cache {
            command.args(["--code-cache", budget]);
        }
        for variable in ["MICRO_OUTPUT", "MICRO_NAMESPACE", "MICRO_LOG"] {
            command.env_remove(variable);
        }
        command.env("MICRO_LOG", "warn").stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("run {}", micro.display()))?;
        let line = first_line(&mut child).await?;
        let told: serde_json::Value = serde_json::from_str(&line).with_context(|| format!("what it told: {line}"))?;
        let address = |name: &str| told[name].as_str().map(str::to_string).context("an address is missing");
        let addresses = Addresses { api: address("api_address")?, sidecar: address("sidecar_address")? };
        // reqwest makes a client for TLS as well. That there is a provider already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let host = Host { child, http, token: read(folder, "token")?, addresses };
        let answer = host.http.get(format!("http://{}/", host.addresses.api)).send().await?;
        ensure!(answer.status().is_success(), "the gateway answers {}", answer.status());
        Ok(host)
    }

    /// Ends the host in good order; tells where it listened.
    pub(super) async fn stop(mut self) -> anyhow::Result<Addresses> {
        let id = self.id()?;
        let killed = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        ensure!(killed.success(), "the host cannot be told to stop");
        tokio::time::timeout(PATIENCE, self.child.wait()).await.context("the host does not stop")??;
        Ok(self.addresses)
    }

    /// What the host holds in memory, in bytes, as the kernel counts it.
    pub(super) fn resident(&self) -> anyhow::Result<u64> {
        let status = read(&PathBuf::from(format!("/proc/{}", self.id()?)), "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    pub(super) async fn deploy(&self, number: usize, component: Vec<u8>) -> anyhow::Result<()> {
        let url = format!("http://{}/v1/deployments/{}", self.addresses.sidecar, name(number));
        let answer = self.http.put(url).bearer_auth(&self.token).body(component).send().await?;
        if !answer.status().is_success() {
            bail!("function {number} is not deployed: {}", answer.text().await?);
        }
        answer.bytes().await?;
        Ok(())
    }

    /// Calls a function, checks what it says, and tells how long that took.
    pub(super) async fn call(&self, number: usize) -> anyhow::Result<Duration> {
        let url = format!("http://{}/{}/number/tell", self.addresses.api, name(number));
        let request =
            self.http.post(url).header("content-type", "application/json").body(r#"{"name":"John"}"#).build()?;
        let began = Instant::now();
        let answer = self.http.execute(request).await?;
        let body = answer.bytes().await?;
        let took = began.elapsed();
        let expected = format!(r#"{{"result":"{}"}}"#, component::text(number as u32));
        ensure!(*body == *expected.as_bytes(), "function {number} answers {}", String::from_utf8_lossy(&body));
        Ok(took)
    }

    /// Reads a page of the sidecar, or of the gateway where that has it; tells its size in bytes.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<usize> {
        let address = if path == "/openapi.json" { &self.addresses.api } else { &self.addresses.sidecar };
        let mut answer = self.http.get(format!("http://{address}{path}")).bearer_auth(&self.token).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        let mut size = 0;
        while let Some(part) = answer.chunk().await? {
            size += part.len();
        }
        Ok(size)
    }

    /// What the host says of its loaded code.
    pub(super) async fn code(&self) -> anyhow::Result<String> {
        let url = format!("http://{}/v1/status", self.addresses.sidecar);
        let status: serde_json::Value = self.http.get(url).bearer_auth(&self.token).send().await?.json().await?;
        Ok(format!("code {}", status["code"]))
    }

    fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the host has ended")
    }
}

async fn first_line(child: &mut Child) -> anyhow::Result<String> {
    use tokio::io::AsyncBufReadExt as _;
    let output = child.stdout.take().context("no standard output")?;
    let mut lines = tokio::io::BufReader::new(output).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("the host does not start")??;
    // Reading on keeps the pipe open, should the host have more to say.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    line.context("the host ended at its start")
}
