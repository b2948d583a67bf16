//! `/registry`, as go-micro's sidecar has it.

use super::Sidecar;
use crate::gateway::error_response;
use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use micro_mesh::{Error, RegistryError};
use serde::Deserialize;

const ID: &str = "go.micro.registry";

#[derive(Deserialize)]
pub(super) struct Parameters {
    service: Option<String>,
}

/// All services, or the records of one.
pub(super) async fn list(State(sidecar): State<Sidecar>, Query(parameters): Query<Parameters>) -> Response {
    let registry = sidecar.gateway.client.cache().registry().clone();
    let found = match parameters.service {
        Some(name) if !name.is_empty() => registry.get(&name).await,
        _ => registry.list().await,
    };
    match found {
        Ok(services) => Json(services).into_response(),
        Err(RegistryError::NotFound(_)) => error_response(Error::not_found(ID, "Service not found")),
        Err(error) => error_response(Error::internal(ID, error.to_string())),
    }
}
