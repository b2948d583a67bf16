//! Which services exist and where: one trait, a backend a file.
//!
//! The rules all backends keep, checked by [`contract`]:
//! - A record is named by service name and version. Registering adds its nodes to that record by node id;
//!   metadata and endpoints are those of the latest registration.
//! - Deregistering takes the named nodes away, all of them when none is named. A record goes with its last node.
//! - A node registered with a time to live goes away when that time passes without another registration of it.
//! - A watcher learns of every change, in order, and of nothing else: a registration that only prolongs a life
//!   is no event.

pub mod cache;
pub mod contract;
pub mod memory;
pub mod sqlite;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::record::Service;

pub use cache::Cache;
pub use watch::{Action, Event, Watcher};

/// Where services are registered and found.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The backend's name, as in `sqlite`.
    fn name(&self) -> &str;

    /// Adds the record's nodes, or renews them. The record needs a name and at least one node, each with an id.
    async fn register(&self, service: &Service, options: RegisterOptions) -> Result<(), RegistryError>;

    /// Registers all of these, as one after the other: a backend that can does it in one step, which is what makes a host
    /// with thousands of services start quickly. When it fails, some may be registered.
    async fn register_all(&self, services: &[Service], options: RegisterOptions) -> Result<(), RegistryError> {
        for service in services {
            self.register(service, options).await?;
        }
        Ok(())
    }

    /// Takes the record's nodes away, or the whole version when it lists none. What is not there is no error.
    async fn deregister(&self, service: &Service) -> Result<(), RegistryError>;

    /// The records of that name, one per version, sorted by version; an unknown name is
    /// [`RegistryError::NotFound`].
    async fn get(&self, name: &str) -> Result<Vec<Service>, RegistryError>;

    /// All records in full, sorted by name and version.
    async fn list(&self) -> Result<Vec<Service>, RegistryError>;

    /// Reports every change from the moment this returns.
    async fn watch(&self, options: WatchOptions) -> Result<Watcher, RegistryError>;
}

/// How long a registration holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegisterOptions {
    /// After this time without another registration the nodes go away; `None` and zero mean never.
    pub ttl: Option<Duration>,
}

impl RegisterOptions {
    /// A registration that has to be renewed within `ttl`.
    pub fn with_ttl(ttl: Duration) -> Self {
        Self { ttl: Some(ttl) }
    }

    /// The time to live, when there is one.
    pub(crate) fn lease(self) -> Option<Duration> {
        self.ttl.filter(|ttl| !ttl.is_zero())
    }
}

/// What a watcher wants to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Only this service; `None` means all.
    pub service: Option<String>,
}

impl WatchOptions {
    /// Only the service of that name.
    pub fn service(name: impl Into<String>) -> Self {
        Self { service: Some(name.into()) }
    }
}

/// Why a registry did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No record has that name.
    #[error("service {0}: not found")]
    NotFound(String),
    /// The record cannot be registered as it is; the text says what to change.
    #[error("service record {name:?}: {problem}")]
    Invalid {
        /// The name in the record.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting names no backend, or one that lacks what it needs.
    #[error("{0}")]
    Setting(String),
    /// The backend failed; asking again later may work.
    #[error("{registry} registry: {doing}: {source}")]
    Backend {
        /// The backend's name.
        registry: &'static str,
        /// What was tried, as in `register demo.greeter`.
        doing: String,
        /// What the backend said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What [`open`] may need, depending on the backend.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The file of a backend that keeps one.
    pub path: Option<PathBuf>,
}

/// The names [`open`] takes.
pub const KINDS: [&str; 2] = [memory::NAME, sqlite::NAME];

/// Opens a registry by its backend's name. Needs a tokio runtime.
///
/// # Errors
/// [`RegistryError::Setting`] for a name that is none of [`KINDS`] or an option that is missing, and
/// [`RegistryError::Backend`] when the backend cannot be reached or its file not be used.
pub async fn open(kind: &str, options: OpenOptions) -> Result<Arc<dyn Registry>, RegistryError> {
    match kind {
        memory::NAME => Ok(Arc::new(memory::Memory::new())),
        sqlite::NAME => {
            let path = options
                .path
                .ok_or_else(|| RegistryError::Setting("Registry sqlite needs the path of its file".to_owned()))?;
            Ok(Arc::new(sqlite::Sqlite::open(path).await?))
        }
        other => Err(RegistryError::Setting(format!("Registry {other} not found, known are: {}", KINDS.join(", ")))),
    }
}

/// Refuses a record that no backend could hold.
pub(crate) fn check(service: &Service) -> Result<(), RegistryError> {
    let problem = if service.name.is_empty() {
        "the name is empty"
    } else if service.nodes.is_empty() {
        "it has no nodes, at least one is needed"
    } else if service.nodes.iter().any(|node| node.id.is_empty()) {
        "a node has no id"
    } else {
        return Ok(());
    };
    Err(RegistryError::Invalid { name: service.name.clone(), problem: problem.to_owned() })
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
