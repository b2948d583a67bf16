//! The counts of the deployments that do something, for whoever looks again and again.

use super::calls::{self, CallCounts};
use super::histogram::BOUNDS;
use super::process::Process;
use crate::runtime::Runtime;
use crate::runtime::deployment::Deployment;
use serde::Serialize;

/// The deployments that did something since the last look.
#[derive(Debug, Serialize)]
pub(crate) struct Top {
    /// The time of this look, by a clock of the host's own. The next look gives it back.
    now_ms: u64,
    deployments: Vec<Activity>,
    /// The upper bounds of `buckets`, but for the last one, which has none.
    bounds_seconds: Vec<f64>,
    /// CPU time and memory of the process; nothing where the system does not tell.
    cpu_seconds: Option<f64>,
    resident_bytes: Option<u64>,
}

/// One deployment. The counts are those since the host started.
#[derive(Debug, Serialize)]
struct Activity {
    name: String,
    kind: &'static str,
    calls: u64,
    errors: u64,
    in_flight: u32,
    queued: u32,
    instances: u32,
    /// Of all instances together.
    memory_bytes: u64,
    /// Of its guests.
    cpu_seconds: f64,
    /// How many calls took no longer than each bound, and longer than the one before.
    buckets: Vec<u64>,
}

/// What was done since the look at `since`, or since the host started.
pub(crate) fn since(runtime: &Runtime, since: Option<u64>) -> Top {
    // Read first: what happens meanwhile is told the next time once more.
    let now_ms = calls::now();
    let process = Process::read();
    let mut deployments = Vec::new();
    for deployment in runtime.routes.load().values() {
        if let Some(counts) = deployment.counts()
            && (since.is_none_or(|since| counts.last() >= since) || deployment.load() != (0, 0))
        {
            deployments.push(Activity::new(deployment, counts));
        }
    }
    Top {
        now_ms,
        deployments,
        bounds_seconds: BOUNDS.iter().map(|(_, nanoseconds)| *nanoseconds as f64 / 1e9).collect(),
        cpu_seconds: process.map(|process| process.cpu_seconds),
        resident_bytes: process.map(|process| process.resident_bytes),
    }
}

impl Activity {
    fn new(deployment: &Deployment, counts: &CallCounts) -> Activity {
        let (in_flight, queued) = deployment.load();
        Activity {
            name: deployment.name.to_string(),
            kind: deployment.current().manifest.kind.as_str(),
            calls: counts.calls(),
            errors: counts.errors(),
            in_flight,
            queued,
            instances: deployment.instances(),
            memory_bytes: deployment.usage.memory(),
            cpu_seconds: deployment.usage.cpu().as_secs_f64(),
            buckets: counts.durations.buckets().into(),
        }
    }
}
