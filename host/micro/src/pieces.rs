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

/// Pieces that are made before a response begins: the first is what all listings begin with, and nothing can be wrong
/// with it.
const LOOKED_AT: usize = 2;

/// A response of these pieces. What is wrong with the first ones is an error like any other; after that the response
/// breaks off, which its reader notices.
pub(crate) async fn respond<E>(pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Result<Response, E>
where
    E: Display + Send + 'static,
{
    let mut pieces = Box::pin(pieces);
    let first: Vec<Bytes> = pieces.by_ref().take(LOOKED_AT).try_collect().await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn respond_with(pieces: &'static [Result<&'static str, &'static str>]) -> Result<Response, &'static str> {
        respond(stream::iter(pieces).map(|piece| piece.map(Bytes::from))).await
    }

    #[tokio::test]
    async fn a_listing_whose_first_entries_cannot_be_read_is_an_error() {
        assert_eq!(
            respond_with(&[Ok("["), Err("the database is gone"), Ok("]")]).await.err(),
            Some("the database is gone")
        );
        assert_eq!(respond_with(&[Err("nothing")]).await.err(), Some("nothing"));
    }

    #[tokio::test]
    async fn a_listing_is_whole_or_breaks_off() {
        for pieces in [&[][..], &[Ok("[]")], &[Ok("["), Ok("]")], &[Ok("["), Ok("1"), Ok(",2"), Ok("]")]] {
            let body = respond_with(pieces).await.unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, pieces.iter().map(|piece| piece.unwrap()).collect::<String>());
        }
        let broken = respond_with(&[Ok("["), Ok("1"), Err("gone"), Ok("]")]).await.unwrap();
        assert!(broken.into_body().collect().await.is_err());
    }
}
