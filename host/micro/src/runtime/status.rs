//! The deployments as the admin API shows them.

use super::deployment::{Deployment, Revision, RevisionStats};
use super::replicas::ReplicasStatus;
use super::schedule::ScheduleStatus;
use super::store::RevisionRow;
use super::subscriptions::SubscriptionStatus;
use super::{DeployError, Runtime};
use anyhow::Context as _;
use micro_engine::capability::{self, Grant};
use micro_engine::inspect::Web;
use micro_engine::manifest::{Limit, Unit};
use micro_engine::{Inspection, Manifest};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// One deployment with its current revision.
#[derive(Debug, Clone, Serialize)]
pub struct DeploymentStatus {
    name: String,
    version: String,
    kind: &'static str,
    state: &'static str,
    detail: String,
    revision: u64,
    digest: String,
    size: u64,
    #[serde(serialize_with = "rfc3339")]
    deployed_at: SystemTime,
    engine: &'static str,
    /// How it takes HTTP requests as they are: `wasi:http 0.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    web: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<String>,
    /// The interface by which the component runs as a program, if that is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    loaded: bool,
    endpoints: Vec<String>,
    imports: Vec<String>,
    grants: Vec<Grant>,
    limits: BTreeMap<&'static str, LimitStatus>,
    stats: StatsStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<ReplicasStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<CanaryStatus>,
    schedules: Vec<ScheduleStatus>,
    subscriptions: Vec<SubscriptionStatus>,
    warnings: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct CanaryStatus {
    revision: u64,
    version: String,
    percent: f64,
    calls: u64,
    errors: u64,
}

/// One limit: bytes, seconds or a count.
#[derive(Debug, Clone, Serialize)]
struct LimitStatus {
    limit: f64,
    /// The largest instance so far, the calls that run or wait now; none where there is nothing to tell.
    used: Option<u64>,
    /// How often it bit since the host started.
    hits: u64,
}

#[derive(Debug, Clone, Serialize)]
struct StatsStatus {
    calls: u64,
    errors: u64,
    in_flight: u32,
    queued: u32,
    /// Time of its instances on processors.
    cpu_seconds: f64,
    /// Bytes of all instances that there are now.
    memory: u64,
    instances: u32,
    /// Since the revision was loaded: requests, connections, calls and stores that were not allowed.
    denied: u64,
}

/// What comes to a deployment without being called from outside.
pub(super) struct Due {
    pub(super) schedules: Vec<ScheduleStatus>,
    pub(super) subscriptions: Vec<SubscriptionStatus>,
}

impl DeploymentStatus {
    pub(super) fn new(
        deployment: &Deployment,
        revision: &Revision,
        inspection: &Inspection,
        Due { schedules, subscriptions }: Due,
    ) -> DeploymentStatus {
        let replicas = revision.replicas().map(|replicas| replicas.status());
        let is_up = replicas.as_ref().is_none_or(|replicas| replicas.ready > 0);
        let problem = replicas.as_ref().and_then(|replicas| replicas.problems.last().cloned());
        let failure = deployment.failure();
        let (in_flight, queued) = revision.load();
        DeploymentStatus {
            name: deployment.name.to_string(),
            version: revision.version.clone(),
            kind: revision.manifest.kind.as_str(),
            state: match (&failure, is_up) {
                (Some(_), _) => "failed",
                (None, true) => "ready",
                (None, false) => "starting",
            },
            detail: failure.or(problem).unwrap_or_default(),
            revision: revision.number,
            digest: revision.digest.clone(),
            size: revision.size,
            deployed_at: time(revision.deployed_at),
            engine: inspection.engine.as_str(),
            web: inspection.web.map(Web::as_str),
            hosts: revision.manifest.host.clone(),
            command: inspection.command().map(str::to_string),
            loaded: revision.is_loaded(),
            endpoints: inspection.endpoints.iter().map(|endpoint| endpoint.name.to_string()).collect(),
            imports: inspection.imports.clone(),
            grants: capability::grants(inspection, &revision.manifest),
            limits: limits(deployment, revision),
            stats: StatsStatus {
                calls: deployment.calls(),
                errors: deployment.errors(),
                in_flight,
                queued,
                cpu_seconds: deployment.usage.cpu().as_secs_f64(),
                memory: deployment.usage.memory(),
                instances: deployment.usage.instances(),
                denied: revision.program().map_or(0, |program| program.denied()),
            },
            replicas,
            canary: deployment.canary().map(|canary| CanaryStatus {
                revision: canary.revision.number,
                version: canary.revision.version.clone(),
                percent: canary.percent,
                calls: canary.revision.stats.calls.load(Ordering::Relaxed),
                errors: canary.revision.stats.errors.load(Ordering::Relaxed),
            }),
            schedules,
            subscriptions,
            warnings: warnings(inspection, &revision.manifest),
        }
    }
}

impl Runtime {
    /// The WIT by which other guests import what the current revision of `name` exports.
    pub async fn wit(&self, name: &str) -> Result<String, DeployError> {
        let digest = self.existing(name)?.current().digest.clone();
        let components = self.components.clone();
        let print = tokio::task::spawn_blocking(move || {
            let component = components.read(&digest).with_context(|| format!("read component {digest}"))?;
            Ok::<_, DeployError>(micro_engine::wit::wit_text(&component)?)
        });
        print.await.context("print the WIT")?
    }
}

/// Each limit of a revision, with its use and how often it bit.
fn limits(deployment: &Deployment, revision: &Revision) -> BTreeMap<&'static str, LimitStatus> {
    let (in_flight, queued) = revision.load();
    let status = |limit: Limit| {
        let value = revision.limits.get(limit);
        let status = LimitStatus {
            limit: match limit.unit() {
                Unit::Time => Duration::from_nanos(value).as_secs_f64(),
                Unit::Bytes | Unit::Count => value as f64,
            },
            used: match limit {
                Limit::Memory => Some(deployment.usage.largest()),
                Limit::Concurrency => Some(in_flight.into()),
                Limit::Queue => Some(queued.into()),
                Limit::Timeout | Limit::Cpu | Limit::Request | Limit::Reply | Limit::Log | Limit::Reuse => None,
            },
            hits: deployment.usage.hits(limit),
        };
        (limit.name(), status)
    };
    Limit::ALL.into_iter().map(status).collect()
}

/// What a deployer should know although nothing is wrong.
fn warnings(inspection: &Inspection, manifest: &Manifest) -> Vec<String> {
    const SERVED: [&str; 4] =
        ["wasi:cli/run", "micro:function/lifecycle@0.1", "wasi:http/handler@0.3.", "wasi:http/incoming-handler@0.2."];
    let unused = inspection.other_exports.iter().filter(|export| !SERVED.iter().any(|name| export.starts_with(name)));
    let unused = unused.map(|export| format!("{export} is exported and not served by this host"));
    // With a manifest it would not have been deployed.
    let missing = match inspection.manifest {
        None => capability::not_granted(inspection, manifest),
        Some(_) => Vec::new(),
    };
    unused.chain(missing).collect()
}

/// One kept revision.
#[derive(Debug, Clone, Serialize)]
pub struct RevisionStatus {
    number: u64,
    version: String,
    digest: String,
    size: u64,
    #[serde(serialize_with = "rfc3339")]
    deployed_at: SystemTime,
    current: bool,
    /// The share of the calls of a revision that is tried, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<f64>,
    /// Since the host started, as far as the revision is in use.
    calls: u64,
    errors: u64,
}

impl RevisionStatus {
    pub(super) fn new(row: RevisionRow, deployment: &Deployment) -> RevisionStatus {
        let current = deployment.current();
        let canary = deployment.canary();
        let in_use = [Some(current.clone()), canary.as_ref().map(|canary| canary.revision.clone())];
        let in_use = in_use.into_iter().flatten().find(|revision| revision.number == row.number);
        let count = |count: fn(&RevisionStats) -> &AtomicU64| {
            in_use.as_ref().map_or(0, |revision| count(&revision.stats).load(Ordering::Relaxed))
        };
        RevisionStatus {
            calls: count(|stats| &stats.calls),
            errors: count(|stats| &stats.errors),
            canary: canary.filter(|canary| canary.revision.number == row.number).map(|canary| canary.percent),
            current: row.number == current.number,
            number: row.number,
            version: row.version,
            digest: row.digest,
            size: row.size,
            deployed_at: time(row.deployed_at),
        }
    }
}

/// A time as the database keeps it, in milliseconds since 1970.
fn time(milliseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

/// The same as text.
pub(crate) fn rfc3339_text(milliseconds: i64) -> String {
    humantime::format_rfc3339_millis(time(milliseconds)).to_string()
}

/// The current time as the database keeps it.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Times as the admin API shows them: `2026-01-01T00:00:00.000Z`.
pub(super) fn rfc3339<S: Serializer>(time: &SystemTime, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&humantime::format_rfc3339_millis(*time))
}
