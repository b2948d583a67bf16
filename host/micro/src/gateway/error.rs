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

/// The error JSON with its code as the status, where that is one of an error: guests choose codes, and `200` or `101`
/// would make another answer of it.
///
/// A call that ran out of time is 408 among services, as go-micro has it. To an HTTP client 408 would say that its own
/// request came too slowly: it gets 504, unless that is what happened.
pub(crate) fn error_response(mut error: Error) -> Response {
    if error.code == 408 && error.id != SLOW {
        error = Error::new(error.id, 504, error.detail);
    }
    let status = error.http_status();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_whose_code_is_none_of_an_error_is_500() {
        for code in [0, 99, 100, 101, 200, 204, 304, 399, 600, 999, 1000] {
            let response = error_response(Error::new("guest", code, "no"));
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{code}");
        }
        for (code, status) in [(400, 400), (408, 504), (418, 418), (503, 503), (599, 599)] {
            assert_eq!(error_response(Error::new("guest", code, "no")).status(), status, "{code}");
        }
    }
}
