//! Reading records the way the peers' decoder does, which serde's derive cannot: keys in any letter case.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Endpoint, Metadata, Node, Service, Value};

/// A JSON object that is filled in key by key.
trait Fields: Default {
    /// What a wrong value is told it should have been.
    const EXPECTED: &'static str;

    /// Reads the value of `key`, which comes in lower case. Must consume exactly one value.
    fn read<'de, M: MapAccess<'de>>(&mut self, key: &str, map: &mut M) -> Result<(), M::Error>;
}

impl Fields for Service {
    const EXPECTED: &'static str = "a service record (a JSON object)";

    fn read<'de, M: MapAccess<'de>>(&mut self, key: &str, map: &mut M) -> Result<(), M::Error> {
        match key {
            "name" => self.name = or_empty(map)?,
            "version" => self.version = or_empty(map)?,
            "metadata" => self.metadata = metadata(map)?,
            "endpoints" => self.endpoints = list(map)?,
            "nodes" => self.nodes = each_once(list(map)?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl Fields for Endpoint {
    const EXPECTED: &'static str = "an endpoint (a JSON object)";

    fn read<'de, M: MapAccess<'de>>(&mut self, key: &str, map: &mut M) -> Result<(), M::Error> {
        match key {
            "name" => self.name = or_empty(map)?,
            "request" => self.request = map.next_value()?,
            "response" => self.response = map.next_value()?,
            "metadata" => self.metadata = metadata(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl Fields for Value {
    const EXPECTED: &'static str = "a value description (a JSON object)";

    fn read<'de, M: MapAccess<'de>>(&mut self, key: &str, map: &mut M) -> Result<(), M::Error> {
        match key {
            "name" => self.name = or_empty(map)?,
            "type" => self.kind = or_empty(map)?,
            "values" => self.values = list(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// A node as any version of the peers writes it: the oldest keep the port apart from the address.
#[derive(Default)]
struct NodeFields {
    node: Node,
    port: u16,
}

impl Fields for NodeFields {
    const EXPECTED: &'static str = "a node (a JSON object)";

    fn read<'de, M: MapAccess<'de>>(&mut self, key: &str, map: &mut M) -> Result<(), M::Error> {
        match key {
            "id" => self.node.id = or_empty(map)?,
            "address" => self.node.address = or_empty(map)?,
            "port" => self.port = or_empty(map)?,
            "metadata" => self.node.metadata = metadata(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl From<NodeFields> for Node {
    fn from(fields: NodeFields) -> Self {
        let NodeFields { mut node, port } = fields;
        if port != 0 {
            // An IPv6 address without brackets would swallow the port.
            let bare_v6 = node.address.contains(':') && !node.address.starts_with('[');
            node.address =
                if bare_v6 { format!("[{}]:{port}", node.address) } else { format!("{}:{port}", node.address) };
        }
        node
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Filling(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Filling(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Filling(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Filling::<NodeFields>(PhantomData)).map(Node::from)
    }
}

struct Filling<T>(PhantomData<T>);

impl<'de, T: Fields> Visitor<'de> for Filling<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<T, M::Error> {
        let mut filled = T::default();
        while let Some(mut key) = map.next_key::<String>()? {
            key.make_ascii_lowercase();
            filled.read(&key, &mut map)?;
        }
        Ok(filled)
    }
}

fn or_empty<'de, T: Deserialize<'de> + Default, M: MapAccess<'de>>(map: &mut M) -> Result<T, M::Error> {
    Ok(map.next_value::<Option<T>>()?.unwrap_or_default())
}

/// Lists may be null, and so may their items: the peers cut deep messages off that way.
fn list<'de, T: Deserialize<'de>, M: MapAccess<'de>>(map: &mut M) -> Result<Vec<T>, M::Error> {
    Ok(or_empty::<Vec<Option<T>>, M>(map)?.into_iter().flatten().collect())
}

/// Of nodes with the same id the last one counts, at the place of the first.
fn each_once(nodes: Vec<Node>) -> Vec<Node> {
    let mut places = HashMap::with_capacity(nodes.len());
    let mut kept: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let place = *places.entry(node.id.clone()).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(before) => *before = node,
            None => kept.push(node),
        }
    }
    kept
}

fn metadata<'de, M: MapAccess<'de>>(map: &mut M) -> Result<Metadata, M::Error> {
    let labels: std::collections::BTreeMap<String, Option<String>> = or_empty(map)?;
    Ok(labels.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

fn skip<'de, M: MapAccess<'de>>(map: &mut M) -> Result<(), M::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}
