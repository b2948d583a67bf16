//! The admin API: deployments, their revisions and logs, events, stores, the host.

pub mod stores;
pub mod stream;

use super::Sidecar;
use crate::gateway::{error_response, read_up_to};
use crate::runtime::{DeployError, DeployOptions, Deployed, DeploymentStatus};
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use micro_engine::engines::Report;
use micro_engine::inspect::MAX_COMPONENT;
use micro_mesh::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

const ID: &str = "micro.admin";

/// Requests other than a component are small.
const MAX_REQUEST: usize = 64 * 1024;

/// What the host says of itself.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HostStatus {
    pub(crate) version: &'static str,
    pub(crate) host: String,
    pub(crate) started_at: String,
    pub(crate) api_address: SocketAddr,
    pub(crate) sidecar_address: SocketAddr,
    pub(crate) namespace: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) engines: [Report; 2],
}

pub(super) fn router(sidecar: &Sidecar) -> Router<Sidecar> {
    Router::new()
        .route("/status", get(status))
        .route("/events", get(stream::events))
        .route("/deployments", get(list))
        .route("/deployments/{name}", get(one).put(deploy).delete(remove))
        .route("/deployments/{name}/revisions", get(revisions))
        .route("/deployments/{name}/promote", post(promote))
        .route("/deployments/{name}/rollback", post(roll_back))
        .route("/deployments/{name}/logs", get(stream::logs))
        .route("/deployments/{name}/wit", get(wit))
        .route("/stores", get(stores::list))
        .route("/stores/{store}/keys", get(stores::keys))
        .route("/stores/{store}/values/{*key}", get(stores::get).put(stores::put).delete(stores::delete))
        .fallback(|| async { error_response(Error::not_found(ID, "the admin API has no such path")) })
        .layer(middleware::from_fn_with_state(sidecar.clone(), check_token))
}

async fn check_token(State(sidecar): State<Sidecar>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if sidecar.token.matches(token.trim()) => next.run(request).await,
        Some(_) => error_response(Error::unauthorized(ID, "the token is not this host's")),
        None => error_response(Error::unauthorized(
            ID,
            "a token is needed: send the header `Authorization: Bearer TOKEN` with the content of the file `token` in the host's data folder",
        )),
    }
}

async fn status(State(sidecar): State<Sidecar>) -> Response {
    let mut status = serde_json::json!(&*sidecar.host);
    status["deployments"] = sidecar.gateway.runtime.deployments().len().into();
    Json(status).into_response()
}

async fn list(State(sidecar): State<Sidecar>) -> Result<Response, Refusal> {
    let runtime = &sidecar.gateway.runtime;
    let mut all = Vec::new();
    for deployment in runtime.deployments() {
        all.push(runtime.status(&deployment).await?);
    }
    Ok(Json(serde_json::json!({ "deployments": all })).into_response())
}

async fn one(State(sidecar): State<Sidecar>, Path(name): Path<String>) -> Result<Json<DeploymentStatus>, Refusal> {
    let runtime = &sidecar.gateway.runtime;
    Ok(Json(runtime.status(&*runtime.existing(&name)?).await?))
}

/// The query of a deploy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployParameters {
    version: Option<String>,
    /// A share in percent: `10` or `10%`.
    canary: Option<String>,
    #[serde(default)]
    force: bool,
    /// A JSON object: `{"args": […], "env": {…}}`.
    settings: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GuestSettings {
    args: Option<Vec<String>>,
    env: BTreeMap<String, String>,
}

impl DeployParameters {
    /// What they ask for, or which of them does not.
    pub fn options(self) -> Result<DeployOptions, Error> {
        let settings = match &self.settings {
            None => GuestSettings::default(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Error::bad_request(ID, format!("settings: expected args and env as JSON: {error}")))?,
        };
        let canary = self.canary.map(|share| {
            let percent = share.trim().trim_end_matches('%').trim().parse();
            percent.map_err(|_| Error::bad_request(ID, format!("canary {share:?}: expected a share like 10%")))
        });
        Ok(DeployOptions {
            version: self.version,
            canary: canary.transpose()?,
            force: self.force,
            args: settings.args,
            env: settings.env,
        })
    }
}

#[derive(Serialize)]
struct DeployReply {
    #[serde(flatten)]
    status: DeploymentStatus,
    changed: bool,
}

async fn deploy(
    State(sidecar): State<Sidecar>,
    Path(name): Path<String>,
    Query(parameters): Query<DeployParameters>,
    body: Body,
) -> Result<Json<DeployReply>, Refusal> {
    let options = parameters.options()?;
    let component = read_up_to(body, MAX_COMPONENT).await?;
    let runtime = sidecar.gateway.runtime.clone();
    // A deploy that began comes to its end, whether or not its caller still waits.
    let deploy = tokio::spawn(async move { runtime.deploy(&name, component, options).await });
    let Deployed { status, changed } = deploy.await.map_err(|error| DeployError::Host(error.into()))??;
    Ok(Json(DeployReply { status, changed }))
}

async fn remove(State(sidecar): State<Sidecar>, Path(name): Path<String>) -> Result<Json<DeploymentStatus>, Refusal> {
    let runtime = sidecar.gateway.runtime.clone();
    let remove = tokio::spawn(async move { runtime.remove(&name).await });
    Ok(Json(remove.await.map_err(|error| DeployError::Host(error.into()))??))
}

async fn revisions(State(sidecar): State<Sidecar>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let revisions = sidecar.gateway.runtime.revisions(&name).await?;
    Ok(Json(serde_json::json!({ "revisions": revisions })).into_response())
}

/// The WIT by which other guests import what a deployment exports.
async fn wit(State(sidecar): State<Sidecar>, Path(name): Path<String>) -> Result<String, Refusal> {
    Ok(sidecar.gateway.runtime.wit(&name).await?)
}

async fn promote(State(sidecar): State<Sidecar>, Path(name): Path<String>) -> Result<Json<DeploymentStatus>, Refusal> {
    let runtime = sidecar.gateway.runtime.clone();
    let promote = tokio::spawn(async move { runtime.promote(&name).await });
    Ok(Json(promote.await.map_err(|error| DeployError::Host(error.into()))??))
}

/// The body of a rollback.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollBackRequest {
    revision: Option<u64>,
}

impl RollBackRequest {
    /// Reads it; no body asks for the revision before.
    pub fn read(body: &[u8]) -> Result<RollBackRequest, Error> {
        match body.trim_ascii() {
            b"" => Ok(RollBackRequest::default()),
            text => serde_json::from_slice(text)
                .map_err(|error| Error::bad_request(ID, format!("expected {{\"revision\": N}}: {error}"))),
        }
    }
}

async fn roll_back(
    State(sidecar): State<Sidecar>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<DeploymentStatus>, Refusal> {
    let body = read_up_to(body, MAX_REQUEST).await?;
    let request = RollBackRequest::read(&body)?;
    let runtime = sidecar.gateway.runtime.clone();
    let roll_back = tokio::spawn(async move { runtime.roll_back(&name, request.revision).await });
    Ok(Json(roll_back.await.map_err(|error| DeployError::Host(error.into()))??))
}

/// An error on its way out of a handler.
struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal(error)
    }
}

impl From<DeployError> for Refusal {
    fn from(error: DeployError) -> Refusal {
        let detail = error.to_string();
        Refusal(match error {
            DeployError::BadRequest(_) => Error::bad_request(ID, detail),
            DeployError::Refused(_) => Error::new(ID, 422, detail),
            DeployError::NotFound(_) => Error::not_found(ID, detail),
            DeployError::Host(_) => {
                // Whoever holds the token may know what is wrong with the host.
                tracing::error!("an admin request failed: {detail}");
                Error::internal(ID, detail)
            }
        })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        error_response(self.0)
    }
}
