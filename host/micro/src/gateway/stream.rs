//! Streaming calls over HTTP.
//!
//! | the caller | sends | gets |
//! |---|---|---|
//! | any request to an endpoint that streams | the request | a line of JSON per message, `application/x-ndjson` |
//! | `Accept: text/event-stream` | the request | an event per message, then the event `end` |
//! | `Accept: application/octet-stream` | the request | the bytes of all messages, one after the other |
//! | `Content-Type: application/x-ndjson` | a line per message; the request is in the query | as above |
//! | a WebSocket | a frame per message; the request is in the query | a frame per message |
//!
//! An error after the first message is the last line, `{"error": …}`, or the event `error`. A caller that closes the
//! connection ends the call; a WebSocket's empty text frame says that there are no more messages to send.

use super::{Gateway, ID, error_response};
use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use micro_mesh::{Call, Error, Exchange, Payload};
use std::convert::Infallible;
use tokio::sync::mpsc;

pub(super) const NDJSON: &str = "application/x-ndjson";
pub(super) const EVENTS: &str = "text/event-stream";
const BYTES: &str = "application/octet-stream";

/// A message larger than this is refused, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Messages that are there already leave together, up to so many bytes.
const CHUNK: usize = 32 * 1024;

/// What a WebSocket is closed with when the call failed: an error of the application, by RFC 6455 section 7.4.2.
const CALL_FAILED: u16 = 4000;

/// The form in which a caller gets messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Lines,
    Events,
    Bytes,
}

impl Form {
    pub(super) fn of(header: &HeaderMap) -> Form {
        match header.get(ACCEPT).and_then(|accept| accept.to_str().ok()) {
            Some(accept) if accept.contains(EVENTS) => Form::Events,
            Some(accept) if accept.contains(BYTES) => Form::Bytes,
            _ => Form::Lines,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Form::Lines => NDJSON,
            Form::Events => EVENTS,
            Form::Bytes => BYTES,
        })
    }

    fn write(self, message: &Payload, out: &mut BytesMut) {
        let Payload::Bytes { content_type, body } = message else { return };
        if self == Form::Bytes {
            out.put_slice(body);
            return;
        }
        if self == Form::Events {
            out.put_slice(b"data: ");
        }
        if content_type.contains("json") {
            out.put_slice(body);
        } else {
            out.put_slice(b"\"");
            out.put_slice(STANDARD.encode(body).as_bytes());
            out.put_slice(b"\"");
        }
        out.put_slice(if self == Form::Events { b"\n\n" } else { b"\n" });
    }

    fn write_error(self, error: &Error, out: &mut BytesMut) {
        let error = serde_json::json!(error);
        let text = match self {
            Form::Lines => format!("{}\n", serde_json::json!({ "error": error })),
            Form::Events => format!("event: error\ndata: {error}\n\n"),
            // Bytes have no place for an error; the log has it.
            Form::Bytes => String::new(),
        };
        out.put_slice(text.as_bytes());
    }
}

/// Whether a request's body is a message per line.
pub(super) fn is_lines(header: &HeaderMap) -> bool {
    let content_type = header.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.starts_with(NDJSON)
}

/// Whether a request asks for a WebSocket.
pub(super) fn is_web_socket(header: &HeaderMap) -> bool {
    header.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The response that gives the messages of a streaming call as they come.
pub(super) fn response(exchange: Exchange, form: Form) -> Response {
    let chunks = futures::stream::unfold(Some(exchange), move |exchange| async move {
        let mut exchange = exchange?;
        let mut out = BytesMut::new();
        let mut next = exchange.next().await;
        loop {
            match next {
                Some(Ok(message)) => form.write(&message, &mut out),
                Some(Err(error)) => {
                    form.write_error(&error, &mut out);
                    return Some((Ok::<_, Infallible>(out.freeze()), None));
                }
                None if form == Form::Events => {
                    out.put_slice(b"event: end\ndata: {}\n\n");
                    return Some((Ok(out.freeze()), None));
                }
                None => return Some((Ok(out.freeze()), None)),
            }
            if out.len() >= CHUNK {
                break;
            }
            match exchange.next_now() {
                Some(message) => next = message,
                None => break,
            }
        }
        Some((Ok(out.freeze()), Some(exchange)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(CONTENT_TYPE, form.content_type());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Opens the call and sends it the lines of the body, while its replies are on their way already.
pub(super) async fn lines(gateway: &Gateway, call: Call, body: Body) -> Response {
    let (form, id) = (Form::of(&call.header), call.id);
    let exchange = match gateway.client.open(call).await {
        Ok(exchange) => exchange,
        Err(error) => return super::with_id(error_response(error), id),
    };
    let (sends, replies) = exchange.split();
    let (trouble, troubles) = mpsc::channel(1);
    if let Some(sends) = sends {
        tokio::spawn(async move {
            if let Err(error) = send_lines(body, &sends).await {
                // Said before the callee learns that no more comes.
                let _ = trouble.send(error).await;
            }
        });
    }
    super::with_id(response(Exchange::from_parts(replies, troubles), form), id)
}

async fn send_lines(body: Body, sends: &mpsc::Sender<Payload>) -> Result<(), Error> {
    let mut frames = body.into_data_stream();
    let mut rest = BytesMut::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| Error::bad_request(ID, format!("the body could not be read: {error}")))?;
        rest.extend_from_slice(&frame);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(end + 1).freeze();
            if !send_line(&line, sends).await {
                return Ok(());
            }
        }
        if rest.len() > MAX_MESSAGE {
            return Err(Error::new(ID, 413, format!("a line is longer than {MAX_MESSAGE} bytes")));
        }
    }
    send_line(&rest.freeze(), sends).await;
    Ok(())
}

/// False when the callee takes no more.
async fn send_line(line: &Bytes, sends: &mpsc::Sender<Payload>) -> bool {
    let text = line.trim_ascii();
    text.is_empty() || sends.send(Payload::json(Bytes::copy_from_slice(text))).await.is_ok()
}

/// Takes a WebSocket, and passes messages both ways for as long as it is open.
pub(super) async fn web_socket(gateway: &Gateway, call: Call, mut parts: Parts) -> Response {
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return error_response(Error::bad_request(ID, rejection.body_text())),
    };
    // Whatever is wrong with the call is said by HTTP still.
    let exchange = match gateway.client.open(call).await {
        Ok(exchange) => exchange,
        Err(error) => return error_response(error),
    };
    upgrade.max_message_size(MAX_MESSAGE).on_upgrade(move |socket| pass(socket, exchange))
}

async fn pass(mut socket: WebSocket, exchange: Exchange) {
    let (mut sends, mut replies) = exchange.split();
    let close = loop {
        tokio::select! {
            frame = socket.recv() => match frame {
                Some(Ok(Message::Text(text))) if text.is_empty() => sends = None,
                Some(Ok(Message::Text(text))) => {
                    if !send_frame(&mut sends, Payload::json(Bytes::copy_from_slice(text.as_bytes()))).await {
                        sends = None;
                    }
                }
                Some(Ok(Message::Binary(body))) => {
                    let message = Payload::Bytes { content_type: BYTES.into(), body };
                    if !send_frame(&mut sends, message).await {
                        sends = None;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            reply = replies.recv() => match reply {
                Some(Ok(Payload::Bytes { content_type, body })) => {
                    let text = content_type.contains("json").then(|| String::from_utf8(body.to_vec()));
                    let frame = match text {
                        Some(Ok(text)) => Message::Text(text.into()),
                        _ => Message::Binary(body),
                    };
                    if socket.send(frame).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    // A caller that is gone needs no reason.
                    let _ = socket.send(Message::Text(serde_json::json!({ "error": error }).to_string().into())).await;
                    break CloseFrame { code: CALL_FAILED, reason: "the call failed".into() };
                }
                None => break CloseFrame { code: axum::extract::ws::close_code::NORMAL, reason: "".into() },
            },
        }
    };
    // As above.
    let _ = socket.send(Message::Close(Some(close))).await;
}

async fn send_frame(sends: &mut Option<mpsc::Sender<Payload>>, message: Payload) -> bool {
    match sends {
        Some(sends) => sends.send(message).await.is_ok(),
        None => false,
    }
}
