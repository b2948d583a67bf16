//! From a call to the node that answers it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::call::{Call, Reply, random_below};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::record::{Node, Service};
use crate::registry::Cache;
use crate::transport::Transport;

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

/// Who speaks in the errors made here.
const ID: &str = "go.micro.client";

type Transports = Vec<Arc<dyn Transport>>;

/// What is known of a service, and the ways to its nodes.
type Found = (Arc<[Service]>, Guard<Arc<Transports>>);

/// Calls services by name. Cloning is cheap and gives another handle on the same client.
#[derive(Clone)]
pub struct Client {
    cache: Arc<Cache>,
    transports: Arc<ArcSwap<Transports>>,
}

impl Client {
    /// A client that finds nodes through the cache and cannot reach any until a transport is attached.
    pub fn new(cache: Arc<Cache>) -> Self {
        Self { cache, transports: Arc::default() }
    }

    /// Lets all handles of this client use a transport; one of the same name is replaced.
    ///
    /// This comes after building because the local transport ends in the runtime, whose functions call through
    /// this very client. A transport that holds the client should therefore hold it weakly or not be dropped.
    pub fn attach(&self, transport: Arc<dyn Transport>) {
        self.transports.rcu(|attached| {
            let others = attached.iter().filter(|other| other.name() != transport.name());
            others.chain([&transport]).cloned().collect::<Transports>()
        });
    }

    /// The cache this client finds nodes in.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// What is known of a service.
    ///
    /// # Errors
    /// With id `go.micro.client`: 404 when no such service is known.
    pub fn records(&self, service: &str) -> Result<Arc<[Service]>, Error> {
        let records = self.cache.get(service);
        records.ok_or_else(|| Error::not_found(ID, format!("service {service}: not found")).again_soon())
    }

    /// Calls the endpoint on one node of the service, picked at random from the nodes of all versions, or of the one
    /// that the call asks for, that an attached transport reaches. No deadline is added and nothing is tried twice.
    ///
    /// # Errors
    /// Whatever the callee or the transport answers. With id `go.micro.client`: 404 when no such service or version is
    /// known, 503 when none of its nodes can be reached.
    pub async fn call(&self, call: Call) -> Result<Reply, Error> {
        let (records, transports) = self.find(&call)?;
        let (node, transport) = pick(&records, &transports, call.version.as_deref()).ok_or_else(|| none_left(&call))?;
        transport.call(node, call).await
    }

    /// Opens a call of a streaming endpoint on a node that is picked as for [`Client::call`].
    ///
    /// # Errors
    /// As for [`Client::call`].
    pub async fn open(&self, call: Call) -> Result<Exchange, Error> {
        let (records, transports) = self.find(&call)?;
        let (node, transport) = pick(&records, &transports, call.version.as_deref()).ok_or_else(|| none_left(&call))?;
        transport.open(node, call).await
    }

    fn find(&self, call: &Call) -> Result<Found, Error> {
        let records = self.records(&call.service)?;
        if let Some(version) = &call.version
            && records.iter().all(|record| *record.version != **version)
        {
            let versions: Vec<&str> = records.iter().map(|record| record.version.as_str()).collect();
            let detail = format!("service {}: no version {version}; there are {}", call.service, versions.join(", "));
            return Err(Error::not_found(ID, detail));
        }
        Ok((records, self.transports.load()))
    }
}

fn none_left(call: &Call) -> Error {
    Error::unavailable(ID, format!("error selecting {} node: none available", call.service)).again_soon()
}

/// Picks without building a list: counts what can be reached, then walks to the chosen one.
fn pick<'a>(
    records: &'a [Service],
    transports: &'a Transports,
    version: Option<&str>,
) -> Option<(&'a Node, &'a Arc<dyn Transport>)> {
    let reachable = || {
        let records = records.iter().filter(move |record| version.is_none_or(|version| record.version == version));
        records.flat_map(|service| &service.nodes).filter_map(|node| {
            let name = node.transport()?;
            let transport = transports.iter().find(|transport| transport.name() == name)?;
            Some((node, transport))
        })
    };
    match reachable().count() {
        0 => None,
        1 => reachable().next(),
        count => reachable().nth(random_below(count)),
    }
}
