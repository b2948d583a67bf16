//! `micro.toml`: what a function package says of itself.
//!
//! The manifest lies beside the source and is embedded in the component as the custom section `micro.manifest`, so that
//! one `.wasm` file is the whole deployable thing.

use crate::name::hint;
use crate::section;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// How the component is made from its source.
    pub build: Build,
    /// What one call, and all calls together, may use.
    pub limits: Limits,
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
    pub env: BTreeMap<String, String>,
    /// HTTP paths that lead to endpoints.
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

/// `[allow]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Allow {
    /// Services that it may call by name; `*` stands for anything.
    pub call: Vec<String>,
    /// Stores beside its own that it may open; `*` stands for anything.
    pub store: Vec<String>,
}

impl Allow {
    /// Whether the service may be called by name.
    pub fn may_call(&self, service: &str) -> bool {
        self.call.iter().any(|pattern| matches(pattern, service))
    }

    /// Whether the store may be opened.
    pub fn may_open(&self, store: &str) -> bool {
        self.store.iter().any(|pattern| matches(pattern, store))
    }
}

/// Whether a name fits a pattern in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            let ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            ends.filter_map(|at| tail.get(at..)).any(|tail| matches(rest, tail))
        }),
    }
}

/// `[[route]]`: an HTTP path of the gateway that leads to an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Route {
    /// `GET`; any method, if there is none.
    pub method: Option<String>,
    /// `/v1/hello/{name}`: what is in braces becomes a field of the request.
    pub path: String,
    /// `Say.Hello`
    pub endpoint: String,
}

/// `[[subscribe]]`: a topic whose messages go to an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Subscribe {
    /// `orders.created`
    pub topic: String,
    /// The group that shares the messages; every deployment gets all of them, if there is none.
    pub queue: Option<String>,
    /// `Billing.OnOrder`
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

/// `[limits]`: what the host binds a deployment to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Limits {
    /// Of one instance: all its linear memories and tables together.
    #[serde(serialize_with = "exact_size")]
    pub memory: ByteSize,
    /// Wall time of one call, from the moment it has an instance.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Calls that run at once.
    pub concurrency: u32,
    /// Calls that wait for their turn; the next one is turned away.
    pub queue: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: ByteSize::mib(64), timeout: Duration::from_secs(5), concurrency: 64, queue: 256 }
    }
}

/// What a manifest may ask for at most.
const MAX_MEMORY: ByteSize = ByteSize::gib(4);
const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const MAX_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const MAX_CONCURRENCY: u32 = 4096;
const MAX_QUEUE: u32 = 65_536;
const MAX_REPLICAS: u32 = 256;
/// A page of memory, the least that a guest can have.
const MIN_MEMORY: ByteSize = ByteSize::kib(64);
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
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
        check_keys(&table)?;
        let manifest: Manifest = toml::from_str(text).map_err(|error| ManifestError(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
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
        if let Some(route) = self.route.iter().find(|route| !route.path.starts_with('/') || route.endpoint.is_empty()) {
            let path = &route.path;
            return Err(ManifestError(format!("route {path:?}: expected a path that begins with / and an endpoint")));
        }
        self.check_ranges()
    }

    fn check_ranges(&self) -> Result<(), ManifestError> {
        let Manifest { limits, service, rollout, .. } = self;
        let checks = [
            range("limits.memory", limits.memory, MIN_MEMORY, MAX_MEMORY),
            time("limits.timeout", limits.timeout, MIN_TIMEOUT, MAX_TIMEOUT),
            range("limits.concurrency", limits.concurrency, 1, MAX_CONCURRENCY),
            range("limits.queue", limits.queue, 0, MAX_QUEUE),
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

/// The keys of each table, so that a wrong one can be answered with the right one.
const KEYS: [(&str, &[&str]); 10] = [
    (
        "",
        &[
            "name",
            "namespace",
            "version",
            "description",
            "kind",
            "build",
            "limits",
            "service",
            "rollout",
            "allow",
            "imports",
            "args",
            "env",
            "route",
            "subscribe",
            "schedule",
            "reply",
            "metadata",
        ],
    ),
    ("build", &["command", "output", "watch"]),
    ("limits", &["memory", "timeout", "concurrency", "queue"]),
    ("service", &["replicas", "restart", "hash", "on-state-refused", "grace", "health-interval"]),
    ("rollout", &["window", "max-errors", "min-calls"]),
    ("allow", &["call", "store"]),
    ("route", &["method", "path", "endpoint"]),
    ("subscribe", &["topic", "queue", "endpoint"]),
    ("schedule", &["cron", "endpoint", "timezone", "request", "missed", "overlap"]),
    ("reply", &["content-type"]),
];

fn check_keys(table: &toml::Table) -> Result<(), ManifestError> {
    for (section, known) in KEYS {
        let tables: Vec<&toml::Table> = match table.get(section) {
            _ if section.is_empty() => vec![table],
            Some(toml::Value::Table(one)) => vec![one],
            Some(toml::Value::Array(many)) => many.iter().filter_map(toml::Value::as_table).collect(),
            _ => Vec::new(),
        };
        for key in tables.into_iter().flat_map(|table| table.keys()) {
            if known.contains(&key.as_str()) {
                continue;
            }
            let place = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            let hint = hint(key, known.iter().copied());
            return Err(ManifestError(format!("unknown key `{place}`: {hint}")));
        }
    }
    Ok(())
}

/// Appends `manifest` to a component, in place of one that it already holds.
pub fn embed(component: &[u8], manifest: &str) -> Result<Vec<u8>, ManifestError> {
    Manifest::parse(manifest)?;
    section::put(component, SECTION, manifest.as_bytes()).map_err(ManifestError)
}

/// As people write sizes where that is exact, else in bytes: what is kept must be the same when it comes back.
fn exact_size<S: serde::Serializer>(size: &ByteSize, out: S) -> Result<S::Ok, S::Error> {
    let text = size.to_string();
    match text.parse::<ByteSize>() {
        Ok(read) if read == *size => out.serialize_str(&text),
        _ => out.collect_str(&format_args!("{} B", size.as_u64())),
    }
}

/// Durations as people write them: `5s`, `250ms`.
mod duration {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&humantime::format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(input)?;
        humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format!("expected a duration like \"5s\" or \"250ms\": {error}")))
    }
}

#[cfg(test)]
mod tests;
