//! The deployments as the admin API shows them.

use super::deployment::{Deployment, Revision};
use super::store::RevisionRow;
use micro_engine::Inspection;
use serde::{Serialize, Serializer};
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
    loaded: bool,
    endpoints: Vec<String>,
    imports: Vec<String>,
    limits: LimitsStatus,
    stats: StatsStatus,
    warnings: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct LimitsStatus {
    memory: String,
    timeout: String,
    concurrency: u32,
    queue: u32,
}

#[derive(Debug, Clone, Serialize)]
struct StatsStatus {
    calls: u64,
    errors: u64,
    in_flight: u32,
    queued: u32,
}

impl DeploymentStatus {
    pub(super) fn new(deployment: &Deployment, revision: &Revision, inspection: &Inspection) -> DeploymentStatus {
        let failure = deployment.failure();
        let limits = &revision.manifest.limits;
        let (in_flight, queued) = revision.load();
        DeploymentStatus {
            name: deployment.name.to_string(),
            version: revision.version.clone(),
            kind: revision.manifest.kind.as_str(),
            state: if failure.is_none() { "ready" } else { "failed" },
            detail: failure.unwrap_or_default(),
            revision: revision.number,
            digest: revision.digest.clone(),
            size: revision.size,
            deployed_at: time(revision.deployed_at),
            engine: inspection.engine.as_str(),
            loaded: revision.is_loaded(),
            endpoints: inspection.endpoints.iter().map(|endpoint| endpoint.name.to_string()).collect(),
            imports: inspection.imports.clone(),
            limits: LimitsStatus {
                memory: limits.memory.display().iec().to_string(),
                timeout: humantime::format_duration(limits.timeout).to_string(),
                concurrency: limits.concurrency,
                queue: limits.queue,
            },
            stats: StatsStatus { calls: deployment.calls(), errors: deployment.errors(), in_flight, queued },
            warnings: warnings(inspection),
        }
    }
}

/// What a deployer should know although nothing is wrong.
fn warnings(inspection: &Inspection) -> Vec<String> {
    let unused = inspection.other_exports.iter().filter(|export| !export.starts_with("wasi:cli/run"));
    unused.map(|export| format!("{export} is exported and not served by this host")).collect()
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
}

impl RevisionStatus {
    pub(super) fn new(row: RevisionRow, current: u64) -> RevisionStatus {
        RevisionStatus {
            current: row.number == current,
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

/// The current time as the database keeps it.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Times as the admin API shows them: `2026-01-01T00:00:00.000Z`.
pub(super) fn rfc3339<S: Serializer>(time: &SystemTime, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&humantime::format_rfc3339_millis(*time))
}
