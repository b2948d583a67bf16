//! Requests to commands, as CGI has them (RFC 3875) and WAGI after it.
//!
//! `/{service}` and all paths below it run the command, by any method: the body is its standard input, what it writes is
//! the reply, and the query becomes arguments (`?a&b=c` gives `a` and `b=c`). Both bodies pass while the program runs.
//! The one path that is not for the program is that of its endpoint, `/{service}/{service}/run`: a call as any other, as
//! are the paths of a `[[route]]`.

mod environment;
mod reply;

use super::error::error_response;
use super::forwarded::Peer;
use super::{Gateway, ID, forwarded, path, refuse, with_id};
use crate::doors::allow_leisure;
use crate::telemetry::Arrival;
use axum::body::Body;
use axum::http::request::Parts;
use axum::response::Response;
use futures::TryStreamExt as _;
use micro_engine::command::Input;
use micro_engine::name::title_case;
use micro_mesh::{Error, Payload};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;

/// What a run is called where calls are traced.
const RUN: &str = "Run";

/// Whether the path is that of the command's endpoint, in any of its spellings.
pub(super) fn is_endpoint(service: &str, path: &str) -> bool {
    /// In `/{service}/{service}/run`; with two parts, the endpoint would take a path from the program for nothing.
    const SLASHES: usize = 3;
    let last = service.rsplit('.').next().unwrap_or(service);
    let is_run = |target: path::Target<'_>| target.endpoint.strip_suffix(".Run") == Some(&*title_case(last));
    path.matches('/').count() == SLASHES && path::resolve(path).is_ok_and(is_run)
}

/// Runs the command with a request.
pub(super) async fn serve(
    gateway: &Gateway,
    service: Arc<str>,
    (mut parts, body): (Parts, Body),
    peer: Option<&Peer>,
    arrival: Arrival,
) -> Response {
    if let Err(error) = super::check_uri(&parts) {
        return error_response(error);
    }
    allow_leisure(&parts.extensions);
    let host = environment::host(&parts).to_string();
    forwarded::set(&mut parts.headers, &host, peer);
    let read =
        arguments(parts.uri.query()).and_then(|args| Ok((args, environment::of(&parts, peer.map(Peer::address))?)));
    let (args, env) = match read {
        Ok(read) => read,
        Err(reason) => return error_response(Error::bad_request(ID, reason)),
    };
    let payload = Payload::Bytes { content_type: Cow::Borrowed(""), body: bytes::Bytes::new() };
    let mut call = match super::new_call(service, RUN, payload, parts.headers) {
        Ok(call) => call,
        Err(error) => return error_response(error),
    };
    let mut span = arrival.call(&mut call);
    let (id, service) = (call.id, call.service.clone());
    let outcome = match gateway.runtime.run_command(call, args, env, input(body)).await {
        Ok(running) => reply::of(running).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(response) => {
            span.answered(response.status());
            with_id(response, id)
        }
        Err(error) => refuse(gateway, &service, id, error, span),
    }
}

fn input(body: Body) -> Input {
    Input::of(body.into_data_stream().map_err(io::Error::other))
}

/// The arguments that a query stands for.
fn arguments(query: Option<&str>) -> Result<Vec<String>, String> {
    let words = query.unwrap_or_default().split('&').filter(|word| !word.is_empty());
    words.map(|word| decoded(&word.replace('+', " "), "the query")).collect()
}

/// Text of a URL as a program can take it.
fn decoded(text: &str, what: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| format!("{what} is not UTF-8"))?;
    match text.contains('\0') {
        true => Err(format!("{what} holds a zero byte, which no program can be given")),
        false => Ok(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_gives_an_argument_for_each_of_its_parts() {
        let read = |query| arguments(Some(query)).unwrap();
        assert_eq!(read("a&b=c"), ["a", "b=c"]);
        assert_eq!(read("-n&hello+world&%26%3D&&x%2By"), ["-n", "hello world", "&=", "x+y"]);
        assert_eq!(arguments(None).unwrap(), Vec::<String>::new());
        assert!(arguments(Some("a%00b")).unwrap_err().contains("a zero byte"));
        assert!(arguments(Some("%ff")).unwrap_err().contains("not UTF-8"));
    }

    #[test]
    fn one_path_is_that_of_the_endpoint() {
        for (service, path, expected) in [
            ("wc", "/wc/wc/run", true),
            ("wc", "/wc/Wc/Run", true),
            ("demo.word-count", "/word-count/word-count/run", true),
            ("wc", "/wc/run", false),
            ("wc", "/wc/x/wc/run", false),
            ("wc", "/wc", false),
        ] {
            assert_eq!(is_endpoint(service, path), expected, "{path}");
        }
    }
}
