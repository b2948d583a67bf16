//! `/openapi.json`: all endpoints of all deployments as an OpenAPI 3.1 document, made from their WIT.

mod schemas;

use super::Gateway;
use crate::pieces::{self, PIECE};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use micro_engine::Inspection;
use micro_engine::schema::{Endpoint, Field, Type};
use micro_mesh::Error;
use schemas::Schemas;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

const OPENAPI: &str = "3.1.0";

pub(super) async fn document(State(gateway): State<Gateway>) -> Response {
    match pieces::respond(write(gateway)).await {
        Ok(document) => document,
        Err(error) => {
            tracing::error!("the OpenAPI document cannot be made: {error:#}");
            super::error_response(Error::internal(super::ID, "the document cannot be made"))
        }
    }
}

/// The parts of the document that are written after the paths, in the making.
struct Rest {
    tags: Vec<u8>,
    schemas: Vec<u8>,
    /// Two names may lead to one path; it is described once.
    paths: HashSet<String>,
}

/// The document in pieces: the paths of some deployments each, and then what was collected meanwhile.
fn write(gateway: Gateway) -> impl Stream<Item = anyhow::Result<Bytes>> {
    let all = gateway.runtime.deployments();
    let parts: Vec<Vec<_>> = all.chunks(PIECE).map(<[_]>::to_vec).collect();
    let rest = Arc::new(Mutex::new(Rest { tags: Vec::new(), schemas: Vec::new(), paths: HashSet::new() }));
    let end = rest.clone();
    let paths = stream::iter(parts).then(move |part| {
        let (runtime, rest) = (gateway.runtime.clone(), rest.clone());
        async move {
            let current: Vec<_> = part.iter().map(|deployment| (deployment, deployment.current())).collect();
            let inspections = runtime.current_inspections(&current).await?;
            let current = current.into_iter().map(|(deployment, revision)| (deployment.name.clone(), revision));
            let current: Vec<_> = current.zip(inspections).collect();
            // Thousands of values are made and written here: not on a thread that serves calls.
            let add = move || {
                let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
                let mut piece = Vec::new();
                for ((name, revision), inspection) in current {
                    rest.add(&mut piece, &name, revision.manifest.description.as_deref(), &inspection)?;
                }
                anyhow::Ok(Bytes::from(piece))
            };
            tokio::task::spawn_blocking(add).await?
        }
    });
    let begin = stream::iter([begin()]);
    let end = stream::once(async move { end.lock().unwrap_or_else(PoisonError::into_inner).end() });
    begin.chain(paths).chain(end)
}

fn begin() -> anyhow::Result<Bytes> {
    let head = json!({
        "openapi": OPENAPI,
        "info": {
            "title": "micro",
            "description": "The endpoints of all deployments on this host.",
            "version": env!("CARGO_PKG_VERSION"),
        },
    });
    let mut piece = b"{".to_vec();
    piece.extend_from_slice(pieces::members(&serde_json::to_vec(&head)?));
    piece.extend_from_slice(b",\"paths\":{");
    Ok(piece.into())
}

impl Rest {
    /// Adds one deployment: its paths to the piece, the rest to the rest.
    fn add(
        &mut self,
        piece: &mut Vec<u8>,
        service: &str,
        description: Option<&str>,
        inspection: &Inspection,
    ) -> serde_json::Result<()> {
        pieces::append(&mut self.tags, &serde_json::to_vec(&tag(service, description))?);
        let mut schemas = Schemas::of_service(service);
        for endpoint in &inspection.endpoints {
            let path = path(service, &endpoint.name);
            if self.paths.contains(&path) {
                continue;
            }
            let operation = operation(&mut schemas, service, endpoint);
            let mut item = json!({ "post": operation });
            if let Some(get) = get_operation(&mut schemas, service, endpoint) {
                item["get"] = get;
            }
            if !self.paths.is_empty() {
                piece.push(b',');
            }
            serde_json::to_writer(&mut *piece, &path)?;
            piece.push(b':');
            serde_json::to_writer(&mut *piece, &item)?;
            self.paths.insert(path);
        }
        pieces::append(&mut self.schemas, pieces::members(&serde_json::to_vec(&schemas.into_map())?));
        Ok(())
    }

    /// What follows the paths.
    fn end(&mut self) -> anyhow::Result<Bytes> {
        let mut schemas = std::mem::take(&mut self.schemas);
        pieces::append(&mut schemas, pieces::members(&serde_json::to_vec(&json!({ "Error": schemas::error() }))?));
        let tags = std::mem::take(&mut self.tags);
        let parts: [&[u8]; 5] = [b"},\"tags\":[", &tags, b"],\"components\":{\"schemas\":{", &schemas, b"}}}"];
        Ok(parts.concat().into())
    }
}

fn tag(name: &str, description: Option<&str>) -> Value {
    match description {
        Some(description) => json!({ "name": name, "description": description }),
        None => json!({ "name": name }),
    }
}

/// The shortest path that calls an endpoint: the inverse of the gateway's rules.
pub(crate) fn path(service: &str, endpoint: &str) -> String {
    let (receiver, method) = endpoint.split_once('.').unwrap_or((endpoint, "Call"));
    let service = service.replace('.', "/");
    format!("/{service}/{}/{}", kebab(receiver), kebab(method))
}

/// `OnOrder` → `on-order`.
fn kebab(title: &str) -> String {
    let mut out = String::with_capacity(title.len() + 4);
    for char in title.chars() {
        if char.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(char.to_lowercase());
    }
    out
}

fn operation(schemas: &mut Schemas, service: &str, endpoint: &Endpoint) -> Value {
    let mut content = json!({ micro_mesh::call::JSON: { "schema": schemas.message(&endpoint.request.message) } });
    if endpoint.request.raw_field().is_some() {
        content["*/*"] =
            json!({ "schema": { "description": "The bytes themselves; other fields go into the query." } });
    }
    if let Some(step) = endpoint.stream.as_ref().and_then(|stream| stream.sends.as_ref()) {
        content = json!({ super::stream::NDJSON: { "schema": schemas.of(&step.item) } });
    }
    let mut operation = base(schemas, service, endpoint, "");
    let is_required = endpoint.request.message.fields.iter().any(|field| !field.ty.is_optional());
    operation["requestBody"] = json!({ "required": is_required, "content": content });
    operation
}

/// Endpoints whose fields all fit a query string are there for GET as well.
fn get_operation(schemas: &mut Schemas, service: &str, endpoint: &Endpoint) -> Option<Value> {
    let fields = &endpoint.request.message.fields;
    let parameters: Option<Vec<Value>> = fields.iter().map(|field| parameter(schemas, field)).collect();
    let mut operation = base(schemas, service, endpoint, ".get");
    operation["parameters"] = Value::Array(parameters?);
    Some(operation)
}

fn parameter(schemas: &mut Schemas, field: &Field) -> Option<Value> {
    let plain = match &field.ty {
        Type::Option(some) => some,
        other => other,
    };
    match plain {
        Type::Record(_) | Type::Map(..) | Type::Tuple(_) | Type::Variant(_) | Type::Result(..) | Type::Bytes => None,
        Type::Option(_) => None,
        _ => {
            let mut parameter = json!({
                "name": &*field.name.json,
                "in": "query",
                "required": !field.ty.is_optional(),
                "schema": schemas.of(plain),
            });
            if let Some(docs) = &field.docs {
                parameter["description"] = json!(&**docs);
            }
            Some(parameter)
        }
    }
}

/// The content types of a reply.
fn replies(schemas: &mut Schemas, endpoint: &Endpoint) -> Value {
    let Some(stream) = &endpoint.stream else {
        let mut replies = json!({ micro_mesh::call::JSON: { "schema": schemas.reply(&endpoint.reply) } });
        if endpoint.reply.is_bytes() || endpoint.reply.is_http() {
            replies["*/*"] = json!({ "schema": { "description": "The bytes themselves." } });
        }
        return replies;
    };
    let message = match (&stream.gives, &stream.finish) {
        // The messages of a `.proto` file are bytes between host and guest, and JSON to callers.
        _ if endpoint.raw.is_some() => schemas.reply(&endpoint.reply),
        (Some(step), _) => schemas.of(&step.item),
        (None, Some(finish)) => schemas.reply(finish),
        (None, None) => schemas.reply(&endpoint.reply),
    };
    json!({
        super::stream::NDJSON: { "schema": message },
        super::stream::EVENTS: { "schema": { "type": "string", "description": "An event per message." } },
    })
}

fn base(schemas: &mut Schemas, service: &str, endpoint: &Endpoint, suffix: &str) -> Value {
    let replies = replies(schemas, endpoint);
    let mut operation = json!({
        "operationId": format!("{service}.{}{suffix}", endpoint.name),
        "tags": [service],
        "responses": {
            "200": { "description": "The reply.", "content": replies },
            "default": {
                "description": "The error.",
                "content": { micro_mesh::call::JSON: { "schema": { "$ref": "#/components/schemas/Error" } } },
            },
        },
    });
    if let Some(docs) = &endpoint.docs {
        operation["summary"] = json!(docs.lines().next().unwrap_or_default());
        operation["description"] = json!(&**docs);
    }
    operation
}
