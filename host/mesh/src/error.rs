//! The one error every door, node and function speaks: go-micro's error JSON.

use std::fmt;
use std::time::Duration;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;

/// How long to wait for what is away or busy, where nobody knows better.
const SOON: Duration = Duration::from_millis(200);

/// Why a call failed, in the form that travels: `{"id","code","detail","status"}`.
///
/// Its `Display` form is exactly that JSON on one line, so an error keeps its shape through every place that
/// only carries text, and [`Error::parse`] reads it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Error {
    /// Who says so: a service's name, or a part of the host such as `go.micro.client`.
    #[serde(deserialize_with = "text_or_null")]
    pub id: String,
    /// An HTTP status code; 0 when the error came as plain text.
    #[serde(deserialize_with = "any_integer")]
    pub code: u16,
    /// What went wrong, for the caller to read.
    #[serde(deserialize_with = "text_or_null")]
    pub detail: String,
    /// The reason phrase of `code`, as in `Not Found`; empty for codes that have none.
    #[serde(deserialize_with = "text_or_null")]
    pub status: String,
    /// When trying again may work; none where the same request would fail again, and in every error that a function
    /// gives. It stays in this process: doors tell it in their own way.
    #[serde(skip)]
    pub again: Option<Duration>,
}

impl Error {
    /// An error with any code; `status` becomes the reason phrase of that code.
    pub fn new(id: impl Into<String>, code: u16, detail: impl Into<String>) -> Self {
        Self { id: id.into(), code, detail: detail.into(), status: reason(code).to_owned(), again: None }
    }

    /// 400: the request cannot be understood as it is.
    pub fn bad_request(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 400, detail)
    }

    /// 401: the caller did not say, or not provably, who it is.
    pub fn unauthorized(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 401, detail)
    }

    /// 403: the caller is known and may not do this.
    pub fn forbidden(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 403, detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 404, detail)
    }

    /// 405: the thing exists and does not take this verb.
    pub fn method_not_allowed(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 405, detail)
    }

    /// 408: the deadline passed, or the caller went away.
    pub fn timeout(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 408, detail)
    }

    /// 409: the request contradicts the present state.
    pub fn conflict(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 409, detail)
    }

    /// 429: a queue or a rate is full; trying later may work.
    pub fn too_many(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 429, detail)
    }

    /// 500: the callee failed.
    pub fn internal(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 500, detail)
    }

    /// 503: nobody can serve this at the moment.
    pub fn unavailable(id: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, 503, detail)
    }

    /// The same error, of something that is away or busy, and may be back at any time.
    #[must_use]
    pub fn again_soon(self) -> Self {
        self.again_in(SOON)
    }

    /// The same error, which says when trying again may work.
    #[must_use]
    pub fn again_in(self, again: Duration) -> Self {
        Self { again: Some(again), ..self }
    }

    /// Reads an error that arrived as text. Text that is not the JSON object becomes the detail of an error with
    /// code 0, as go-micro's own parser does, so nothing a peer says is lost.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self { detail: text.to_owned(), ..Self::default() })
    }

    /// The HTTP status to answer with: the code when it is a valid 4xx or 5xx, 500 otherwise, so that an error
    /// never leaves as a success.
    pub fn http_status(&self) -> http::StatusCode {
        http::StatusCode::from_u16(self.code)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four plain fields cannot fail to serialise; the mapping only satisfies the types.
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl std::error::Error for Error {}

fn reason(code: u16) -> &'static str {
    http::StatusCode::from_u16(code).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Peers hold the code in a signed 32-bit integer; one that is no HTTP code at all reads as 500.
fn any_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let code = Option::<i64>::deserialize(deserializer)?.unwrap_or_default();
    Ok(u16::try_from(code).unwrap_or(500))
}
