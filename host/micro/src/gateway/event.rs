//! The gateway as a door for events: every request is published, by go-micro's rules.
//!
//! | path | topic | event |
//! |---|---|---|
//! | `/foo` | `foo` | without a name |
//! | `/foo/bar` | `foo` | `bar` |
//! | `/foo/bar/baz` | `foo` | `bar.baz` |
//! | `/v1/foo/bar` | `v1.foo` | `foo.bar` |
//!
//! The namespace, if there is one, stands before the topic.

use super::{Gateway, ID, OF_THE_REQUEST, error_response, read_up_to};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use micro_mesh::broker::{CONTENT_TYPE, MAX_MESSAGE, MESSAGE_ID, Message, PublishOptions};
use micro_mesh::{Error, call};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;
use uuid::Uuid;

/// An event as go-micro has it.
#[derive(Debug, Serialize)]
struct Event {
    name: String,
    id: String,
    /// In seconds since 1970.
    timestamp: u64,
    header: BTreeMap<String, Pair>,
    data: String,
}

/// A header of the request that made it.
#[derive(Debug, Serialize)]
struct Pair {
    key: String,
    values: Vec<String>,
}

/// Publishes a request.
pub(super) async fn serve(gateway: &Gateway, request: Request) -> Response {
    match publish(gateway, request).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error_response(error),
    }
}

async fn publish(gateway: &Gateway, request: Request) -> Result<(), Error> {
    let (parts, body) = request.into_parts();
    let (topic, name) = target(&gateway.namespace, parts.uri.path())?;
    let data = data(&parts.method, &parts.uri, body).await?;
    let id = format!("{topic}-{name}-{}", Uuid::new_v4());
    let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let event = Event { name, id, timestamp, header: header(&parts.headers), data };
    let body = serde_json::to_vec(&event).map_err(|error| Error::internal(ID, error.to_string()))?;
    let message = Message::new(body).with(CONTENT_TYPE, call::JSON).with(MESSAGE_ID, event.id);
    gateway.runtime.broker().publish(&topic, message, PublishOptions::default()).await?;
    Ok(())
}

/// The topic and the event's name that a path tells.
fn target(namespace: &str, path: &str) -> Result<(String, String), Error> {
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let is_version = |word: &str| {
        word.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (topic, name) = match words.as_slice() {
        [] => return Err(Error::not_found(ID, "the path names no topic: POST to /{topic}/{event}")),
        [version, topic, rest @ ..] if is_version(version) => {
            let name: Vec<&str> = [*topic].into_iter().chain(rest.iter().copied()).collect();
            (format!("{version}.{topic}"), name.join("."))
        }
        [topic, rest @ ..] => ((*topic).to_owned(), rest.join(".")),
    };
    if topic.starts_with('$') {
        return Err(Error::not_found(ID, format!("topic {topic}: topics that begin with $ are the host's own")));
    }
    Ok((if namespace.is_empty() { topic } else { format!("{namespace}.{topic}") }, name))
}

/// What an event says: the body, or of a GET the query.
async fn data(method: &Method, uri: &Uri, body: Body) -> Result<String, Error> {
    if *method == Method::GET {
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            fields.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        return serde_json::to_string(&fields).map_err(|error| Error::internal(ID, error.to_string()));
    }
    let body = read_up_to(body, MAX_MESSAGE).await?;
    match String::from_utf8(body.into()) {
        Ok(text) => Ok(text),
        Err(_) => {
            Err(Error::bad_request(ID, "an event is text: publish other bytes by the sidecar, POST /broker?topic="))
        }
    }
}

fn header(headers: &HeaderMap) -> BTreeMap<String, Pair> {
    let pair = |name: &HeaderName| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let key = canonical(name.as_str());
        (key.clone(), Pair { key, values: values.collect() })
    };
    headers.keys().filter(|name| !OF_THE_REQUEST.contains(name)).map(pair).collect()
}

/// A header's name as Go writes it: `Content-Type`.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_topic_and_name() {
        for (path, topic, name) in [
            ("/foo", "foo", ""),
            ("/foo/bar", "foo", "bar"),
            ("/foo/bar/baz", "foo", "bar.baz"),
            ("/v1/foo/bar", "v1.foo", "foo.bar"),
            ("/v1", "v1", ""),
            ("/visits/a", "visits", "a"),
        ] {
            assert_eq!(target("", path).unwrap(), (topic.to_owned(), name.to_owned()), "{path}");
            assert_eq!(target("go.micro", path).unwrap().0, format!("go.micro.{topic}"));
        }
        assert_eq!(target("", "/").unwrap_err().code, 404);
        assert_eq!(target("", "/$dead.billing").unwrap_err().code, 404);
    }

    #[test]
    fn headers_are_as_go_writes_them() {
        let headers = HeaderMap::from_iter([
            ("content-type".parse().unwrap(), "a".parse().unwrap()),
            ("x-b".parse().unwrap(), "1".parse().unwrap()),
            ("authorization".parse().unwrap(), "secret".parse().unwrap()),
            ("cookie".parse().unwrap(), "secret".parse().unwrap()),
        ]);
        let shown = serde_json::to_string(&header(&headers)).unwrap();
        assert_eq!(
            shown,
            r#"{"Content-Type":{"key":"Content-Type","values":["a"]},"X-B":{"key":"X-B","values":["1"]}}"#
        );
    }
}
