//! Long JSON documents, written piece by piece: a listing of ten thousand deployments is never in memory as a whole, and
//! calls go on between two pieces.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use std::fmt::Display;

/// Deployments, or records, in one piece.
pub(crate) const PIECE: usize = 64;

/// A response of these pieces. What is wrong before the first one is an error like any other; after that the response
/// breaks off, which its reader notices.
pub(crate) async fn respond<E>(pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Result<Response, E>
where
    E: Display + Send + 'static,
{
    let mut pieces = Box::pin(pieces);
    let first = pieces.next().await.transpose()?;
    let rest = pieces.map_err(|error| {
        tracing::error!("a listing breaks off: {error}");
        std::io::Error::other(error.to_string())
    });
    let body = Body::from_stream(stream::iter(first).map(Ok).chain(rest));
    Ok(([(CONTENT_TYPE, micro_mesh::call::JSON)], body).into_response())
}

/// The members of a JSON object or array that was written, without what holds them together.
pub(crate) fn members(json: &[u8]) -> &[u8] {
    json.get(1..json.len().saturating_sub(1)).unwrap_or_default()
}

/// Adds members to those that are there.
pub(crate) fn append(all: &mut Vec<u8>, more: &[u8]) {
    if !all.is_empty() && !more.is_empty() {
        all.push(b',');
    }
    all.extend_from_slice(more);
}
