//! What a program writes → the reply.
//!
//! A program that knows CGI begins with headers and an empty line. Others begin with what they have to say, so headers are
//! believed to be such only where each line is one and `Content-Type`, `Status` or `Location` is among them.

use crate::runtime::{Running, sniff};
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::stream;
use micro_mesh::Error;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Headers together may be so long.
const MAX_HEAD: usize = 16 * 1024;

/// What is waited for before a reply begins, if the program has not come to its end: its failure can be told until then.
const FIRST_BYTES: usize = 64 * 1024;
/// And no longer than this after its first word.
const FIRST_TIME: Duration = Duration::from_millis(50);

/// The header in which CGI has the status.
const STATUS: HeaderName = HeaderName::from_static("status");

/// Headers that are the server's own affair.
const OF_THE_CONNECTION: [HeaderName; 3] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

/// The reply to the request that a program runs for. It is an error if the program fails before there was much to send.
pub(super) async fn of(mut running: Running) -> Result<Response, Error> {
    let mut first = BytesMut::new();
    let mut until: Option<Instant> = None;
    let is_whole = loop {
        let next = match until {
            None => running.next().await,
            Some(until) => match timeout_at(until, running.next()).await {
                Ok(next) => next,
                Err(_) => break false,
            },
        };
        match next {
            None => break true,
            Some(chunk) => first.extend_from_slice(&chunk?),
        }
        if matches!(Head::read(&first), Head::Unfinished) {
            // The rest of its headers is worth waiting for.
            until = None;
        } else if first.len() >= FIRST_BYTES {
            break false;
        } else {
            until.get_or_insert_with(|| Instant::now() + FIRST_TIME);
        }
    };
    let first = first.freeze();
    let mut response = match Head::read(&first) {
        Head::Headers { status, headers, length } => {
            let mut response = response(first.slice(length..), is_whole, running);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Head::None | Head::Unfinished => {
            let content_type = running.content_type.clone();
            let content_type = content_type.unwrap_or_else(|| sniff(whole_characters(&first, is_whole)).into_owned());
            let mut response = response(first, is_whole, running);
            if let Ok(content_type) = HeaderValue::try_from(content_type) {
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            response
        }
    };
    for name in OF_THE_CONNECTION {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

fn response(first: Bytes, is_whole: bool, running: Running) -> Response {
    if is_whole {
        return Response::new(Body::from(first));
    }
    let rest = stream::unfold((first, running), async |(first, mut running)| {
        let chunk = match first.is_empty() {
            true => running.next().await?,
            false => Ok(first),
        };
        // The reply has begun, so all that is left is to break it off.
        Some((chunk.map_err(io::Error::other), (Bytes::new(), running)))
    });
    Response::new(Body::from_stream(rest))
}

/// The bytes without a character that has only begun, where more will come.
fn whole_characters(bytes: &[u8], is_whole: bool) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if !is_whole && error.error_len().is_none() => bytes.get(..error.valid_up_to()).unwrap_or(bytes),
        _ => bytes,
    }
}

/// How the output of a program begins.
#[derive(Debug, PartialEq)]
enum Head {
    /// With headers, which take so many bytes.
    Headers { status: StatusCode, headers: HeaderMap, length: usize },
    /// With something that may become headers.
    Unfinished,
    /// With the body.
    None,
}

impl Head {
    fn read(bytes: &[u8]) -> Head {
        let mut headers = HeaderMap::new();
        let mut length = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            length += line.len();
            if length > MAX_HEAD {
                return Head::None;
            }
            let Some(line) = line.strip_suffix(b"\n") else {
                return if may_become_header(line) { Head::Unfinished } else { Head::None };
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                return finish(headers, length);
            }
            let Some((name, value)) = header(line) else { return Head::None };
            headers.append(name, value);
        }
        if length == MAX_HEAD { Head::None } else { Head::Unfinished }
    }
}

/// The headers up to the empty line, if they are what CGI has there.
fn finish(mut headers: HeaderMap, length: usize) -> Head {
    let status = headers.remove(STATUS).map(|status| read_status(&status));
    let status = match status {
        Some(None) => return Head::None,
        Some(Some(status)) => status,
        None if headers.contains_key(LOCATION) => StatusCode::FOUND,
        None if headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().contains(&b'/')) => StatusCode::OK,
        None => return Head::None,
    };
    Head::Headers { status, headers, length }
}

/// `404 Not Found`, by its number. There is nothing after a reply that is only a beginning, so 1xx is none.
fn read_status(value: &HeaderValue) -> Option<StatusCode> {
    let number = value.to_str().ok()?.split(' ').next()?;
    let status = StatusCode::from_bytes(number.as_bytes()).ok()?;
    (200..600).contains(&status.as_u16()).then_some(status)
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    let value = value.strip_prefix(b":")?.trim_ascii();
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}

/// Whether the beginning of a line is that of a header.
fn may_become_header(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    match name.len() == line.len() {
        true => line == b"\r" || line.is_empty() || HeaderName::from_bytes(name).is_ok(),
        false => HeaderName::from_bytes(name).is_ok(),
    }
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn read(text: &str) -> Head {
        Head::read(text.as_bytes())
    }

    /// Status, headers and body of an output that begins with headers.
    fn parts(text: &str) -> (u16, Vec<(String, String)>, &str) {
        let Head::Headers { status, headers, length } = read(text) else { panic!("{text:?}: {:?}", read(text)) };
        let headers =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_string())).collect();
        (status.as_u16(), headers, &text[length..])
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn headers_are_read_as_cgi_has_them() {
        assert_eq!(parts("Content-Type: text/html\n\n<p>"), (200, vec![pair("content-type", "text/html")], "<p>"));
        let missing = "status: 404 Not Found\r\nX-Own: a: b\r\n\r\nno";
        assert_eq!(parts(missing), (404, vec![pair("x-own", "a: b")], "no"));
        assert_eq!(parts("Location: /x\n\n"), (302, vec![pair("location", "/x")], ""));
        assert_eq!(parts("Status: 201\nLocation: /x\n\n").0, 201);
        let cookies = "Content-Type:text/plain\nSet-Cookie: a=1\nSet-Cookie: b=2\n\nx";
        assert_eq!(parts(cookies).1.len(), 3);
    }

    #[test]
    fn what_only_looks_like_headers_is_the_body() {
        for text in [
            "\n\nbody",
            "words\n",
            "12 345 file\n",
            "name: John\nage: 7\n\nmore",
            "Status: ok\n\n",
            "Status: 99\n\n",
            "Status: 100\n\n",
            "Content-Type: none\n\n",
            "Content-Type: text/html\nno header\n\n",
            "{\"a\":1}",
            " Content-Type: text/html\n\n",
            "Content-Type: text/html\n folded\n\n",
            "\u{fc}: x\n\n",
        ] {
            assert_eq!(read(text), Head::None, "{text:?}");
        }
        assert_eq!(read(&"X-Long: y\n".repeat(MAX_HEAD)), Head::None);
        assert_eq!(read(&"x".repeat(MAX_HEAD + 1)), Head::None);
    }

    #[test]
    fn headers_are_waited_for_to_their_end() {
        let whole = "Content-Type: text/html\r\nX-A: b\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Head::Unfinished, "{length}");
        }
        assert_eq!(parts(whole).0, 200);
    }

    #[test]
    fn a_character_that_has_only_begun_is_text_all_the_same() {
        let begun = &"gr\u{fc}".as_bytes()[..3];
        assert_eq!(whole_characters(begun, false), b"gr");
        assert_eq!(whole_characters(begun, true), begun);
        assert_eq!(whole_characters(b"\xff\xfe", false), b"\xff\xfe");
    }
}
