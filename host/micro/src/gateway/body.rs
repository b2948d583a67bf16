//! Request bodies, within their limit.

use super::ID;
use crate::doors::is_slow;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use micro_mesh::Error;

/// The largest body of a call, in bytes.
pub(crate) const MAX_BODY: usize = 32 * 1024 * 1024;

/// What an error is signed with that says that a body came too slowly.
pub(super) const SLOW: &str = "go.micro.api.body";

/// Reads a whole body.
pub(super) async fn read(body: Body) -> Result<Bytes, Error> {
    read_up_to(body, MAX_BODY).await
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
