//! What goes on after its response: a connection that is a WebSocket from then on.

use super::connection::Running;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// Belongs to a request that asks for another protocol, in its extensions. Whoever takes the connection keeps this: it
/// counts as a request, and a stop waits for it, until this is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    /// Filled when the response is out and says that the protocol changes.
    running: Arc<OnceLock<Running>>,
    stopped: watch::Receiver<bool>,
    /// The door's, which waits until all of them are gone.
    _each: watch::Receiver<()>,
}

impl Upgrade {
    pub(super) fn new(stopped: watch::Receiver<bool>, each: watch::Receiver<()>) -> Upgrade {
        Upgrade { running: Arc::default(), stopped, _each: each }
    }

    /// Hands over what counts the request.
    pub(super) fn keep(&self, running: Running) {
        // There is one response to a request.
        let _ = self.running.set(running);
    }

    /// Waits until the host stops.
    pub(crate) async fn stopped(&mut self) {
        // An ended sender means the host is gone, which is a stop as well.
        let _ = self.stopped.wait_for(|is_stopped| *is_stopped).await;
    }
}
