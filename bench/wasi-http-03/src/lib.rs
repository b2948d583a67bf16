//! The greeter as a `wasi:http` component of WASI 0.3, whose instances serve one request after the other.

use serde::{Deserialize, Serialize};
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::StreamResult;
use wasip3::{wit_future, wit_stream};

/// Read at most this much at a time; the request of the measurement fits at once.
const PIECE: usize = 4 * 1024;

#[derive(Deserialize)]
struct Message {
    name: String,
}

#[derive(Serialize)]
struct Reply {
    msg: String,
}

struct Greeter;

impl Guest for Greeter {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let answer = answer(request).await;
        let status = if answer.is_some() { 200 } else { 400 };
        let bytes = answer.unwrap_or_else(|| b"{}".to_vec());
        let headers = Fields::from_list(&[("content-type".into(), b"application/json".to_vec())]);
        let (mut to, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(headers.unwrap_or_else(|_| Fields::new()), Some(body), trailers);
        // A status in range cannot be refused.
        let _ = response.set_status_code(status);
        wasip3::spawn(async move {
            // A client that went away needs no answer.
            to.write_all(bytes).await;
        });
        Ok(response)
    }
}

async fn answer(request: Request) -> Option<Vec<u8>> {
    let (_, sent) = wit_future::new(|| Ok(()));
    let (mut body, _) = Request::consume_body(request, sent);
    let mut bytes = Vec::new();
    loop {
        let (status, piece) = body.read(Vec::with_capacity(PIECE)).await;
        bytes.extend_from_slice(&piece);
        if status == StreamResult::Dropped {
            break;
        }
    }
    let Message { name } = serde_json::from_slice(&bytes).ok()?;
    serde_json::to_vec(&Reply { msg: format!("Hello {name}") }).ok()
}

wasip3::http::service::export!(Greeter);
