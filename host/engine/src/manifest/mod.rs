//! `micro.toml`: what a function package says of itself.
//!
//! The manifest lies beside the source and is embedded in the component as the custom section `micro.manifest`, so that
//! one `.wasm` file is the whole deployable thing.

mod allow;
mod destination;
mod duration;
mod folder;
mod keys;
mod limits;
mod subscribe;
mod variable;

pub use allow::{Allow, is_in_secret, matches};
pub use destination::{Destination, Scheme};
pub use folder::Folder;
pub use limits::{AskedLimits, HostLimits, Limit, Limits, Unit};
pub use subscribe::{Begin, Subscribe};
pub use variable::Variable;

use crate::section;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use variable::SecretName;

/// The custom section that holds the manifest.
pub const SECTION: &str = "micro.manifest";

/// A manifest larger than this is no manifest.
const MAX_MANIFEST: usize = 64 * 1024;

/// The longest name: it is also a file name and a DNS label's neighbour.
const MAX_NAME: usize = 128;

/// What `micro.toml` may hold. Every key is optional but for the name of a package that is built from source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Manifest {
    /// The deployment's name, without the namespace.
    pub name: Option<String>,
    /// Put in front of the name, with a dot.
    pub namespace: Option<String>,
    /// The version that callers see; `latest` when there is none.
    pub version: Option<String>,
    /// One line for people.
    pub description: Option<String>,
    /// Fresh instance per call, or long-lived instances.
    pub kind: Kind,
    /// Host names whose requests go to the HTTP handler: `shop.example.com`, `*.example.com`.
    pub host: Vec<String>,
    /// How the component is made from its source.
    pub build: Build,
    /// What one call, and all calls together, may use.
    pub limits: AskedLimits,
    /// How a service lives.
    pub service: Service,
    /// How a new revision takes over.
    pub rollout: Rollout,
    /// What it may reach beside its log, clocks, random numbers and its own store.
    pub allow: Allow,
    /// Imported interfaces and the deployments that give them: `"demo:users/directory" = "users"`.
    pub imports: BTreeMap<String, String>,
    /// Command line arguments of the guest.
    pub args: Vec<String>,
    /// Environment variables of the guest.
    pub env: BTreeMap<String, Variable>,
    /// What the guest reads by `wasi:config`.
    pub config: BTreeMap<String, String>,
    /// HTTP paths that lead to endpoints, or to the HTTP handler.
    pub route: Vec<Route>,
    /// Topics whose messages go to endpoints.
    pub subscribe: Vec<Subscribe>,
    /// Times at which endpoints are called.
    pub schedule: Vec<Schedule>,
    /// How replies leave.
    pub reply: Reply,
    /// Free text, shown with the service.
    pub metadata: BTreeMap<String, String>,
}

/// What a deployment is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A fresh instance per call.
    #[default]
    Function,
    /// Instances that live on and keep their state.
    Service,
}

impl Kind {
    /// As the manifest writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Function => "function",
            Kind::Service => "service",
        }
    }
}

/// `[build]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Build {
    /// Run by the shell in the package's folder; by default chosen by language.
    pub command: Option<String>,
    /// The component that the command leaves behind, relative to the package's folder.
    pub output: Option<String>,
    /// Files and folders that make a rebuild when they change.
    pub watch: Vec<String>,
}

/// `[service]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Service {
    /// Instances that live at once.
    pub replicas: u32,
    /// What follows when an instance fails.
    pub restart: Restart,
    /// The field of a request whose value chooses the instance: equal values meet the same one.
    pub hash: Option<String>,
    /// What follows when a new revision does not take the state of the old one.
    pub on_state_refused: OnStateRefused,
    /// How long an instance that has to stop may finish what it has.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// Between two questions for health.
    #[serde(with = "duration")]
    pub health_interval: Duration,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            replicas: 1,
            restart: Restart::default(),
            hash: None,
            on_state_refused: OnStateRefused::default(),
            grace: Duration::from_secs(10),
            health_interval: Duration::from_secs(5),
        }
    }
}

/// What follows when an instance fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// A new one takes its place, later each time.
    #[default]
    OnFailure,
    /// None.
    Never,
}

/// What follows when a new revision does not take the state of the old one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStateRefused {
    /// The deploy is refused, and the old revision goes on.
    #[default]
    Keep,
    /// The new revision starts without state.
    Empty,
}

/// `[rollout]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Rollout {
    /// How long a new revision is watched.
    #[serde(with = "duration")]
    pub window: Duration,
    /// The share of failed calls, in percent, at which a watched revision is rolled back.
    pub max_errors: f64,
    /// Calls that must have come before the share counts.
    pub min_calls: u64,
}

impl Default for Rollout {
    fn default() -> Rollout {
        Rollout { window: Duration::from_secs(60), max_errors: 5.0, min_calls: 20 }
    }
}

/// `[[route]]`: an HTTP path of the gateway that leads to an endpoint, or to the HTTP handler.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Route {
    /// `GET`; any method, if there is none.
    pub method: Option<String>,
    /// `shop.example.com`: the host name that it is for; any, if there is none.
    pub host: Option<String>,
    /// `/v1/hello/{name}`: what is in braces becomes a field of the request.
    pub path: String,
    /// `Say.Hello`; empty leads to the HTTP handler.
    pub endpoint: String,
}

/// `[[schedule]]`: times at which an endpoint is called.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Schedule {
    /// `*/5 * * * *`: minute, hour, day of the month, month, day of the week; with six fields the first is the second.
    pub cron: String,
    /// `Jobs.Sweep`
    pub endpoint: String,
    /// `Europe/Berlin`; UTC, if there is none.
    pub timezone: Option<String>,
    /// The request, as a JSON object.
    pub request: Option<String>,
    /// Whether a run that was due while the host was down, or while the last one still ran, is made up for.
    pub missed: Missed,
    /// Whether a run may begin while the last one still runs.
    pub overlap: bool,
}

/// What follows when a run was missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// Nothing: the next one is the next one.
    #[default]
    Skip,
    /// One run makes up for all that were missed.
    RunOnce,
}

/// `[reply]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Reply {
    /// The content type of replies that are plain bytes; by default told from the bytes.
    pub content_type: Option<String>,
}

/// What a manifest may ask for at most.
const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const MAX_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const MAX_REPLICAS: u32 = 256;
/// More often would be a load of its own.
const MIN_HEALTH_INTERVAL: Duration = Duration::from_millis(100);

/// Why a text is not a manifest.
#[derive(Debug, thiserror::Error)]
#[error("micro.toml: {0}")]
pub struct ManifestError(String);

impl Manifest {
    /// Reads and checks the text of a `micro.toml`.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        if text.len() > MAX_MANIFEST {
            return Err(ManifestError(format!("larger than {}", ByteSize::b(MAX_MANIFEST as u64))));
        }
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ManifestError(error.to_string()))?;
        keys::check_keys(&table)?;
        let manifest: Manifest = toml::from_str(text).map_err(|error| ManifestError(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads and checks what stands below `[allow]`, where it comes without the rest.
    pub fn parse_allow(allow: toml::Table) -> Result<Allow, ManifestError> {
        let table = toml::Table::from_iter([("allow".to_string(), allow.into())]);
        keys::check_keys(&table)?;
        let manifest: Manifest = table.try_into().map_err(|error| ManifestError(error.to_string()))?;
        manifest.allow.check().map_err(ManifestError)?;
        Ok(manifest.allow)
    }

    /// The name that the deployment goes by: `namespace.name`.
    pub fn full_name(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        Some(match &self.namespace {
            Some(namespace) => format!("{namespace}.{name}"),
            None => name.clone(),
        })
    }

    fn check(&self) -> Result<(), ManifestError> {
        let words = [("name", &self.name), ("namespace", &self.namespace)];
        for (key, word) in words {
            if let Some(word) = word {
                check_name(word).map_err(|reason| ManifestError(format!("{key} = {word:?}: {reason}")))?;
            }
        }
        if self.version.as_ref().is_some_and(|version| version.is_empty() || version.len() > MAX_NAME) {
            return Err(ManifestError(format!("version: expected 1 to {MAX_NAME} characters")));
        }
        if let Some(route) = self.route.iter().find(|route| !route.path.starts_with('/')) {
            let path = &route.path;
            return Err(ManifestError(format!("route {path:?}: expected a path that begins with /")));
        }
        let hosts = self.host.iter().chain(self.route.iter().filter_map(|route| route.host.as_ref()));
        if let Some(host) = hosts.into_iter().find(|host| !is_host(host)) {
            let reason = "expected a name as shop.example.com or *.example.com, without a port";
            return Err(ManifestError(format!("host {host:?}: {reason}")));
        }
        subscribe::check(&self.subscribe).map_err(ManifestError)?;
        self.check_allow().map_err(ManifestError)?;
        self.check_ranges()
    }

    /// Says what is wrong with what it may reach, if so.
    pub fn check_allow(&self) -> Result<(), String> {
        self.allow.check()?;
        let allowed = &self.allow.secrets;
        for (name, variable) in &self.env {
            if let Variable::Secret(SecretName { secret }) = variable
                && !allowed.contains(secret)
            {
                return Err(format!(
                    "env.{name}: the secret {secret:?} is not allowed: name it in `secrets` below [allow]"
                ));
            }
        }
        match self.config.keys().find(|key| allowed.contains(key)) {
            Some(key) => Err(format!("config.{key}: a secret has this name already: give one of them another")),
            None => Ok(()),
        }
    }

    fn check_ranges(&self) -> Result<(), ManifestError> {
        self.limits.check().map_err(ManifestError)?;
        let Manifest { service, rollout, .. } = self;
        let checks = [
            range("service.replicas", service.replicas, 1, MAX_REPLICAS),
            time("service.grace", service.grace, Duration::ZERO, MAX_TIMEOUT),
            time("service.health-interval", service.health_interval, MIN_HEALTH_INTERVAL, MAX_TIMEOUT),
            time("rollout.window", rollout.window, Duration::ZERO, MAX_WINDOW),
            range("rollout.max-errors", rollout.max_errors, 0.0, 100.0),
        ];
        checks.into_iter().collect()
    }
}

fn range<T: PartialOrd + std::fmt::Display>(key: &str, value: T, least: T, most: T) -> Result<(), ManifestError> {
    match (&least..=&most).contains(&&value) {
        true => Ok(()),
        false => Err(ManifestError(format!("{key}: expected {least} to {most}"))),
    }
}

fn time(key: &str, value: Duration, least: Duration, most: Duration) -> Result<(), ManifestError> {
    let text = humantime::format_duration;
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(ManifestError(format!("{key}: expected {} to {}", text(least), text(most)))),
    }
}

/// Whether a text is a host name, or one whose first word may be any.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= 253 && host.strip_prefix("*.").unwrap_or(host).split('.').all(is_label)
}

/// Says why `name` cannot name a deployment, if so. Names are words of letters, digits, `-` and `_`, with dots
/// between them.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_word = |word: &str| {
        let mut chars = word.chars();
        chars.next().is_some_and(|first| first.is_ascii_alphanumeric())
            && word.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_'))
    };
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("expected 1 to {MAX_NAME} characters"));
    }
    if !name.split('.').all(is_word) {
        return Err(
            "expected letters, digits, '-' and '_', in words that begin with a letter or digit and are joined by dots"
                .into(),
        );
    }
    Ok(())
}

/// Appends `manifest` to a component, in place of one that it already holds.
pub fn embed(component: &[u8], manifest: &str) -> Result<Vec<u8>, ManifestError> {
    Manifest::parse(manifest)?;
    section::put(component, SECTION, manifest.as_bytes()).map_err(ManifestError)
}

#[cfg(test)]
mod tests;
