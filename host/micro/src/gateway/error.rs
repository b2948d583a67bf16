//! Errors → HTTP responses. This is the one place that does it for the gateway and the sidecar.

use super::body::SLOW;
use axum::body::Body;
use axum::http::header::{self, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use micro_mesh::Error;

/// Seconds after which a caller that was turned away may try again, at least and at most: what is known of turns to come
/// is a guess.
const RETRY_AFTER: std::ops::RangeInclusive<u64> = 1..=60;

/// The error JSON with its code as the status.
///
/// A call that ran out of time is 408 among services, as go-micro has it. To an HTTP client 408 would say that its own
/// request came too slowly: it gets 504, unless that is what happened.
pub(crate) fn error_response(mut error: Error) -> Response {
    if error.code == 408 && error.id != SLOW {
        error = Error::new(error.id, 504, error.detail);
    }
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from(error.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(micro_mesh::call::JSON));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let seconds = error.again.map_or(0, |again| again.as_millis().div_ceil(1000) as u64);
        headers.insert(header::RETRY_AFTER, seconds.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end()).into());
    }
    response
}
