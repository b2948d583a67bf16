//! What the admin API tells, as far as commands show it. Every field may be missing: a host of another version is
//! still worth talking to.

use super::address::reachable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// How it takes HTTP requests as they are: `wasi:http 0.2`.
    pub web: Option<String>,
    /// Host names that are its own.
    pub hosts: Vec<String>,
    /// The interface by which it runs as a program, if that is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Whether the component is in memory now.
    pub loaded: bool,
    /// `Say.Hello`, …
    pub endpoints: Vec<String>,
    /// What the component imports.
    pub imports: Vec<String>,
    /// The same with what it is granted of it, and what is granted and not used.
    pub grants: Vec<Grant>,
    /// Its limits.
    pub limits: BTreeMap<String, Limit>,
    /// Its counts since the host started.
    pub stats: Stats,
    /// The live instances of a service.
    pub replicas: Option<Replicas>,
    /// What is tried beside the current revision.
    pub canary: Option<Canary>,
    /// The times at which its endpoints are called.
    pub schedules: Vec<Schedule>,
    /// Topics whose messages come to it.
    pub subscriptions: Vec<Subscription>,
    /// What the host wants the deployer to know.
    pub warnings: Vec<String>,
    /// In the answer to a deploy: false when that component was already the current one.
    pub changed: Option<bool>,
}

/// A limit of a deployment.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Limit {
    /// Bytes, seconds or a count.
    pub limit: f64,
    /// What of it is used, where there is something to tell.
    pub used: Option<u64>,
    /// How often it bit since the host started.
    pub hits: u64,
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
    /// Time of its instances on processors.
    pub cpu_seconds: f64,
    /// Bytes of all its instances now.
    pub memory: u64,
    /// Instances now.
    pub instances: u64,
    /// What the function asked for and was not allowed.
    pub denied: u64,
}

/// An import and what it is granted.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Grant {
    /// `wasi:http/outgoing-handler@0.2.6`; empty for what no import uses.
    pub import: String,
    /// `always`, `granted`, `nothing` or `unused`.
    pub state: String,
    /// What, in words.
    pub what: String,
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

/// A topic whose messages come to a deployment.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Subscription {
    /// `orders.*`
    pub topic: String,
    /// The group by which the broker knows it.
    pub group: String,
    /// `Billing.OnOrder`
    pub endpoint: String,
    /// Messages that were done with.
    pub handled: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Messages that became dead letters.
    pub dead: u64,
    /// Messages in work.
    pub in_work: u64,
    /// Why it gets no messages.
    pub problem: Option<String>,
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
    /// RFC 3339; none while the deployment's instances are given up.
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
    /// Those that were asked for, by name.
    pub deployments: Vec<Deployment>,
    /// How many there are in all.
    pub total: usize,
}

/// Which deployments to list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The most that are listed.
    pub limit: Option<usize>,
    /// Only names that come after this one.
    pub after: Option<String>,
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
    /// `stdout`, `stderr`, `host` or `log`.
    pub stream: String,
    /// How grave it is, where the function says so: `trace`, `debug`, `info`, `warn`, `error` or `critical`.
    pub level: Option<String>,
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
    /// What is in its doors, when the host tells it.
    pub doors: Option<Doors>,
    /// How many deployments there are.
    pub deployments: u64,
    /// The memory of all guests.
    pub guest_memory: GuestMemory,
    /// The code in memory.
    pub code: Code,
}

/// The memory of all guests together, in bytes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct GuestMemory {
    /// What they have.
    pub used: u64,
    /// What they may have.
    pub limit: u64,
    /// How often one was refused more because of it.
    pub refusals: u64,
}

/// The doors of a host: what they may take, what they have taken, what they did not take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Doors {
    /// The gateway.
    pub gateway: Entrance,
    /// The sidecar.
    pub sidecar: Entrance,
    /// The connections that each door may have.
    pub max_connections: u64,
    /// Requests that are served now.
    pub requests: u64,
    /// The requests that may be.
    pub max_requests: u64,
    /// Requests that were turned away because there were too many.
    pub shed: u64,
    /// Connections and requests that were ended because the caller was too slow.
    pub slow: u64,
}

/// One door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Entrance {
    /// Connections that are open now.
    pub connections: u64,
    /// Connections that were turned away because there were too many.
    pub refused: u64,
}

/// The code of functions and services that a host has in memory.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Code {
    /// Components.
    pub loaded: u64,
    /// Bytes that they take, about.
    pub bytes: u64,
    /// What they may take.
    pub budget: u64,
    /// Loads since the host started.
    pub loads: u64,
    /// Unloads since then.
    pub unloads: u64,
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
