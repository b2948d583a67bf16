//! What happened to the deployments of this host.

use serde::Serialize;
use std::time::SystemTime;
use tokio::sync::broadcast;

/// Events that a slow listener may lag behind before it misses some.
const LISTENER_LAG: usize = 256;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When.
    #[serde(serialize_with = "super::status::rfc3339")]
    pub time: SystemTime,
    /// `deployed`, `rolled-back`, `removed`, `refused` or `failed`.
    pub kind: &'static str,
    /// To which deployment.
    pub deployment: String,
    /// Which revision, if one was made or left.
    pub revision: Option<u64>,
    /// In words.
    pub detail: String,
}

/// Tells events to whoever listens.
#[derive(Debug)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Events {
        Events(broadcast::Sender::new(LISTENER_LAG))
    }
}

impl Events {
    /// All events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }

    pub(super) fn tell(&self, kind: &'static str, deployment: &str, revision: Option<u64>, detail: impl Into<String>) {
        let event =
            Event { time: SystemTime::now(), kind, deployment: deployment.into(), revision, detail: detail.into() };
        tracing::info!(kind, deployment, revision, detail = event.detail, "deployment changed");
        // Nobody listening is no error.
        let _ = self.0.send(event);
    }
}
