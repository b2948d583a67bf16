//! `/openapi.json`: all endpoints of all deployments as an OpenAPI 3.1 document, made from their WIT.

mod schemas;

use super::Gateway;
use crate::runtime::DeployError;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use micro_engine::Inspection;
use micro_engine::schema::{Endpoint, Field, Type};
use micro_mesh::Error;
use schemas::Schemas;
use serde_json::{Map, Value, json};

const OPENAPI: &str = "3.1.0";

pub(super) async fn document(State(gateway): State<Gateway>) -> Response {
    match make(&gateway).await {
        Ok(document) => axum::Json(document).into_response(),
        Err(error) => {
            tracing::error!("the OpenAPI document cannot be made: {error}");
            super::error_response(Error::internal(super::ID, "the document cannot be made"))
        }
    }
}

async fn make(gateway: &Gateway) -> Result<Value, DeployError> {
    let mut paths = Map::new();
    let mut schemas = Schemas::default();
    let mut tags = Vec::new();
    for deployment in gateway.runtime.deployments() {
        let inspection = gateway.runtime.current_inspection(&deployment).await?;
        if inspection.endpoints.is_empty() {
            // What an HTTP handler serves is its own affair.
            continue;
        }
        let revision = deployment.current();
        let description = revision.manifest.description.as_deref();
        tags.push(tag(&deployment.name, description));
        add(&mut paths, &mut schemas, &deployment.name, &inspection);
    }
    Ok(json!({
        "openapi": OPENAPI,
        "info": {
            "title": "micro",
            "description": "The endpoints of all deployments on this host.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "tags": tags,
        "paths": paths,
        "components": { "schemas": schemas.into_map() },
    }))
}

fn tag(name: &str, description: Option<&str>) -> Value {
    match description {
        Some(description) => json!({ "name": name, "description": description }),
        None => json!({ "name": name }),
    }
}

fn add(paths: &mut Map<String, Value>, schemas: &mut Schemas, service: &str, inspection: &Inspection) {
    schemas.enter(service);
    schemas.add_error();
    for endpoint in &inspection.endpoints {
        let operation = operation(schemas, service, endpoint);
        let mut item = json!({ "post": operation });
        if let Some(get) = get_operation(schemas, service, endpoint) {
            item["get"] = get;
        }
        paths.insert(path(service, &endpoint.name), item);
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
