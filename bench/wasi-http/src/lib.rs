//! The greeter as a `wasi:http` component: what `make bench` gives to `wasmtime serve`.

use serde::{Deserialize, Serialize};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

/// Read at most this much at a time; the request of the measurement fits at once.
const PIECE: u64 = 64 * 1024;

#[derive(Deserialize)]
struct Request {
    name: String,
}

#[derive(Serialize)]
struct Response {
    msg: String,
}

struct Greeter;

impl Guest for Greeter {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (status, body) = match answer(&request) {
            Some(body) => (200, body),
            None => (400, b"{}".to_vec()),
        };
        let headers = Fields::from_list(&[("content-type".into(), b"application/json".to_vec())]);
        let response = OutgoingResponse::new(headers.unwrap_or_else(|_| Fields::new()));
        // A status in range and a body that is taken once cannot be refused.
        let _ = response.set_status_code(status);
        let Ok(outgoing) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        if let Ok(stream) = outgoing.write() {
            // A client that went away needs no answer.
            let _ = stream.blocking_write_and_flush(&body);
        }
        let _ = OutgoingBody::finish(outgoing, None);
    }
}

fn answer(request: &IncomingRequest) -> Option<Vec<u8>> {
    let body = request.consume().ok()?;
    let stream = body.stream().ok()?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(PIECE) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => return None,
        }
    }
    let Request { name } = serde_json::from_slice(&bytes).ok()?;
    serde_json::to_vec(&Response { msg: format!("Hello {name}") }).ok()
}

wasip2::http::proxy::export!(Greeter);
