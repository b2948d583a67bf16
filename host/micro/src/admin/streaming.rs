//! Streaming calls through the sidecar: a line of JSON per message.

use super::stream::LineStream;
use super::{Host, HostError, with_metadata};
use crate::gateway::path;
use bytes::Bytes;
use reqwest::{Body, Method, RequestBuilder};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::io;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// The media type of a body with a message per line.
const NDJSON: &str = "application/x-ndjson";

impl Host {
    /// Opens a call whose reply is many messages.
    pub async fn stream(
        &self,
        service: &str,
        endpoint: &str,
        request: &RawValue,
        metadata: &[(String, String)],
    ) -> Result<LineStream, HostError> {
        self.messages(self.rpc(service, endpoint, request, metadata)).await
    }

    /// Opens a call that sends messages, as the lines of what comes from `lines`, and gets messages.
    pub async fn stream_both_ways(
        &self,
        service: &str,
        endpoint: &str,
        request: &Map<String, Value>,
        metadata: &[(String, String)],
        lines: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<LineStream, HostError> {
        let path = call_path(service, endpoint).map_err(refused)?;
        let query = flatten(request).map_err(refused)?;
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let body = Body::wrap_stream(ReceiverStream::new(lines));
        let call = self.open(Method::POST, &format!("{path}?{query}")).header("content-type", NDJSON).body(body);
        self.messages(with_metadata(call.header("accept", NDJSON), metadata)).await
    }

    async fn messages(&self, call: RequestBuilder) -> Result<LineStream, HostError> {
        Ok(LineStream::of_messages(self.send(call).await?, self.address.clone()))
    }
}

fn refused(detail: String) -> HostError {
    HostError::Refused(micro_mesh::Error::bad_request("micro", detail))
}

/// The path that leads to an endpoint: messages are sent in the body, so the names must be here.
fn call_path(service: &str, endpoint: &str) -> Result<String, String> {
    let path = format!("/{service}/{}", endpoint.replace('.', "/"));
    match path::resolve(&path) {
        Ok(target) if target.name == service && target.endpoint == endpoint => Ok(path),
        _ => Err(format!(
            "no path of the host leads to {endpoint} of {service}, and messages can only be sent to a path: is the \
             endpoint written like Say.Hello?"
        )),
    }
}

/// A request as the pairs of a query string: `a.b` for fields of fields, one pair for each item of a list.
fn flatten(request: &Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (key, value) in request {
        add(key, value, &mut pairs)?;
    }
    Ok(pairs)
}

fn add(key: &str, value: &Value, pairs: &mut Vec<(String, String)>) -> Result<(), String> {
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => pairs.push((key.to_owned(), value.to_string())),
        Value::String(text) => pairs.push((key.to_owned(), text.clone())),
        Value::Object(fields) => {
            for (name, value) in fields {
                add(&format!("{key}.{name}"), value, pairs)?;
            }
        }
        Value::Array(items) => {
            for item in items {
                if matches!(item, Value::Array(_) | Value::Object(_)) {
                    return Err(format!(
                        "field {key} of the request holds a list of more than texts and numbers, which does not go \
                         beside messages"
                    ));
                }
                add(key, item, pairs)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_into_the_query() {
        let Value::Object(request) = serde_json::json!({
            "start": 5, "deep": {"is": true, "name": "a b"}, "tags": ["x", "y"], "none": null
        }) else {
            panic!("an object");
        };
        let mut pairs: Vec<String> =
            flatten(&request).unwrap().iter().map(|(key, value)| format!("{key}={value}")).collect();
        // Whether an object keeps its order depends on who else uses serde_json.
        pairs.sort();
        assert_eq!(pairs, ["deep.is=true", "deep.name=a b", "start=5", "tags=x", "tags=y"]);
        let Value::Object(request) = serde_json::json!({"list": [{"a": 1}]}) else { panic!("an object") };
        assert!(flatten(&request).unwrap_err().starts_with("field list "));
    }

    #[test]
    fn only_a_path_that_leads_there_is_taken() {
        assert_eq!(call_path("demo.chat", "Room.Talk").unwrap(), "/demo.chat/Room/Talk");
        for (service, endpoint) in [("v1", "Room.Talk"), ("chat", "Talk"), ("chat", "room.talk"), ("../x", "A.B")] {
            assert!(call_path(service, endpoint).is_err(), "{service} {endpoint}");
        }
    }
}
