//! What a request gives in its path and its query.

use super::ID;
use crate::gateway::error_response;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use micro_mesh::Error;
use std::fmt::Display;

/// As the extractor in it gives it. What that rejects is refused as all else is, with the error JSON.
pub(super) struct Given<E>(pub(super) E);

impl<S, E> FromRequestParts<S> for Given<E>
where
    S: Send + Sync,
    E: FromRequestParts<S, Rejection: Display>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Given<E>, Rejection> {
        let given = E::from_request_parts(parts, state).await;
        given.map(Given).map_err(|reason| Rejection(Error::bad_request(ID, reason.to_string())))
    }
}

/// Why a path or a query is none.
pub(super) struct Rejection(Error);

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        error_response(self.0)
    }
}

/// Answers those who use a path with another verb than it has.
pub(super) async fn method_not_allowed() -> Response {
    error_response(Error::method_not_allowed(ID, "this path takes other methods: the header `allow` names them"))
}
