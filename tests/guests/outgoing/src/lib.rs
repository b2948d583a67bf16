//! Sends HTTP requests.

wit_bindgen::generate!();

use exports::test::outgoing::outgoing::{Guest, Response};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

/// What is written at once.
const CHUNK: usize = 4096;

struct Outgoing;

impl Guest for Outgoing {
    fn send(method: String, url: String, body: String) -> Result<Response, String> {
        let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let request = OutgoingRequest::new(Fields::new());
        let method = match method.as_str() {
            "GET" => Method::Get,
            "POST" => Method::Post,
            "CONNECT" => Method::Connect,
            _ => Method::Other(method),
        };
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        request.set_method(&method).map_err(|()| "method")?;
        request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
        request.set_authority(Some(authority)).map_err(|()| "authority")?;
        request.set_path_with_query(Some(path)).map_err(|()| "path")?;
        let out = request.body().map_err(|()| "body")?;
        let answer = outgoing_handler::handle(request, None).map_err(|error| format!("{error:?}"))?;
        if !body.is_empty() {
            let stream = out.write().map_err(|()| "write")?;
            for chunk in body.as_bytes().chunks(CHUNK) {
                stream.blocking_write_and_flush(chunk).map_err(|error| format!("{error:?}"))?;
            }
        }
        OutgoingBody::finish(out, None).map_err(|error| format!("{error:?}"))?;
        answer.subscribe().block();
        let response = answer.get().ok_or("not ready")?.map_err(|()| "taken")?.map_err(|error| format!("{error:?}"))?;
        let incoming = response.consume().map_err(|()| "consume")?;
        let stream = incoming.stream().map_err(|()| "stream")?;
        let mut bytes = Vec::new();
        loop {
            match stream.blocking_read(CHUNK as u64) {
                Ok(more) => bytes.extend(more),
                Err(StreamError::Closed) => break,
                Err(error) => return Err(format!("{error:?}")),
            }
        }
        drop(stream);
        drop(IncomingBody::finish(incoming));
        Ok(Response { status: response.status(), body: String::from_utf8_lossy(&bytes).into_owned() })
    }
}

export!(Outgoing);
