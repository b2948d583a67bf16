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
//! An error after the first message is the last line, `{"error": …}`, or the event `error`; bytes break off. A caller
//! that closes the connection ends the call; a WebSocket's empty text frame says that there are no more messages to send.
//! When the host stops, a WebSocket is closed with 1001.

use super::{Gateway, ID, error_response};
use crate::doors::{Upgrade, allow_leisure};
use crate::lines::Lines;
use crate::telemetry::{Arrival, Span};
use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, UPGRADE};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use micro_mesh::exchange::Sender;
use micro_mesh::{Call, Error, Exchange, Payload};
use std::io;
use std::time::Duration;
use tokio::time::timeout;

pub(super) const NDJSON: &str = "application/x-ndjson";
pub(super) const EVENTS: &str = "text/event-stream";
const BYTES: &str = "application/octet-stream";

/// A message larger than this is refused, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Messages that are there already leave together, up to so many bytes.
const CHUNK: usize = 32 * 1024;

/// What a WebSocket is closed with when the call failed: an error of the application, by RFC 6455 section 7.4.2.
const CALL_FAILED: u16 = 4000;

/// How long a caller of a WebSocket may take for its part of the closing: less than a stop waits.
const GOODBYE: Duration = Duration::from_secs(2);

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
        let text = match self {
            Form::Lines => format!("{{\"error\":{error}}}\n"),
            Form::Events => format!("event: error\ndata: {error}\n\n"),
            // Bytes have no place for an error: they break off.
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
pub(crate) fn is_web_socket(header: &HeaderMap) -> bool {
    header.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The response that gives the messages of a streaming call as they come. The call's span ends with the last of them.
pub(super) fn response(exchange: Exchange, form: Form, mut span: Span) -> Response {
    span.answered(StatusCode::OK);
    let chunks = futures::stream::unfold(Some(Ok((exchange, span))), move |rest| async move {
        let (mut exchange, mut span) = match rest? {
            Ok(both) => both,
            Err(error) => {
                // Meanwhile what came before leaves: a body that breaks off takes along what was not sent.
                tokio::task::yield_now().await;
                return Some((Err(error), None));
            }
        };
        let mut out = BytesMut::new();
        let mut next = exchange.next().await;
        loop {
            match next {
                Some(Ok(message)) => form.write(&message, &mut out),
                Some(Err(error)) => {
                    form.write_error(&error, &mut out);
                    span.failed(&error);
                    let rest = (form == Form::Bytes).then(|| Err(io::Error::other(error.detail)));
                    return Some((Ok(out.freeze()), rest));
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
        Some((Ok(out.freeze()), Some(Ok((exchange, span)))))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(CONTENT_TYPE, form.content_type());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Opens the call and sends it the lines of the body, while its replies are on their way already.
pub(super) async fn lines(
    gateway: &Gateway,
    mut call: Call,
    (extensions, body): (Extensions, Body),
    arrival: Arrival,
) -> Response {
    allow_leisure(&extensions);
    let span = arrival.call(&mut call);
    let (form, id) = (Form::of(&call.header), call.id);
    let service = call.service.clone();
    let mut exchange = match gateway.client.open(call).await {
        Ok(exchange) => exchange,
        Err(error) => return super::refuse(gateway, &service, id, error, span),
    };
    if let Some(sends) = exchange.take_sender() {
        tokio::spawn(async move {
            tokio::select! {
                // The call is over, or takes no more: the rest of the body is nobody's.
                () = sends.closed() => {}
                outcome = send_lines(body, &sends) => {
                    if let Err(error) = outcome {
                        // Who takes no more knows already.
                        let _ = sends.send(Err(error)).await;
                    }
                }
            }
        });
    }
    super::with_id(response(exchange, form, span), id)
}

async fn send_lines(body: Body, sends: &Sender) -> Result<(), Error> {
    let mut frames = body.into_data_stream();
    let mut lines = Lines::default();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| Error::bad_request(ID, format!("the body could not be read: {error}")))?;
        lines.push(&frame);
        for line in lines.by_ref() {
            if sends.send(Ok(Payload::json(line))).await.is_err() {
                // The callee takes no more.
                return Ok(());
            }
        }
        if lines.waiting() > MAX_MESSAGE {
            return Err(Error::new(ID, 413, format!("a line is longer than {MAX_MESSAGE} bytes")));
        }
    }
    if let Some(line) = lines.rest() {
        // As above.
        let _ = sends.send(Ok(Payload::json(line))).await;
    }
    Ok(())
}

/// Takes a WebSocket, and passes messages both ways for as long as it is open.
pub(super) async fn web_socket(gateway: &Gateway, mut call: Call, mut parts: Parts, arrival: Arrival) -> Response {
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return error_response(Error::bad_request(ID, rejection.body_text())),
    };
    let Some(place) = parts.extensions.remove::<Upgrade>() else {
        return error_response(Error::bad_request(ID, "this connection cannot become a WebSocket"));
    };
    // Whatever is wrong with the call is said by HTTP still.
    let mut span = arrival.call(&mut call);
    let (service, id) = (call.service.clone(), call.id);
    let exchange = match gateway.client.open(call).await {
        Ok(exchange) => exchange,
        Err(error) => return super::refuse(gateway, &service, id, error, span),
    };
    span.answered(StatusCode::SWITCHING_PROTOCOLS);
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(move |socket| pass(socket, exchange, span, place))
}

/// Passes messages both ways. Neither waits for the other: a guest that gives more than it takes fills one of them.
async fn pass(socket: WebSocket, mut exchange: Exchange, mut span: Span, mut place: Upgrade) {
    let (mut to_caller, mut from_caller) = socket.split();
    let mut sends = exchange.take_sender();
    let close = tokio::select! {
        close = give(&mut to_caller, &mut exchange, &mut span) => Some(close),
        () = take(&mut from_caller, &mut sends) => None,
        () = place.stopped() => Some(CloseFrame { code: close_code::AWAY, reason: "the host stops".into() }),
    };
    // In this order the callee knows that its caller left, and did not just say its last.
    drop(exchange);
    drop(sends);
    drop(span);
    let goodbye = async {
        if let Some(close) = close {
            // A caller that is gone needs no reason.
            let _ = to_caller.send(Message::Close(Some(close))).await;
        }
        // What is read now is the caller's close, or sends the answer to it on its way.
        while let Some(Ok(_)) = from_caller.next().await {}
    };
    // Who takes longer is left without one.
    let _ = timeout(GOODBYE, goodbye).await;
}

/// Passes on what the callee gives, to its end.
async fn give(to_caller: &mut SplitSink<WebSocket, Message>, exchange: &mut Exchange, span: &mut Span) -> CloseFrame {
    let left = CloseFrame { code: close_code::AWAY, reason: "".into() };
    while let Some(reply) = exchange.next().await {
        let frame = match reply {
            Ok(Payload::Bytes { content_type, body }) if content_type.contains("json") => {
                match Utf8Bytes::try_from(body) {
                    Ok(text) => Message::Text(text),
                    // JSON is text.
                    Err(_) => continue,
                }
            }
            Ok(Payload::Bytes { body, .. }) => Message::Binary(body),
            Ok(_) => continue,
            Err(error) => {
                span.failed(&error);
                let text = format!("{{\"error\":{error}}}");
                // As above.
                let _ = to_caller.send(Message::Text(text.into())).await;
                return CloseFrame { code: CALL_FAILED, reason: "the call failed".into() };
            }
        };
        if to_caller.send(frame).await.is_err() {
            return left;
        }
    }
    CloseFrame { code: close_code::NORMAL, reason: "".into() }
}

/// Passes on what the caller sends, until it is gone.
async fn take(from_caller: &mut SplitStream<WebSocket>, sends: &mut Option<Sender>) {
    while let Some(Ok(frame)) = from_caller.next().await {
        let message = match frame {
            Message::Text(text) if text.is_empty() => {
                *sends = None;
                continue;
            }
            Message::Text(text) => Payload::json(text),
            Message::Binary(body) => Payload::Bytes { content_type: BYTES.into(), body },
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        if let Some(to_callee) = sends
            && to_callee.send(Ok(message)).await.is_err()
        {
            *sends = None;
        }
    }
}
