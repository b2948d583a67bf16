//! `/broker`, as go-micro's sidecar has it, and as server-sent events.
//!
//! | request | what |
//! |---|---|
//! | `POST /broker?topic=orders` | publishes the body; the request's headers are the message's |
//! | the same with `&key=` and `&deliver_at=` | what it belongs together with, and when it is delivered, in milliseconds since 1970 |
//! | `GET /broker?topic=orders.*`, a WebSocket | a text frame for each message; what is sent is published |
//! | the same with `Accept: text/event-stream` | an event for each message |
//! | both with `&queue=desk` | shares the messages with others in that queue |
//! | both with `&from=earliest`, or `offset:12`, or `time:1700000000000` | begins with old messages |
//!
//! A message that was sent on its way to a client counts as handled.

use super::given::Given;
use super::{Sidecar, admin};
use crate::doors::{Upgrade, allow_leisure};
use crate::gateway::{OF_THE_REQUEST, error_response, is_web_socket, read_up_to};
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts as _, Query, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::SplitStream;
use futures::{SinkExt as _, StreamExt as _};
use micro_mesh::broker::{
    Delivery, Group, Header, ID, KEY, MAX_MESSAGE, Message, Pattern, Position, PublishOptions, SubscribeOptions,
    Subscription,
};
use micro_mesh::{Broker, Error};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Messages that a client is ahead of what it has read.
const PREFETCH: usize = 64;

/// How long a client of a WebSocket may take for its part of the closing.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a message is that a WebSocket's client sends, where its handshake does not say.
const TEXT: &str = "text/plain";

#[derive(Deserialize)]
pub(super) struct Parameters {
    #[serde(default)]
    topic: String,
    queue: Option<String>,
    key: Option<String>,
    deliver_at: Option<u64>,
    from: Option<String>,
}

/// A message as go-micro writes it.
#[derive(Serialize)]
struct Shown<'m> {
    #[serde(rename = "Topic")]
    topic: &'m str,
    #[serde(rename = "Header")]
    header: serde_json::Map<String, serde_json::Value>,
    #[serde(rename = "Body")]
    body: String,
}

impl Shown<'_> {
    fn of(delivery: &Delivery) -> Shown<'_> {
        let header = delivery.message.header.iter().map(|(name, value)| (name.to_owned(), value.into()));
        Shown { topic: &delivery.topic, header: header.collect(), body: STANDARD.encode(&delivery.message.body) }
    }
}

/// Publishes or subscribes.
pub(super) async fn serve(
    State(sidecar): State<Sidecar>,
    Given(Query(parameters)): Given<Query<Parameters>>,
    request: Request,
) -> Response {
    if parameters.topic.is_empty() {
        return error_response(Error::bad_request(ID, "Topic not specified"));
    }
    let (parts, body) = request.into_parts();
    let outcome = match parts.method {
        Method::POST => publish(&sidecar, parameters, &parts.headers, body).await,
        Method::GET => subscribe(&sidecar, parameters, parts).await,
        _ => Err(Error::method_not_allowed(ID, "Method not allowed")),
    };
    outcome.unwrap_or_else(error_response)
}

async fn publish(
    sidecar: &Sidecar,
    Parameters { topic, key, deliver_at, .. }: Parameters,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let body = read_up_to(body, MAX_MESSAGE).await?;
    let mut message = Message { header: header(headers), body };
    if let Some(key) = key {
        message.header.set(KEY, key);
    }
    let options = PublishOptions { deliver_at, ..PublishOptions::default() };
    sidecar.gateway.runtime.broker().publish(&topic, message, options).await?;
    Ok(StatusCode::OK.into_response())
}

/// The headers of a request as those of a message. Several values of a name are joined, as go-micro does.
fn header(headers: &HeaderMap) -> Header {
    let names = headers.keys().filter(|name| !OF_THE_REQUEST.contains(name));
    let value = |name: &HeaderName| {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        values.join(",")
    };
    names.map(|name| (name.as_str(), value(name))).collect()
}

async fn subscribe(sidecar: &Sidecar, parameters: Parameters, mut parts: Parts) -> Result<Response, Error> {
    let Parameters { topic, queue, from, .. } = parameters;
    let wants_events = parts.headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == b"text/event-stream");
    if !wants_events && !is_web_socket(&parts.headers) {
        let detail = "GET subscribes: ask for a WebSocket, or for events with the header accept: text/event-stream";
        return Err(Error::bad_request(ID, detail));
    }
    let pattern = Pattern::new(topic.as_str())?;
    let from = from.as_deref().map_or(Ok(Position::Latest), admin::position)?;
    let options = SubscribeOptions { group: queue.map(Group::passing), prefetch: PREFETCH, from };
    let broker = sidecar.gateway.runtime.broker();
    if wants_events {
        let subscription = broker.subscribe(&pattern, options).await?;
        allow_leisure(&parts.extensions);
        return Ok(events(sidecar, subscription));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|rejection| Error::bad_request(ID, rejection.body_text()))?;
    let no_upgrade = || Error::bad_request(ID, "this connection cannot become a WebSocket");
    let place = parts.extensions.remove::<Upgrade>().ok_or_else(no_upgrade)?;
    let subscription = broker.subscribe(&pattern, options).await?;
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or(TEXT).to_owned();
    let sends = Sends { broker, topic, content_type };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| pass(socket, subscription, sends, place)))
}

/// Messages as server-sent events.
fn events(sidecar: &Sidecar, subscription: Subscription) -> Response {
    let messages = futures::stream::unfold(subscription, async |mut subscription| {
        let delivery = subscription.next().await?;
        let event = Event::default().json_data(Shown::of(&delivery)).unwrap_or_default();
        let event = match delivery.offset {
            Some(offset) => event.id(offset.to_string()),
            None => event,
        };
        delivery.ack();
        Some((Ok::<_, Infallible>(event), subscription))
    });
    Sse::new(admin::until_stopped(messages, sidecar)).keep_alive(KeepAlive::default()).into_response()
}

/// What becomes of the frames that a client sends.
struct Sends {
    broker: Arc<dyn Broker>,
    topic: String,
    content_type: String,
}

async fn pass(socket: WebSocket, mut subscription: Subscription, sends: Sends, mut place: Upgrade) {
    let (mut to_client, mut from_client) = socket.split();
    let give = async {
        while let Some(delivery) = subscription.next().await {
            let text = serde_json::to_string(&Shown::of(&delivery)).unwrap_or_default();
            if to_client.send(Frame::Text(text.into())).await.is_err() {
                // It comes to another one of its queue.
                return CloseFrame { code: close_code::AWAY, reason: "".into() };
            }
            delivery.ack();
        }
        CloseFrame { code: close_code::AWAY, reason: "the broker is closed".into() }
    };
    let close = tokio::select! {
        close = give => Some(close),
        close = take(&mut from_client, &sends) => close,
        () = place.stopped() => Some(CloseFrame { code: close_code::AWAY, reason: "the host stops".into() }),
    };
    drop(subscription);
    let goodbye = async {
        // A client that is gone needs no reason.
        let _ = to_client.send(Frame::Close(close)).await;
        while let Some(Ok(_)) = from_client.next().await {}
    };
    // Who takes longer is left without one.
    let _ = timeout(GOODBYE, goodbye).await;
}

/// Publishes what a client sends, until it is gone; gives the reason to close where that fails.
async fn take(from_client: &mut SplitStream<WebSocket>, sends: &Sends) -> Option<CloseFrame> {
    while let Some(Ok(frame)) = from_client.next().await {
        let body = match frame {
            Frame::Text(text) => text.into(),
            Frame::Binary(body) => body,
            Frame::Ping(_) | Frame::Pong(_) => continue,
            Frame::Close(_) => return None,
        };
        let message = Message::new(body).with(micro_mesh::broker::CONTENT_TYPE, sends.content_type.as_str());
        if let Err(error) = sends.broker.publish(&sends.topic, message, PublishOptions::default()).await {
            let mut reason = error.to_string();
            // A frame that closes has room for 123 bytes.
            while reason.len() > 123 {
                reason.pop();
            }
            return Some(CloseFrame { code: close_code::ERROR, reason: reason.into() });
        }
    }
    None
}
