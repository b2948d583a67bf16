//! Proto first: endpoints that are described in a `.proto` file.
//!
//! `micro-sdk-proto`, in the build script, makes a trait of each service and an implementation of [`Endpoints`];
//! [`serve!`](crate::serve) exports them as `micro:function/handler`, with the descriptors in the custom section
//! `micro.descriptors`, by which the host knows the endpoints and turns JSON into protobuf and back.

use std::fmt::Display;

use crate::types::{Context, Error};

/// The encoding that these functions speak.
pub const PROTOBUF: &str = "application/protobuf";

/// An encoded reply, or none where the endpoint is another service's.
pub type Answer = Result<Option<Vec<u8>>, Error>;

/// The endpoints of one service.
pub trait Endpoints {
    /// Answers a call of `context.endpoint`.
    fn answer(context: Context, content: &[u8]) -> Answer;
}

/// What `serve!` calls for each call of the host: tries one service after the other.
#[doc(hidden)]
pub fn handle(
    context: &Context,
    content_type: &str,
    content: &[u8],
    services: &[fn(Context, &[u8]) -> Answer],
) -> Result<Vec<u8>, Error> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !["", PROTOBUF, "application/x-protobuf", "application/grpc+proto"].contains(&kind) {
        return Err(Error::new(415, format!("this function reads {PROTOBUF}, not {kind}")));
    }
    for answer in services {
        if let Some(reply) = answer(context.clone(), content)? {
            return Ok(reply);
        }
    }
    Err(Error::not_found(format!("there is no endpoint {}", context.endpoint)))
}

/// The error for a message that is none.
#[doc(hidden)]
pub fn unreadable(error: impl Display) -> Error {
    Error::bad_request(format!("the request is not the message that was expected: {error}"))
}

#[cfg(test)]
#[path = "proto_tests.rs"]
mod tests;
