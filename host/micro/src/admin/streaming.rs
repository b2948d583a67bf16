//! Streaming calls through the sidecar: a line of JSON per message.

use super::stream::LineStream;
use super::{Host, HostError, with_metadata};
use bytes::Bytes;
use reqwest::{Body, Method, RequestBuilder};
use serde_json::value::RawValue;
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
        request: &RawValue,
        metadata: &[(String, String)],
        lines: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<LineStream, HostError> {
        let names = [("service", service), ("endpoint", endpoint), ("request", request.get())];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(names).finish();
        let body = Body::wrap_stream(ReceiverStream::new(lines));
        let call = self.open(Method::POST, &format!("/rpc?{query}")).header("content-type", NDJSON).body(body);
        self.messages(with_metadata(call.header("accept", NDJSON), metadata)).await
    }

    async fn messages(&self, call: RequestBuilder) -> Result<LineStream, HostError> {
        Ok(LineStream::of_messages(self.send(call).await?, self.address.clone()))
    }
}
