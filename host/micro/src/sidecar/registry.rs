//! `/registry`, as go-micro's sidecar has it.

use super::Sidecar;
use super::given::Given;
use crate::gateway::error_response;
use crate::pieces::{self, PIECE};
use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use micro_mesh::{Error, RegistryError, Service};
use serde::Deserialize;

const ID: &str = "go.micro.registry";

#[derive(Deserialize)]
pub(super) struct Parameters {
    service: Option<String>,
}

/// The records as a JSON array, in pieces.
fn array(services: Vec<Service>) -> impl Stream<Item = serde_json::Result<Bytes>> {
    let begin = stream::iter([Ok(Bytes::from_static(b"["))]);
    let end = stream::iter([Ok(Bytes::from_static(b"]"))]);
    let mut left = services.into_iter();
    let pieces = stream::iter(std::iter::from_fn(move || {
        let part: Vec<Service> = left.by_ref().take(PIECE).collect();
        (!part.is_empty()).then_some(part)
    }));
    let pieces = pieces.enumerate().then(async |(place, part)| {
        let mut piece = if place == 0 { Vec::new() } else { b",".to_vec() };
        piece.extend_from_slice(pieces::members(&serde_json::to_vec(&part)?));
        Ok(Bytes::from(piece))
    });
    begin.chain(pieces).chain(end)
}

/// All services, or the records of one.
pub(super) async fn list(
    State(sidecar): State<Sidecar>,
    Given(Query(parameters)): Given<Query<Parameters>>,
) -> Response {
    let registry = sidecar.gateway.client.cache().registry().clone();
    let found = match parameters.service {
        Some(name) if !name.is_empty() => registry.get(&name).await,
        _ => registry.list().await,
    };
    match found {
        Ok(services) => match pieces::respond(array(services)).await {
            Ok(response) => response,
            Err(error) => error_response(Error::internal(ID, error.to_string())),
        },
        Err(RegistryError::NotFound(_)) => error_response(Error::not_found(ID, "Service not found")),
        Err(error) => error_response(Error::internal(ID, error.to_string())),
    }
}
