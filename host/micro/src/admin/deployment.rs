//! What the admin API tells, as far as commands show it. Every field may be missing: a host of another version is
//! still worth talking to.

use super::address::reachable;
use serde::{Deserialize, Serialize};

/// A name with its desired state and its current revision.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Deployment {
    /// The full name, `demo.greeter`.
    pub name: String,
    /// The version that the manifest or the deployer gave.
    pub version: String,
    /// `function` or `service`.
    pub kind: String,
    /// `ready`, `starting` or `failed`.
    pub state: String,
    /// Why it failed.
    pub detail: String,
    /// The number of the current revision.
    pub revision: u64,
    /// `sha256:…` of the component.
    pub digest: String,
    /// The component's bytes.
    pub size: u64,
    /// RFC 3339.
    pub deployed_at: String,
    /// `lean` or `concurrent`.
    pub engine: String,
    /// The interface by which it runs as a program, if that is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Whether the component is in memory now.
    pub loaded: bool,
    /// `Say.Hello`, …
    pub endpoints: Vec<String>,
    /// What the component imports.
    pub imports: Vec<String>,
    /// Its limits.
    pub limits: Limits,
    /// Its counts since the host started.
    pub stats: Stats,
    /// The live instances of a service.
    pub replicas: Option<Replicas>,
    /// What is tried beside the current revision.
    pub canary: Option<Canary>,
    /// The times at which its endpoints are called.
    pub schedules: Vec<Schedule>,
    /// What the host wants the deployer to know.
    pub warnings: Vec<String>,
    /// In the answer to a deploy: false when that component was already the current one.
    pub changed: Option<bool>,
}

/// The limits of a deployment.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Limits {
    /// Of one instance, as people write it: `64.0 MiB`.
    pub memory: String,
    /// Of one call: `5s`.
    pub timeout: String,
    /// Calls at once.
    pub concurrency: u64,
    /// Calls that may wait.
    pub queue: u64,
}

/// The counts of a deployment.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Stats {
    /// Calls that were answered, errors included.
    pub calls: u64,
    /// Calls that were answered with an error.
    pub errors: u64,
    /// Calls being run.
    pub in_flight: u64,
    /// Calls waiting.
    pub queued: u64,
}

/// The live instances of a service.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Replicas {
    /// How many there should be.
    pub wanted: u64,
    /// How many take calls.
    pub ready: u64,
    /// How often one was replaced.
    pub restarts: u64,
    /// Why those that are not ready are not.
    pub problems: Vec<String>,
}

/// A revision that gets a share of the calls.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Canary {
    /// Its number.
    pub revision: u64,
    /// Its version.
    pub version: String,
    /// Its share of the calls.
    pub percent: f64,
    /// Calls that it answered, errors included.
    pub calls: u64,
    /// Calls that it answered with an error.
    pub errors: u64,
}

/// Times at which an endpoint is called.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Schedule {
    /// `*/5 * * * *`
    pub cron: String,
    /// `Jobs.Sweep`
    pub endpoint: String,
    /// `Europe/Berlin`
    pub timezone: String,
    /// RFC 3339; none while the deployment has failed.
    pub next: Option<String>,
    /// None before the first run.
    pub last: Option<LastRun>,
    /// Runs that were due and did not take place.
    pub missed: u64,
}

/// How a scheduled call went.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct LastRun {
    /// RFC 3339, when it began.
    pub at: String,
    /// `ok` or `failed`.
    pub outcome: String,
    /// The code of its error.
    pub code: Option<u16>,
    /// The words of its error.
    pub detail: Option<String>,
    /// In milliseconds.
    pub took_ms: u64,
}

/// `GET /v1/deployments`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Deployments {
    /// Every deployment.
    pub deployments: Vec<Deployment>,
}

/// One deployed component of a deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Revision {
    /// From 1 upwards.
    pub number: u64,
    /// Its version.
    pub version: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// RFC 3339.
    pub deployed_at: String,
    /// Whether calls go to it.
    pub current: bool,
    /// The share of the calls of a revision that is tried, in percent.
    pub canary: Option<f64>,
    /// Calls that it answered since the host started, errors included, while it is in use.
    pub calls: u64,
    /// Calls that it answered with an error.
    pub errors: u64,
}

/// `GET /v1/deployments/{name}/revisions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Revisions {
    /// Newest first.
    pub revisions: Vec<Revision>,
}

/// One line that a function or its host wrote.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LogLine {
    /// RFC 3339.
    pub time: String,
    /// Whose line it is.
    pub deployment: String,
    /// Of which revision.
    pub revision: u64,
    /// The id of the call that wrote it.
    pub request: String,
    /// `stdout`, `stderr` or `host`.
    pub stream: String,
    /// The line.
    pub message: String,
}

/// Something that happened to a deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// RFC 3339.
    pub time: String,
    /// `deployed`, `canary`, `promoted`, `rolled-back`, `removed`, `refused`; `failed`, `unhealthy`, `healthy`;
    /// `instance-failed`, `instance-restarted`; `schedule-failed`.
    pub kind: String,
    /// To which deployment.
    pub deployment: String,
    /// Which revision; a refused component never became one.
    pub revision: Option<u64>,
    /// More, for people.
    pub detail: String,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The host's version.
    pub version: String,
    /// Its name.
    pub host: String,
    /// RFC 3339.
    pub started_at: String,
    /// The gateway's `host:port`.
    pub api_address: String,
    /// The sidecar's `host:port`.
    pub sidecar_address: String,
    /// The namespace that the gateway puts in front of names, when the host tells it.
    pub namespace: String,
    /// Where the host keeps its state.
    pub data_dir: String,
    /// What its engines run with, in whatever form the host tells it.
    pub engines: serde_json::Value,
    /// How many deployments there are.
    pub deployments: u64,
}

impl Status {
    /// The gateway's base URL, without a slash at its end.
    pub fn api_url(&self) -> String {
        url(&self.api_address)
    }

    /// The sidecar's base URL, without a slash at its end.
    pub fn sidecar_url(&self) -> String {
        url(&self.sidecar_address)
    }
}

fn url(address: &str) -> String {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    format!("http://{}", reachable(address))
}
