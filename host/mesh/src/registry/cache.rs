//! The registry as this process last saw it: lookups without waiting, also while the backend is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Action, Event, Registry, RegistryError, WatchOptions, Watcher};
use crate::record::{Endpoint, Service};

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;

/// All records by service name, the versions of one sorted. A changed one shares what did not change with the one before:
/// one more service costs the same among ten thousand.
///
/// The trees of requests and responses are left out: they are for people, who ask the registry, and are most of a
/// record.
pub type Snapshot = HashTrieMapSync<Arc<str>, Arc<[Service]>>;

/// After a change, how long further ones are collected before they show. The first change of a burst shows at once.
const COLLECT: Duration = Duration::from_millis(2);
/// The pause before a lost watch is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Follows a registry and answers from memory.
///
/// It watches first and lists then, so that no change falls between the two; when the watch ends it does both
/// again. While the backend does not answer, the last known records stay.
pub struct Cache {
    shared: Arc<Shared>,
    following: JoinHandle<()>,
}

struct Shared {
    registry: Arc<dyn Registry>,
    snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot is replaced, from asking the registry to storing the answer: an event that comes in
    /// between is applied to the new snapshot and not lost with the old one.
    replacing: Mutex<()>,
    replaced: watch::Sender<u64>,
}

impl Cache {
    /// Follows the registry from now on. The records that exist are in the cache when this returns, unless the
    /// backend fails; then it starts empty and fills as soon as the backend answers.
    pub async fn open(registry: Arc<dyn Registry>) -> Self {
        let shared = Arc::new(Shared {
            registry,
            snapshot: ArcSwap::default(),
            replacing: Mutex::new(()),
            replaced: watch::Sender::new(0),
        });
        let watcher = shared.start().await;
        let following = tokio::spawn(follow(Arc::clone(&shared), watcher));
        Self { shared, following }
    }

    /// The records of that name, one per version, or `None` when none is known. Takes no lock and never waits.
    pub fn get(&self, name: &str) -> Option<Arc<[Service]>> {
        self.shared.snapshot.load().get(name).cloned()
    }

    /// Everything known, as one consistent picture.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// All records, sorted by name and version.
    pub fn list(&self) -> Vec<Service> {
        let snapshot = self.shared.snapshot.load();
        let mut records: Vec<_> = snapshot.values().flat_map(|versions| versions.iter()).collect();
        records.sort_unstable_by_key(|record| (&record.name, &record.version));
        records.into_iter().cloned().collect()
    }

    /// A counter that grows with every new snapshot, for whoever builds something on top of it. Its current
    /// value counts as seen.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.replaced.subscribe()
    }

    /// The registry behind the cache.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.shared.registry
    }

    /// Asks the registry for everything now. After registering many services this makes all of them visible.
    ///
    /// # Errors
    /// The registry's; the known records then stay as they are.
    pub async fn refresh(&self) -> Result<(), RegistryError> {
        self.shared.refresh().await
    }

    /// Asks the registry for one service now, so that a change of it just made is visible to the next lookup.
    ///
    /// # Errors
    /// The registry's; the known records then stay as they are. A service that is not there is none.
    pub async fn refresh_service(&self, name: &str) -> Result<(), RegistryError> {
        let _replacing = self.shared.replacing.lock().await;
        let records = match self.shared.registry.get(name).await {
            Ok(records) => records.into_iter().map(kept).collect(),
            Err(RegistryError::NotFound(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        if self.get(name).as_deref().unwrap_or_default() == records {
            return Ok(());
        }
        let mut snapshot = Snapshot::clone(&self.shared.snapshot.load());
        put(&mut snapshot, name, records);
        self.shared.store(snapshot);
        Ok(())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Shared {
    /// Watches and lists. An error has been logged and leaves the known records as they are.
    async fn start(&self) -> Option<Watcher> {
        let started = async {
            let watcher = self.registry.watch(WatchOptions::default()).await?;
            self.refresh().await?;
            Ok::<_, RegistryError>(watcher)
        };
        started
            .await
            .inspect_err(|error| {
                tracing::warn!(%error, "the registry does not answer, serving what was known before");
            })
            .ok()
    }

    async fn refresh(&self) -> Result<(), RegistryError> {
        let _replacing = self.replacing.lock().await;
        let mut by_name: HashMap<String, Vec<Service>> = HashMap::new();
        for record in self.registry.list().await? {
            by_name.entry(record.name.clone()).or_default().push(kept(record));
        }
        let mut snapshot = Snapshot::default();
        for (name, records) in by_name {
            put(&mut snapshot, &name, records);
        }
        self.store(snapshot);
        Ok(())
    }

    async fn apply(&self, events: &[Event]) {
        let _replacing = self.replacing.lock().await;
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        for event in events {
            let name = event.service.name.as_str();
            let mut records = snapshot.get(name).map(|known| known.to_vec()).unwrap_or_default();
            follow_event(&mut records, event);
            put(&mut snapshot, name, records);
        }
        self.store(snapshot);
    }

    fn store(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.replaced.send_modify(|count| *count += 1);
    }
}

async fn follow(shared: Arc<Shared>, mut watcher: Option<Watcher>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(watcher) = &mut watcher {
            pause = FIRST_PAUSE;
            while let Some(event) = watcher.next().await {
                let mut events = vec![event];
                events.extend(std::iter::from_fn(|| watcher.try_next()));
                shared.apply(&events).await;
                sleep(COLLECT).await;
            }
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        watcher = shared.start().await;
    }
}

fn follow_event(records: &mut Vec<Service>, event: &Event) {
    let change = &event.service;
    let position = records.iter().position(|record| record.version == change.version);
    match (event.action, position) {
        (Action::Delete, None) => {}
        (Action::Delete, Some(position)) => {
            records[position].take_nodes(&change.nodes);
            if records[position].nodes.is_empty() {
                records.remove(position);
            }
        }
        (Action::Create | Action::Update, Some(position)) => {
            records[position].merge(&kept(Service::clone(change)));
        }
        (Action::Create | Action::Update, None) => {
            records.push(kept(Service::clone(change)));
            records.sort_unstable_by(|a, b| a.version.cmp(&b.version));
        }
    }
}

fn put(snapshot: &mut Snapshot, name: &str, records: Vec<Service>) {
    if records.is_empty() {
        snapshot.remove_mut(name);
    } else {
        snapshot.insert_mut(Arc::from(name), records.into());
    }
}

/// A record without the trees of its requests and responses.
fn kept(mut record: Service) -> Service {
    for endpoint in &mut record.endpoints {
        strip(endpoint);
    }
    record.endpoints.shrink_to_fit();
    record
}

fn strip(endpoint: &mut Endpoint) {
    (endpoint.request, endpoint.response) = (None, None);
}
