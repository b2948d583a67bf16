//! Telling watchers what changed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::WatchOptions;
use crate::record::Service;

/// How many events a watcher may be behind before its watch ends. An event is two words, so a full queue is
/// 256 KiB, and a burst of registrations as large as the largest host fits.
const QUEUE: usize = 16_384;

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The version is new.
    Create,
    /// Nodes, metadata or endpoints of a known version changed.
    Update,
    /// Nodes went away, and the record with its last one.
    Delete,
}

/// One change. Its JSON has go-micro's keys, `Action` and `Service`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    #[serde(rename = "Action", alias = "action")]
    pub action: Action,
    /// The record with the nodes that came or went, not with the ones that stayed. A delete without nodes means
    /// that the whole version is gone.
    #[serde(rename = "Service", alias = "service")]
    pub service: Arc<Service>,
}

/// Yields changes in the order they happened.
#[derive(Debug)]
pub struct Watcher {
    events: mpsc::Receiver<Event>,
}

impl Watcher {
    /// Waits for the next change. `None` means the watch is over, because the registry is gone or this watcher
    /// fell too far behind: watch again, then list, to be sure of the present state. May be cancelled.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next change if it is already here.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

/// The watchers of one registry, kept by its backend.
#[derive(Default)]
pub(crate) struct Watchers {
    all: Vec<(Option<String>, mpsc::Sender<Event>)>,
}

impl Watchers {
    /// A watcher of everything published from now on.
    pub(crate) fn add(&mut self, options: WatchOptions) -> Watcher {
        let (sender, events) = mpsc::channel(QUEUE);
        self.all.push((options.service, sender));
        Watcher { events }
    }

    /// Whether anyone listens; forgets those that stopped.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.all.retain(|(_, sender)| !sender.is_closed());
        self.all.is_empty()
    }

    /// Hands the event to everyone who asked for it. Who has stopped or cannot keep up is dropped, which ends
    /// that watch once its queue is read.
    pub(crate) fn publish(&mut self, event: &Event) {
        self.all.retain(|(wanted, sender)| match wanted {
            Some(name) if *name != event.service.name => !sender.is_closed(),
            _ => sender.try_send(event.clone()).is_ok(),
        });
    }

    /// Ends all watches: events were lost and everyone has to list again.
    pub(crate) fn end(&mut self) {
        self.all.clear();
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
