//! Request bodies, within their limit.

use super::{Gateway, ID};
use crate::doors::{BodyRoom, is_slow};
use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use bytesize::ByteSize;
use futures::StreamExt as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use micro_engine::manifest::Limit;
use micro_mesh::Error;

/// The largest body of a call whose deployment is not known yet, in bytes.
pub(crate) const MAX_BODY: usize = 32 * 1024 * 1024;

/// A body of no more bytes than this is read before anybody asks what its deployment takes, and is not counted: as many
/// of them as requests may be served take half a gibibyte.
const SMALL: usize = 64 * 1024;
/// What an error is signed with that says that a body came too slowly.
pub(super) const SLOW: &str = "go.micro.api.body";

/// Reads a whole body.
pub(super) async fn read(gateway: &Gateway, body: Body) -> Result<Bytes, Error> {
    gather(gateway, body, MAX_BODY).await
}

/// Reads the whole message of a call to `service`.
pub(super) async fn read_for(gateway: &Gateway, service: &str, body: Body) -> Result<Bytes, Error> {
    if body.size_hint().upper().is_some_and(|size| size <= SMALL as u64) {
        return read(gateway, body).await;
    }
    let Some(deployment) = gateway.runtime.deployment(service) else {
        // Nobody's body is not waited for.
        gateway.client.records(service)?;
        return read(gateway, body).await;
    };
    let limit = usize::try_from(deployment.current().limits.request.as_u64()).unwrap_or(usize::MAX);
    let read = gather(gateway, body, limit).await;
    if read.as_ref().is_err_and(|error| error.code == 413) {
        deployment.usage.hit(Limit::Request);
    }
    read
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_up_to(body: Body, limit: usize) -> Result<Bytes, Error> {
    let collected = Limited::new(body, limit).collect().await;
    Ok(collected.map_err(|error| unread(&*error, limit))?.to_bytes())
}

/// As [`read_up_to`], in the room that the host has for all bodies. It is taken as the bytes come: to announce a large
/// body costs its sender nothing, and takes no room either.
async fn gather(gateway: &Gateway, body: Body, limit: usize) -> Result<Bytes, Error> {
    let mut pieces = Limited::new(body, limit).into_data_stream();
    let (mut gathered, mut last) = (BytesMut::new(), Bytes::new());
    let mut room: Option<BodyRoom> = None;
    while let Some(piece) = pieces.next().await {
        // Most bodies are one piece, which is not copied.
        gathered.extend_from_slice(&last);
        last = piece.map_err(|error| unread(&*error, limit))?;
        let length = gathered.len() + last.len();
        if length > SMALL && !room.get_or_insert_with(|| gateway.doors.body_room()).grow_to(length as u64) {
            let most = ByteSize::b(gateway.doors.max_body_bytes());
            let detail = format!("the host holds as many bytes of requests as it may, {most}: try again later");
            return Err(Error::unavailable(ID, detail));
        }
    }
    if !gathered.is_empty() {
        gathered.extend_from_slice(&last);
        last = gathered.freeze();
    }
    Ok(match room {
        Some(room) => Bytes::from_owner(Held { body: last, _room: room }),
        None => last,
    })
}

/// A body with the room that it takes, for as long as somebody has a part of it.
struct Held {
    body: Bytes,
    _room: BodyRoom,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Why a body could not be read.
fn unread(error: &(dyn std::error::Error + Send + Sync + 'static), limit: usize) -> Error {
    if error.is::<LengthLimitError>() {
        return Error::new(ID, 413, format!("the body is larger than {limit} bytes"));
    }
    let detail = format!("the body could not be read: {error}");
    if is_slow(error) { Error::timeout(SLOW, detail) } else { Error::bad_request(ID, detail) }
}
