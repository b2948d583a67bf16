//! The types of `micro:function/types`, and how to make an error of one line.

use std::fmt;

/// In a world without functions, since the bindings of one that returns an [`Error`] would say how it is shown.
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package micro:sdk;

            world sdk {
                import micro:function/types@0.1.0;
            }
        ",
        path: "../wit",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq, Eq],
    });
}

pub use bindings::micro::function::types::{Context, Error, HttpResponse, Message, Metadata};

impl Error {
    /// An error with a code of the author's choice, an HTTP status from 400 to 599.
    ///
    /// The id stays empty, for the host to fill in the deployment's name.
    pub fn new(code: u16, detail: impl Into<String>) -> Self {
        Self { id: String::new(), code, detail: detail.into(), status: reason_phrase(code).to_owned() }
    }

    /// 400: the request is wrong, and sending it again will not help.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    /// 401: the caller did not say who it is.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, detail)
    }

    /// 403: the caller may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, detail)
    }

    /// 404: what the request names is not there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    /// 408: something took too long.
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self::new(408, detail)
    }

    /// 409: the request does not fit what is there now.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, detail)
    }

    /// 429: the caller asks too often.
    pub fn too_many(detail: impl Into<String>) -> Self {
        Self::new(429, detail)
    }

    /// 500: the function failed for a reason that is not the caller's.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, detail)
    }

    /// 503: not now; the same request may succeed later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, detail)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.code, self.status, self.detail)
    }
}

impl std::error::Error for Error {}

impl HttpResponse {
    /// A response with a body, and the type that the body is of.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let header = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, header, body: body.into() }
    }

    /// 200 with a web page.
    pub fn html(body: impl Into<String>) -> Self {
        Self::new(200, "text/html; charset=utf-8", body.into())
    }

    /// 200 with plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self::new(200, "text/plain; charset=utf-8", body.into())
    }

    /// 302: what was asked for is at `location`, for now.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self { status: 302, header: vec![("location".to_owned(), location.into())], body: Vec::new() }
    }

    /// The same with one more header. Names are lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.header.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The reason phrases of RFC 9110 and RFC 6585 that an endpoint has a use for.
fn reason_phrase(code: u16) -> &'static str {
    match code {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
