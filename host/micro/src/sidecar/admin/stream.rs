//! The parts of the admin API that go on: events, and whatever else ends with the host.

use super::Sidecar;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{KeepAlive, Sse};
use futures::{Stream, StreamExt};
use std::convert::Infallible;
use tokio_stream::wrappers::BroadcastStream;

/// Everything that happens from now on, as server-sent events.
pub(super) async fn events(State(sidecar): State<Sidecar>) -> impl IntoResponse {
    // Who reads too slowly misses some and stays connected.
    let events = BroadcastStream::new(sidecar.gateway.runtime.events().listen()).filter_map(async |event| event.ok());
    let events = until_stopped(events, &sidecar).map(|event| {
        let sse = axum::response::sse::Event::default().event(event.kind);
        Ok::<_, Infallible>(sse.json_data(&event).unwrap_or_default())
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Everything that comes until the host stops.
pub(in crate::sidecar) fn until_stopped<S: Stream>(
    stream: S,
    sidecar: &Sidecar,
) -> impl Stream<Item = S::Item> + use<S> {
    let mut stopped = sidecar.stopped.clone();
    // A sender that is gone means the same as one that says so.
    let stop = async move { stopped.wait_for(|is_stopped| *is_stopped).await.map(drop) };
    stream.take_until(Box::pin(stop))
}
