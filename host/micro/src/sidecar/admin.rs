//! The admin API: deployments, their revisions and logs, events, stores, the host.

mod logs;
pub mod stores;
mod stream;
mod topics;

pub(super) use stream::until_stopped;
pub(super) use topics::position;

use super::Sidecar;
use super::given::{Given, method_not_allowed};
use crate::gateway::{error_response, read_up_to};
use crate::pieces::{self, PIECE};
use crate::runtime::{DeployError, DeployOptions, Deployed, DeploymentStatus, metrics};
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::{StreamExt as _, stream as streams};
use micro_engine::Manifest;
use micro_engine::engines::Report;
use micro_engine::inspect::MAX_COMPONENT;
use micro_engine::manifest::AskedLimits;
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
        .route("/top", get(top))
        .route("/events", get(stream::events))
        .route("/token/rotate", post(rotate_token))
        .route("/deployments", get(list))
        .route("/deployments/{name}", get(one).put(deploy).delete(remove))
        .route("/deployments/{name}/revisions", get(revisions))
        .route("/deployments/{name}/promote", post(promote))
        .route("/deployments/{name}/rollback", post(roll_back))
        .route("/deployments/{name}/logs", get(logs::of_one))
        .route("/logs", get(logs::of_all))
        .route("/deployments/{name}/wit", get(wit))
        .route("/topics", get(topics::list))
        .route("/topics/{topic}", get(topics::one).delete(topics::forget))
        .route("/topics/{topic}/messages", get(topics::messages))
        .route("/topics/{topic}/replay", post(topics::replay))
        .route("/topics/{topic}/groups/{group}", delete(topics::forget_group))
        .route("/dead-letters", get(topics::letters))
        .route("/dead-letters/{group}", get(topics::letters_of).delete(topics::drop_letters))
        .route("/dead-letters/{group}/retry", post(topics::retry))
        .route("/stores", get(stores::list))
        .route("/stores/{store}/keys", get(stores::keys))
        .route("/stores/{store}/values/{*key}", get(stores::get).put(stores::put).delete(stores::delete))
        .method_not_allowed_fallback(method_not_allowed)
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
    let runtime = &sidecar.gateway.runtime;
    status["deployments"] = runtime.count().into();
    status["code"] = serde_json::json!(runtime.code());
    let memory = &runtime.bounds().memory;
    status["guest_memory"] =
        serde_json::json!({ "used": memory.used(), "limit": memory.limit(), "refusals": memory.refusals() });
    status["doors"] = serde_json::json!(sidecar.doors.report());
    Json(status).into_response()
}

/// Who changes the token gets the new one: the file it is in may be on another machine.
async fn rotate_token(State(sidecar): State<Sidecar>) -> Result<Response, Refusal> {
    let token = sidecar.token.rotate().map_err(|error| {
        tracing::error!("the admin token cannot be replaced: {error}");
        Error::internal(ID, format!("the token file cannot be written, the old token stays: {error}"))
    })?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(serde_json::json!({ "token": token }))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopParameters {
    /// `now_ms` of the look before.
    since: Option<u64>,
}

/// The counts of the deployments that did something since the last look.
async fn top(
    State(sidecar): State<Sidecar>,
    Given(Query(parameters)): Given<Query<TopParameters>>,
) -> Json<metrics::Top> {
    Json(metrics::since(&sidecar.gateway.runtime, parameters.since))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListParameters {
    /// The most that are listed.
    limit: Option<usize>,
    /// Only names that come after this one.
    after: Option<String>,
}

/// The deployments by name, and how many there are in all.
async fn list(
    State(sidecar): State<Sidecar>,
    Given(Query(parameters)): Given<Query<ListParameters>>,
) -> Result<Response, Refusal> {
    let runtime = sidecar.gateway.runtime.clone();
    let mut all = runtime.deployments();
    let total = all.len();
    if let Some(after) = parameters.after {
        all.retain(|deployment| *deployment.name > *after);
    }
    all.truncate(parameters.limit.unwrap_or(total));
    let parts: Vec<Vec<_>> = all.chunks(PIECE).map(<[_]>::to_vec).collect();
    let pieces = streams::iter(parts.into_iter().enumerate()).then(move |(place, part)| {
        let runtime = runtime.clone();
        async move {
            let statuses = runtime.statuses(&part).await?;
            let mut piece = if place == 0 { Vec::new() } else { b",".to_vec() };
            let json = serde_json::to_vec(&statuses).map_err(|error| DeployError::Host(error.into()))?;
            piece.extend_from_slice(pieces::members(&json));
            Ok::<_, DeployError>(Bytes::from(piece))
        }
    });
    let begin = streams::iter([Ok(Bytes::from_static(b"{\"deployments\":["))]);
    let end = streams::iter([Ok(Bytes::from(format!("],\"total\":{total}}}")))]);
    Ok(pieces::respond(begin.chain(pieces).chain(end)).await?)
}

async fn one(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
) -> Result<Json<DeploymentStatus>, Refusal> {
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
    /// A JSON object: `{"args": […], "env": {…}, "limits": {…}, "config": {…}, "allow": {…}}`.
    settings: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GuestSettings {
    args: Option<Vec<String>>,
    env: BTreeMap<String, String>,
    limits: AskedLimits,
    config: BTreeMap<String, String>,
    allow: toml::Table,
}

impl DeployParameters {
    /// What they ask for, or which of them does not.
    pub fn options(self) -> Result<DeployOptions, Error> {
        let settings = match &self.settings {
            None => GuestSettings::default(),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                let expected = "settings: expected args, env, limits, config and allow as JSON";
                Error::bad_request(ID, format!("{expected}: {error}"))
            })?,
        };
        let canary = self.canary.map(|share| {
            let percent = share.trim().trim_end_matches('%').trim().parse();
            percent.map_err(|_| Error::bad_request(ID, format!("canary {share:?}: expected a share like 10%")))
        });
        let allow = Manifest::parse_allow(settings.allow);
        Ok(DeployOptions {
            version: self.version,
            canary: canary.transpose()?,
            force: self.force,
            args: settings.args,
            env: settings.env,
            limits: settings.limits,
            config: settings.config,
            allow: allow.map_err(|error| Error::bad_request(ID, format!("settings: {error}")))?,
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
    Given(Path(name)): Given<Path<String>>,
    Given(Query(parameters)): Given<Query<DeployParameters>>,
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

async fn remove(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
) -> Result<Json<DeploymentStatus>, Refusal> {
    let runtime = sidecar.gateway.runtime.clone();
    let remove = tokio::spawn(async move { runtime.remove(&name).await });
    Ok(Json(remove.await.map_err(|error| DeployError::Host(error.into()))??))
}

async fn revisions(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
) -> Result<Response, Refusal> {
    let revisions = sidecar.gateway.runtime.revisions(&name).await?;
    Ok(Json(serde_json::json!({ "revisions": revisions })).into_response())
}

/// The WIT by which other guests import what a deployment exports.
async fn wit(State(sidecar): State<Sidecar>, Given(Path(name)): Given<Path<String>>) -> Result<String, Refusal> {
    Ok(sidecar.gateway.runtime.wit(&name).await?)
}

async fn promote(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
) -> Result<Json<DeploymentStatus>, Refusal> {
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
    Given(Path(name)): Given<Path<String>>,
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
