//! Deployments as the registry knows them.

use super::Runtime;
use super::deployment::{Deployment, Revision};
use micro_engine::Inspection;
use micro_engine::name::title_case;
use micro_engine::schema::{self, Type};
use micro_mesh::registry::RegisterOptions;
use micro_mesh::{Endpoint, Metadata, Node, Service, Value, transport};
use std::collections::BTreeSet;
use std::sync::Arc;

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
/// The metadata key that tells which revision a node serves: two may have the same version.
const REVISION: &str = "revision";

/// So many records are made and told at a time when a host starts: each takes some kilobytes.
const TOLD_AT_ONCE: usize = 512;

/// What the registry holds of this node for one name: version, revision, address.
type Entry = (String, String, String);

impl Runtime {
    /// Tells the registry what `deployment` serves now: a record for its current version, and one for that of its canary.
    pub(super) async fn register(&self, deployment: &Deployment) -> anyhow::Result<()> {
        let mut services = Vec::new();
        for revision in served(deployment) {
            let inspection = self.inspection(deployment, &revision).await?;
            services.push(self.record(deployment, &revision, &inspection));
        }
        for service in &services {
            self.registry().register(service, RegisterOptions::default()).await?;
        }
        // Other versions of this node go away after that: callers find the name at any moment.
        self.withdraw(&deployment.name, &services).await
    }

    /// Takes this node out of every record of `name`.
    pub(super) async fn deregister(&self, name: &str) -> anyhow::Result<()> {
        self.withdraw(name, &[]).await
    }

    /// Takes this node out of the records of `name`, but not out of those versions that stay.
    async fn withdraw(&self, name: &str, stay: &[Service]) -> anyhow::Result<()> {
        for known in self.registry().get(name).await.unwrap_or_default() {
            if stay.iter().any(|service| service.version == known.version) {
                continue;
            }
            let own = self.own_part(known);
            // A record without nodes stands for all of them.
            if !own.nodes.is_empty() {
                self.registry().deregister(&own).await?;
            }
        }
        Ok(self.client.cache().refresh_service(name).await?)
    }

    /// Makes the registry agree with the deployments of this host, as after a crash between two writes. What the cache
    /// knows is compared, so that a registry which agrees already is not read again, and what differs is told in few
    /// steps.
    pub(super) async fn reconcile_registry(&self) -> anyhow::Result<()> {
        let known = self.client.cache().snapshot();
        let mut due = Vec::new();
        let mut left = Vec::new();
        let mut is_unknown = false;
        let routes = self.routes.load_full();
        for deployment in routes.values() {
            let told = known.get(&deployment.name).map(|records| self.entries(records)).unwrap_or_default();
            let wanted: BTreeSet<Entry> = served(deployment)
                .into_iter()
                .map(|revision| (revision.version.clone(), revision.number.to_string(), self.node.address.clone()))
                .collect();
            if told != wanted {
                due.push(deployment.clone());
                is_unknown |= told.is_empty();
                if told.iter().any(|(told, ..)| wanted.iter().all(|(version, ..)| version != told)) {
                    left.push(deployment.clone());
                }
            }
        }
        for part in due.chunks(TOLD_AT_ONCE) {
            self.registry().register_all(&self.records(part).await?, RegisterOptions::default()).await?;
        }
        // A name that the cache has leads here already; what is new of it, the cache hears in a moment.
        if is_unknown {
            self.client.cache().refresh().await?;
        }
        for deployment in left {
            self.register(&deployment).await?;
        }
        for (name, records) in known.iter() {
            if !routes.contains_key(name) && !self.entries(records).is_empty() {
                self.deregister(name).await?;
            }
        }
        Ok(())
    }

    /// What records say of this host.
    fn entries(&self, records: &[Service]) -> BTreeSet<Entry> {
        let own = records.iter().flat_map(|record| record.nodes.iter().map(|node| (&record.version, node)));
        let own = own.filter(|(_, node)| node.metadata.get(HOST) == Some(&self.node.host));
        let entry = |(version, node): (&String, &Node)| {
            (version.clone(), node.metadata.get(REVISION).cloned().unwrap_or_default(), node.address.clone())
        };
        own.map(entry).collect()
    }

    /// The records of these deployments, made of one reading of the database.
    async fn records(&self, deployments: &[Arc<Deployment>]) -> anyhow::Result<Vec<Service>> {
        let wanted = deployments
            .iter()
            .flat_map(|deployment| served(deployment).into_iter().map(move |revision| (deployment, revision)));
        let wanted: Vec<_> = wanted.collect();
        let keys = wanted.iter().map(|(deployment, revision)| (deployment.name.clone(), revision.number)).collect();
        let inspections = self.inspections(keys).await?;
        let records = wanted.iter().zip(inspections);
        Ok(records.map(|((deployment, revision), inspection)| self.record(deployment, revision, &inspection)).collect())
    }

    fn record(&self, deployment: &Deployment, revision: &Revision, inspection: &Inspection) -> Service {
        let node = Node {
            id: format!("{}-{}", deployment.name, self.node.host),
            address: self.node.address.clone(),
            metadata: Metadata::from([
                ("transport".into(), transport::LOCAL.into()),
                ("server".into(), "micro".into()),
                (HOST.into(), self.node.host.clone()),
                (REVISION.into(), revision.number.to_string()),
            ]),
        };
        let mut metadata: Metadata = revision.manifest.metadata.clone();
        if let Some(description) = &revision.manifest.description {
            metadata.insert("description".into(), description.clone());
        }
        if let Some(web) = inspection.web {
            metadata.insert("web".into(), web.as_str().into());
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

/// The revisions that callers find by version: a canary of the same version hides behind the current one.
fn served(deployment: &Deployment) -> Vec<Arc<Revision>> {
    let current = deployment.current();
    let canary = deployment.canary().map(|canary| canary.revision.clone());
    let canary = canary.filter(|canary| canary.version != current.version);
    [current].into_iter().chain(canary).collect()
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
