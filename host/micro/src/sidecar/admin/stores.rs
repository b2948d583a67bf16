//! What guests keep, for the people who run the host.
//!
//! | path | what |
//! |---|---|
//! | `/stores` | all stores, with the room they take |
//! | `/stores/{store}/keys?prefix=&after=&limit=` | a page of keys; `next` is the `after` of the next page |
//! | `/stores/{store}/values/{key}` | the value as bytes; its version is in the header `micro-version` |
//! | the same with `PUT`, `?ttl=5m&if-version=3` | puts the body |
//! | the same with `DELETE` | removes the value |

use super::{Given, ID, Refusal, Sidecar};
use crate::gateway::read_up_to;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use micro_mesh::store::{KeyQuery, MAX_KEYS_LISTED, MAX_VALUE, PutOptions, StoreUsage};
use micro_mesh::{Error, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The header that carries the version of a value.
const VERSION: HeaderName = HeaderName::from_static("micro-version");

#[derive(Serialize)]
struct Usage {
    name: String,
    entries: u64,
    bytes: u64,
}

/// All stores.
pub(super) async fn list(State(sidecar): State<Sidecar>) -> Result<Response, Refusal> {
    let stores = sidecar.gateway.runtime.kept().stores().await?;
    let usage = |StoreUsage { name, entries, bytes }| Usage { name, entries, bytes };
    let stores: Vec<Usage> = stores.into_iter().map(usage).collect();
    Ok(Json(json!({ "stores": stores })).into_response())
}

/// The query for a page of keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyParameters {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    limit: Option<u32>,
}

impl KeyParameters {
    /// What they ask for, within the limits.
    pub fn query(self) -> KeyQuery {
        let limit = self.limit.unwrap_or(MAX_KEYS_LISTED).min(MAX_KEYS_LISTED);
        KeyQuery { prefix: self.prefix, after: self.after, limit }
    }
}

/// A page of keys.
pub(super) async fn keys(
    State(sidecar): State<Sidecar>,
    Given(Path(store)): Given<Path<String>>,
    Given(Query(parameters)): Given<Query<KeyParameters>>,
) -> Result<Response, Refusal> {
    let query = parameters.query();
    let limit = query.limit;
    let keys = sidecar.gateway.runtime.kept().keys(&store, query).await?;
    let is_full = u32::try_from(keys.len()).is_ok_and(|count| count == limit);
    let next = keys.last().filter(|_| is_full).cloned();
    Ok(Json(json!({ "keys": keys, "next": next })).into_response())
}

/// One value as it was put.
pub(super) async fn get(
    State(sidecar): State<Sidecar>,
    Given(Path((store, key))): Given<Path<(String, String)>>,
) -> Result<Response, Refusal> {
    let Some(entry) = sidecar.gateway.runtime.kept().get(&store, &key).await? else {
        return Err(Error::not_found(ID, format!("store {store} has no value at {key:?}")).into());
    };
    let headers = [(CONTENT_TYPE, "application/octet-stream".to_string()), (VERSION, entry.version.to_string())];
    Ok((headers, entry.value).into_response())
}

/// The query of a value that is put.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutParameters {
    /// As people write it: `5m`.
    ttl: Option<String>,
    #[serde(rename = "if-version")]
    if_version: Option<u64>,
}

impl PutParameters {
    /// What they ask for, or which of them does not.
    pub fn options(self) -> Result<PutOptions, Error> {
        let ttl = self.ttl.map(|text| {
            let ttl = humantime::parse_duration(&text);
            ttl.map_err(|error| {
                Error::bad_request(ID, format!("ttl {text:?}: expected a time like 90s or 1h: {error}"))
            })
        });
        Ok(PutOptions { ttl: ttl.transpose()?, if_version: self.if_version })
    }
}

/// Puts the body as a value.
pub(super) async fn put(
    State(sidecar): State<Sidecar>,
    Given(Path((store, key))): Given<Path<(String, String)>>,
    Given(Query(parameters)): Given<Query<PutParameters>>,
    body: Body,
) -> Result<Response, Refusal> {
    let options = parameters.options()?;
    let value = read_up_to(body, MAX_VALUE).await?;
    let version = sidecar.gateway.runtime.kept().put(&store, &key, value, options).await?;
    Ok(Json(json!({ "version": version })).into_response())
}

/// Removes a value.
pub(super) async fn delete(
    State(sidecar): State<Sidecar>,
    Given(Path((store, key))): Given<Path<(String, String)>>,
) -> Result<Response, Refusal> {
    let deleted = sidecar.gateway.runtime.kept().delete(&store, &key).await?;
    Ok(Json(json!({ "deleted": deleted })).into_response())
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let detail = error.to_string();
        Refusal(match error {
            StoreError::Conflict { .. } => Error::conflict(ID, detail),
            StoreError::TooLarge(_) => Error::new(ID, 413, detail),
            StoreError::BadName(_) | StoreError::BadKey(_) => Error::bad_request(ID, detail),
            StoreError::Unavailable(_) => Error::unavailable(ID, detail),
            StoreError::Setting(_) => Error::internal(ID, detail),
        })
    }
}
