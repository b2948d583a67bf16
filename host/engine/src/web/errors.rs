//! What a handler says in place of a response, as the error that its client gets.
//!
//! | code | status |
//! |---|---|
//! | the request is refused, or its size, method or address | 403, 405, 411, 413, 414, 400, 431 |
//! | somebody else did not answer in time | 504 |
//! | somebody else could not be reached, or gave no proper answer | 502 |
//! | a loop | 508 |
//! | anything else | 500 |

use super::Slot;
use crate::error::CallError;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as ErrorCode03;

/// The error of a handler of WASI 0.2.
pub(super) fn said(code: &ErrorCode) -> CallError {
    explain(&Error::from(code.clone()))
}

/// The error of a handler of WASI 0.3.
pub(super) fn said_03(code: &ErrorCode03) -> CallError {
    explain(&Error::from(code.clone()))
}

fn explain(error: &Error) -> CallError {
    CallError::Guest { id: None, code: status(error), detail: format!("the handler gave up: {error}") }
}

fn status(error: &Error) -> u16 {
    match error {
        Error::HttpRequestDenied => 403,
        Error::HttpRequestMethodInvalid => 405,
        Error::HttpRequestLengthRequired => 411,
        Error::HttpRequestBodySize(_) => 413,
        Error::HttpRequestUriInvalid => 400,
        Error::HttpRequestUriTooLong => 414,
        Error::HttpRequestHeaderSectionSize(_)
        | Error::HttpRequestHeaderSize { .. }
        | Error::HttpRequestTrailerSectionSize(_)
        | Error::HttpRequestTrailerSize { .. } => 431,
        Error::DnsTimeout
        | Error::ConnectionTimeout
        | Error::ConnectionReadTimeout
        | Error::ConnectionWriteTimeout
        | Error::HttpResponseTimeout => 504,
        Error::LoopDetected => 508,
        Error::ConfigurationError | Error::InternalError(_) => 500,
        // What is left speaks of a connection to somebody else, or of what came from there.
        _ => 502,
    }
}

/// A handler of WASI 0.2 may return without a word.
pub(super) fn answered(slot: &Slot) -> Result<(), CallError> {
    match slot.status() {
        Some(_) => Ok(()),
        None => Err(no_response()),
    }
}

pub(super) fn no_response() -> CallError {
    CallError::Guest { id: None, code: 500, detail: "the handler returned without a response".into() }
}

pub(super) fn wrong_length() -> CallError {
    CallError::Guest { id: None, code: 500, detail: "the body is not as long as content-length says".into() }
}

/// Whether a guest ended itself and called that a success.
pub(super) fn is_good_exit(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<wasmtime_wasi::I32Exit>().is_some_and(|exit| exit.0 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_handler_becomes_a_status() {
        for (error, status) in [
            (ErrorCode::HttpRequestDenied, 403),
            (ErrorCode::HttpRequestBodySize(Some(1)), 413),
            (ErrorCode::ConnectionRefused, 502),
            (ErrorCode::DestinationNotFound, 502),
            (ErrorCode::ConnectionReadTimeout, 504),
            (ErrorCode::LoopDetected, 508),
            (ErrorCode::InternalError(Some("no".into())), 500),
        ] {
            let CallError::Guest { code, .. } = said(&error) else { panic!("{error:?}") };
            assert_eq!(code, status, "{error:?}");
        }
    }
}
