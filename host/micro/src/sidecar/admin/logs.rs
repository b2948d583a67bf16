//! What deployments wrote, for the people who run the host.
//!
//! | path | what |
//! |---|---|
//! | `/deployments/{name}/logs` | the last lines of one deployment, also of one that was removed lately, as NDJSON |
//! | `/logs` | those of all deployments, ordered by time |
//!
//! Both take `lines`, `follow`, `since`, `until`, `grep`, `request`, `stream` and `level`.

use super::stream::until_stopped;
use super::{Given, ID, Refusal, Sidecar};
use crate::runtime::logs::{Lines, Parameters, Query as LogQuery};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use micro_mesh::Error;
use std::io;

/// The lines of one deployment.
pub(super) async fn of_one(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
    Given(Query(parameters)): Given<Query<Parameters>>,
) -> Result<Response, Refusal> {
    let query = query(parameters)?;
    let runtime = &sidecar.gateway.runtime;
    let log = match runtime.deployment(&name) {
        Some(deployment) => deployment.log.clone(),
        None => {
            let kept = runtime.logs().find(&name).await;
            kept.ok_or_else(|| Error::not_found(ID, format!("deployment {name}: not found, and no log of it is kept")))?
        }
    };
    answer(runtime.logs().read(log, query).await, &sidecar)
}

/// The lines of all deployments.
pub(super) async fn of_all(
    State(sidecar): State<Sidecar>,
    Given(Query(parameters)): Given<Query<Parameters>>,
) -> Result<Response, Refusal> {
    let query = query(parameters)?;
    answer(sidecar.gateway.runtime.logs().read_all(query).await, &sidecar)
}

fn query(parameters: Parameters) -> Result<LogQuery, Error> {
    LogQuery::parse(parameters).map_err(|error| Error::bad_request(ID, error.to_string()))
}

fn answer(lines: io::Result<Lines>, sidecar: &Sidecar) -> Result<Response, Refusal> {
    let lines = lines.map_err(|error| Error::internal(ID, format!("the log cannot be read: {error}")))?;
    let body = Body::from_stream(until_stopped(lines, sidecar));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}
