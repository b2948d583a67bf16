//! The registry in this process's memory: the rules of the [module](super) in their plainest form.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::{Action, Event, RegisterOptions, Registry, RegistryError, WatchOptions, Watcher};
use super::{check, watch::Watchers};
use crate::record::{Node, Service};

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;

/// The name of this backend.
pub const NAME: &str = "memory";

/// A registry nobody else sees and that is gone with the process.
#[derive(Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By name, then by version.
    services: BTreeMap<String, BTreeMap<String, Record>>,
    watchers: Watchers,
    leases_given: u64,
}

struct Record {
    service: Service,
    /// By node id, for the nodes that go away by themselves.
    leases: HashMap<String, Lease>,
}

/// A running timer that takes its node away. Dropping the lease stops it.
struct Lease {
    /// Tells this lease from its renewal, should both be due before one of them is stopped.
    number: u64,
    timer: JoinHandle<()>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl Memory {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Registry for Memory {
    fn name(&self) -> &str {
        NAME
    }

    async fn register(&self, service: &Service, options: RegisterOptions) -> Result<(), RegistryError> {
        check(service)?;
        let mut state = lock(&self.state);
        let action = state.merge(service);
        for node in &service.nodes {
            let lease = options.lease().map(|ttl| state.lease(&self.state, service, node, ttl));
            state.set_lease(service, &node.id, lease);
        }
        if let Some(action) = action {
            state.watchers.publish(&Event { action, service: Arc::new(service.clone()) });
        }
        Ok(())
    }

    async fn deregister(&self, service: &Service) -> Result<(), RegistryError> {
        lock(&self.state).remove(&service.name, &service.version, &service.nodes);
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, RegistryError> {
        match lock(&self.state).services.get(name) {
            Some(versions) => Ok(versions.values().map(|record| record.service.clone()).collect()),
            None => Err(RegistryError::NotFound(name.to_owned())),
        }
    }

    async fn list(&self) -> Result<Vec<Service>, RegistryError> {
        let state = lock(&self.state);
        let records = state.services.values().flat_map(BTreeMap::values);
        Ok(records.map(|record| record.service.clone()).collect())
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher, RegistryError> {
        Ok(lock(&self.state).watchers.add(options))
    }
}

impl State {
    fn record(&mut self, name: &str, version: &str) -> Option<&mut Record> {
        self.services.get_mut(name)?.get_mut(version)
    }

    /// Takes a registration over; `None` when it says nothing new.
    fn merge(&mut self, service: &Service) -> Option<Action> {
        if let Some(record) = self.record(&service.name, &service.version) {
            return record.service.merge(service).then_some(Action::Update);
        }
        // Merging into an empty record keeps each node id once, whatever the registration says.
        let mut record = Service::new(&service.name, &service.version);
        record.merge(service);
        let record = Record { service: record, leases: HashMap::new() };
        let versions = self.services.entry(service.name.clone()).or_default();
        versions.insert(service.version.clone(), record);
        Some(Action::Create)
    }

    fn set_lease(&mut self, service: &Service, node: &str, lease: Option<Lease>) {
        let Some(record) = self.record(&service.name, &service.version) else {
            return;
        };
        match lease {
            Some(lease) => drop(record.leases.insert(node.to_owned(), lease)),
            None => drop(record.leases.remove(node)),
        }
    }

    fn lease(&mut self, shared: &Arc<Mutex<Self>>, service: &Service, node: &Node, ttl: Duration) -> Lease {
        self.leases_given += 1;
        let number = self.leases_given;
        let (name, version) = (service.name.clone(), service.version.clone());
        let node = node.clone();
        // A timer must not keep a registry alive that nobody else holds.
        let shared = Arc::downgrade(shared);
        // The time runs from here, not from when the task first gets its turn.
        let over = tokio::time::sleep(ttl);
        let timer = tokio::spawn(async move {
            over.await;
            expire(&shared, &name, &version, node, number);
        });
        Lease { number, timer }
    }

    fn remove(&mut self, name: &str, version: &str, nodes: &[Node]) {
        let Some(record) = self.record(name, version) else {
            return;
        };
        let gone = record.service.take_nodes(nodes);
        if gone.is_empty() {
            return;
        }
        for node in &gone {
            record.leases.remove(&node.id);
        }
        let empty = record.service.nodes.is_empty();
        let event = Service { nodes: gone, ..record.service.without_nodes() };
        if empty && let Some(versions) = self.services.get_mut(name) {
            versions.remove(version);
            if versions.is_empty() {
                self.services.remove(name);
            }
        }
        self.watchers.publish(&Event { action: Action::Delete, service: Arc::new(event) });
    }
}

fn expire(shared: &Weak<Mutex<State>>, name: &str, version: &str, node: Node, number: u64) {
    let Some(shared) = shared.upgrade() else {
        return;
    };
    let mut state = lock(&shared);
    let current = state.record(name, version).and_then(|record| record.leases.get(&node.id));
    if current.is_some_and(|lease| lease.number == number) {
        state.remove(name, version, &[node]);
    }
}

/// A panic elsewhere cannot leave a half-made change here, so a poisoned lock is as good as any.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
