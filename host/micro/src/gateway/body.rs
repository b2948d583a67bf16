//! Request bodies, within their limit.

use super::ID;
use crate::doors::is_slow;
use crate::runtime::Runtime;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use micro_engine::manifest::Limit;
use micro_mesh::Error;

/// The largest body of a call whose deployment is not known yet, in bytes.
pub(crate) const MAX_BODY: usize = 32 * 1024 * 1024;

/// A body of no more bytes than this is read before anybody asks what its deployment takes.
const SMALL: u64 = 64 * 1024;
/// What an error is signed with that says that a body came too slowly.
pub(super) const SLOW: &str = "go.micro.api.body";

/// Reads a whole body.
pub(super) async fn read(body: Body) -> Result<Bytes, Error> {
    read_up_to(body, MAX_BODY).await
}

/// Reads the whole message of a call to `service`.
pub(super) async fn read_for(runtime: &Runtime, service: &str, body: Body) -> Result<Bytes, Error> {
    if body.size_hint().upper().is_some_and(|size| size <= SMALL) {
        return read(body).await;
    }
    let Some(deployment) = runtime.deployment(service) else { return read(body).await };
    let limit = usize::try_from(deployment.current().limits.request.as_u64()).unwrap_or(usize::MAX);
    let read = read_up_to(body, limit).await;
    if read.as_ref().is_err_and(|error| error.code == 413) {
        deployment.usage.hit(Limit::Request);
    }
    read
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_up_to(body: Body, limit: usize) -> Result<Bytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Error::new(ID, 413, format!("the body is larger than {limit} bytes")))
        }
        Err(error) if is_slow(&*error) => Err(Error::timeout(SLOW, format!("the body could not be read: {}", error))),
        Err(error) => Err(Error::bad_request(ID, format!("the body could not be read: {error}"))),
    }
}
