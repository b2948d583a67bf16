//! The parts of the admin API that go on: logs and events.

use super::{Refusal, Sidecar};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Lines shown when nobody says how many.
const DEFAULT_LINES: usize = 100;

/// The query of a log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogParameters {
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}

/// The last lines of a deployment's log as NDJSON, and those that follow.
pub(super) async fn logs(
    State(sidecar): State<Sidecar>,
    Path(name): Path<String>,
    Query(parameters): Query<LogParameters>,
) -> Result<Response, Refusal> {
    let deployment = sidecar.gateway.runtime.existing(&name)?;
    let lines = parameters.lines.unwrap_or(DEFAULT_LINES);
    let body = if parameters.follow {
        let (last, next) = deployment.log.follow(lines);
        Body::from_stream(stream::iter(last).map(line).chain(received(next, &sidecar).map(line)))
    } else {
        Body::from_stream(stream::iter(deployment.log.tail(lines)).map(line))
    };
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Everything that happens from now on, as server-sent events.
pub(super) async fn events(State(sidecar): State<Sidecar>) -> impl IntoResponse {
    let events = received(sidecar.gateway.runtime.events().listen(), &sidecar).map(|event| {
        let sse = axum::response::sse::Event::default().event(event.kind);
        Ok::<_, Infallible>(sse.json_data(&event).unwrap_or_default())
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Everything that is sent until the host stops. Who reads too slowly misses some and stays connected.
fn received<T: Clone + Send + 'static>(
    receiver: broadcast::Receiver<T>,
    sidecar: &Sidecar,
) -> impl Stream<Item = T> + use<T> {
    let mut stopped = sidecar.stopped.clone();
    // A sender that is gone means the same as one that says so.
    let stop = async move { stopped.wait_for(|is_stopped| *is_stopped).await.map(drop) };
    BroadcastStream::new(receiver).filter_map(async |received| received.ok()).take_until(Box::pin(stop))
}

fn line(record: impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&record)?;
    line.push(b'\n');
    Ok(line)
}
