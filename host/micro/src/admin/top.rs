//! What deployments do at the moment: `GET /v1/top`.

use super::{ANSWER_LIMIT, Answer, Host, HostError};
use reqwest::Method;
use serde::{Deserialize, Serialize};

/// The deployments that did something since the last look.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Top {
    /// The time of this look, by a clock of the host's own, in milliseconds.
    pub now_ms: u64,
    /// Those that did something.
    pub deployments: Vec<Activity>,
    /// The upper bounds of the buckets, but for the last one, which has none.
    pub bounds_seconds: Vec<f64>,
    /// CPU time of the process since it started.
    pub cpu_seconds: Option<f64>,
    /// Its memory.
    pub resident_bytes: Option<u64>,
}

/// The counts of one deployment since the host started.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Activity {
    /// Its name.
    pub name: String,
    /// `function` or `service`.
    pub kind: String,
    /// Calls that were answered, errors included.
    pub calls: u64,
    /// Calls that were answered with an error.
    pub errors: u64,
    /// Calls that run.
    pub in_flight: u64,
    /// Calls that wait.
    pub queued: u64,
    /// Instances that live.
    pub instances: u64,
    /// Their memory, where it is measured.
    pub memory_bytes: Option<u64>,
    /// CPU time of the guests, where it is measured.
    pub cpu_seconds: Option<f64>,
    /// How many calls took no longer than each bound, and longer than the one before.
    pub buckets: Vec<u64>,
}

impl Host {
    /// What deployments did since the look at `since`, or since the host started.
    pub async fn top(&self, since: Option<u64>) -> Result<Answer<Top>, HostError> {
        let path = match since {
            Some(since) => format!("/v1/top?since={since}"),
            None => "/v1/top".to_owned(),
        };
        let request = self.admin(Method::GET, &path).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }
}
