//! What a registry holds: services, their nodes and their endpoints, in go-micro's JSON form.
//!
//! Writing uses lower-case keys and leaves none out. Reading is as lenient as the peers' decoder: keys in any
//! letter case, `null` or a missing key for an empty value, unknown keys ignored.

mod read;

use std::collections::BTreeMap;

use serde::Serialize;

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

/// Labels on a service, a node or an endpoint; sorted, so that equal records have equal JSON.
pub type Metadata = BTreeMap<String, String>;

/// One version of a service and the nodes that serve it. Name and version together are its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Service {
    /// The name callers use, as in `demo.greeter`.
    pub name: String,
    /// The version all the nodes below run, as in `1.2.0` or `latest`.
    pub version: String,
    /// Labels of the service itself.
    pub metadata: Metadata,
    /// What can be called.
    pub endpoints: Vec<Endpoint>,
    /// Where it is served, each id once.
    pub nodes: Vec<Node>,
}

/// One address that serves a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Unique within a version, usually `<service>-<uuid>`.
    pub id: String,
    /// `host:port`; what a transport needs to reach the node.
    pub address: String,
    /// Labels of the node; `transport` and `protocol` say how it is reached.
    pub metadata: Metadata,
}

/// One thing a service can be asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// `<Struct>.<Method>`, as in `Say.Hello`.
    pub name: String,
    /// The message it takes, when known.
    pub request: Option<Value>,
    /// The message it answers with, when known.
    pub response: Option<Value>,
    /// Labels such as `stream`, `topic` or the ones of an API route.
    pub metadata: Metadata,
}

/// A message or one of its fields, as far as a person needs it to fill in a form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Value {
    /// The field's name; the type's name for a whole message.
    pub name: String,
    /// The name of its type, `type` in JSON.
    #[serde(rename = "type")]
    pub kind: String,
    /// The fields of a message, empty for a plain value.
    pub values: Vec<Value>,
}

impl Service {
    /// A record with a name and a version and nothing else yet.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into(), ..Self::default() }
    }

    /// The node of that id.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The endpoint of that name.
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == name)
    }

    /// The same record with an empty list of nodes, for saying which of them came or went.
    pub(crate) fn without_nodes(&self) -> Service {
        Service {
            name: self.name.clone(),
            version: self.version.clone(),
            metadata: self.metadata.clone(),
            endpoints: self.endpoints.clone(),
            nodes: Vec::new(),
        }
    }

    /// Takes over another record of the same identity: its metadata and endpoints replace ours, its nodes
    /// replace ours of the same id or are added. Returns whether anything changed.
    pub fn merge(&mut self, other: &Service) -> bool {
        let mut changed = false;
        if self.metadata != other.metadata {
            self.metadata.clone_from(&other.metadata);
            changed = true;
        }
        if self.endpoints != other.endpoints {
            self.endpoints.clone_from(&other.endpoints);
            changed = true;
        }
        for node in &other.nodes {
            match self.nodes.iter_mut().find(|ours| ours.id == node.id) {
                Some(ours) if ours == node => continue,
                Some(ours) => ours.clone_from(node),
                None => self.nodes.push(node.clone()),
            }
            changed = true;
        }
        changed
    }

    /// Removes the nodes with the ids of the given ones, or all when none is given, and returns the removed.
    pub fn take_nodes(&mut self, nodes: &[Node]) -> Vec<Node> {
        if nodes.is_empty() {
            return std::mem::take(&mut self.nodes);
        }
        let named = |ours: &mut Node| nodes.iter().any(|node| node.id == ours.id);
        self.nodes.extract_if(.., named).collect()
    }
}

impl Node {
    /// The transport that reaches this node, from its metadata; `None` when it does not say.
    pub fn transport(&self) -> Option<&str> {
        self.metadata.get("transport").map(String::as_str)
    }
}
