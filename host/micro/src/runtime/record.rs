//! Deployments as the registry knows them.

use super::Runtime;
use super::deployment::{Deployment, Revision};
use micro_engine::Inspection;
use micro_engine::name::title_case;
use micro_engine::schema::{self, Type};
use micro_mesh::registry::RegisterOptions;
use micro_mesh::{Endpoint, Metadata, Node, Service, Value, transport};
use std::collections::HashSet;

/// Messages inside messages are shown this deep, as go-micro shows them.
const MAX_DEPTH: usize = 3;

/// Who this node is.
#[derive(Debug, Clone)]
pub(super) struct NodeIdentity {
    pub(super) host: String,
    pub(super) address: String,
}

/// The metadata key that tells which host a node belongs to.
const HOST: &str = "host";

impl Runtime {
    /// Tells the registry what `deployment` serves now: a record for its current version, and one for that of its canary.
    pub(super) async fn register(&self, deployment: &Deployment, inspection: &Inspection) -> anyhow::Result<()> {
        let mut services = vec![self.record(deployment, &deployment.current(), inspection)];
        if let Some(canary) = deployment.canary()
            && canary.revision.version != services[0].version
        {
            let inspection = self.inspection(deployment, &canary.revision).await?;
            services.push(self.record(deployment, &canary.revision, &inspection));
        }
        let registry = self.registry();
        for service in &services {
            registry.register(service, RegisterOptions::default()).await?;
        }
        // Other versions of this node go away after that: callers find the name at any moment.
        for known in registry.get(&deployment.name).await.unwrap_or_default() {
            if services.iter().all(|service| service.version != known.version) {
                registry.deregister(&self.own_part(known)).await?;
            }
        }
        Ok(self.client.cache().refresh_service(&deployment.name).await?)
    }

    /// Takes this node out of every record of `name`.
    pub(super) async fn deregister(&self, name: &str) -> anyhow::Result<()> {
        for known in self.registry().get(name).await.unwrap_or_default() {
            let own = self.own_part(known);
            if !own.nodes.is_empty() {
                self.registry().deregister(&own).await?;
            }
        }
        Ok(self.client.cache().refresh_service(name).await?)
    }

    /// Makes the registry agree with the deployments of this host, as after a crash between two writes.
    pub(super) async fn reconcile_registry(&self) -> anyhow::Result<()> {
        let mut in_order = HashSet::new();
        for known in self.registry().list().await? {
            let deployment = self.deployment(&known.name);
            let is_current = deployment.is_some_and(|deployment| {
                let canary = deployment.canary().map(|canary| canary.revision.clone());
                [Some(deployment.current()), canary].iter().flatten().any(|revision| revision.version == known.version)
            });
            let own = self.own_part(known.clone());
            if own.nodes.is_empty() {
                continue;
            }
            if !is_current {
                self.registry().deregister(&own).await?;
            } else if own.nodes.iter().all(|node| node.address == self.node.address) {
                in_order.insert(known.name);
            }
        }
        for deployment in self.deployments() {
            if !in_order.contains(&*deployment.name) {
                let current = deployment.current();
                let inspection = self.inspection(&deployment, &current).await?;
                let record = self.record(&deployment, &current, &inspection);
                self.registry().register(&record, RegisterOptions::default()).await?;
            }
        }
        Ok(self.client.cache().refresh().await?)
    }

    fn record(&self, deployment: &Deployment, revision: &Revision, inspection: &Inspection) -> Service {
        let node = Node {
            id: format!("{}-{}", deployment.name, self.node.host),
            address: self.node.address.clone(),
            metadata: Metadata::from([
                ("transport".into(), transport::LOCAL.into()),
                ("server".into(), "micro".into()),
                (HOST.into(), self.node.host.clone()),
            ]),
        };
        let mut metadata: Metadata = revision.manifest.metadata.clone();
        if let Some(description) = &revision.manifest.description {
            metadata.insert("description".into(), description.clone());
        }
        Service {
            name: deployment.name.to_string(),
            version: revision.version.clone(),
            metadata,
            endpoints: inspection.endpoints.iter().map(endpoint).collect(),
            nodes: vec![node],
        }
    }

    /// What this host holds of a record.
    fn own_part(&self, mut service: Service) -> Service {
        service.nodes.retain(|node| node.metadata.get(HOST) == Some(&self.node.host));
        service
    }
}

/// An endpoint with its request and response trees.
pub(crate) fn endpoint(endpoint: &schema::Endpoint) -> Endpoint {
    let mut metadata = Metadata::new();
    if let Some(docs) = &endpoint.docs {
        metadata.insert("description".into(), docs.lines().next().unwrap_or_default().to_string());
    }
    if endpoint.stream.is_some() {
        // As go-micro marks endpoints that stream.
        metadata.insert("stream".into(), "true".into());
    }
    let message = &endpoint.request.message;
    let request =
        Value { name: title_case(&message.name), kind: title_case(&message.name), values: fields(message, 0) };
    let response = endpoint.reply.ok.as_ref().map(|ty| match ty {
        Type::Record(record) => {
            Value { name: title_case(&record.name), kind: title_case(&record.name), values: fields(record, 0) }
        }
        other => Value { name: "Response".into(), kind: "Response".into(), values: vec![value("result", other, 0)] },
    });
    Endpoint {
        name: endpoint.name.to_string(),
        request: Some(request),
        response: response.or_else(|| Some(empty())),
        metadata,
    }
}

fn empty() -> Value {
    Value { name: "Response".into(), kind: "Response".into(), values: Vec::new() }
}

fn fields(record: &schema::Record, depth: usize) -> Vec<Value> {
    if depth == MAX_DEPTH {
        return Vec::new();
    }
    record.fields.iter().map(|field| value(&field.name.json, &field.ty, depth + 1)).collect()
}

fn value(name: &str, ty: &Type, depth: usize) -> Value {
    let values = match inner(ty) {
        Type::Record(record) => fields(record, depth),
        Type::Variant(variant) if depth < MAX_DEPTH => {
            let cases = variant.cases.iter().filter_map(|case| case.ty.as_ref().map(|ty| (case, ty)));
            cases.map(|(case, ty)| value(&case.name.json, ty, depth + 1)).collect()
        }
        _ => Vec::new(),
    };
    Value { name: name.into(), kind: type_name(ty), values }
}

/// The type that matters for the fields below: what an option or a list holds.
fn inner(ty: &Type) -> &Type {
    match ty {
        Type::Option(some) => inner(some),
        Type::List(item) | Type::FixedList(item, _) => inner(item),
        other => other,
    }
}

/// A type by the name that go-micro's users know.
fn type_name(ty: &Type) -> String {
    match ty {
        Type::S8 => "int8".into(),
        Type::U8 => "uint8".into(),
        Type::S16 => "int16".into(),
        Type::U16 => "uint16".into(),
        Type::S32 => "int32".into(),
        Type::U32 => "uint32".into(),
        Type::S64 => "int64".into(),
        Type::U64 => "uint64".into(),
        Type::F32 => "float32".into(),
        Type::F64 => "float64".into(),
        Type::Bytes => "[]uint8".into(),
        Type::List(item) | Type::FixedList(item, _) => format!("[]{}", type_name(item)),
        Type::Map(key, value) => format!("map[{}]{}", type_name(key), type_name(value)),
        Type::Option(some) => type_name(some),
        Type::Record(_) | Type::Variant(_) | Type::Enum(_) | Type::Flags(_) => title_case(&ty.label()),
        other => other.label(),
    }
}
