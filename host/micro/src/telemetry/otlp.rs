//! Spans as the messages of the [OpenTelemetry protocol](https://opentelemetry.io/docs/specs/otlp/), with the names of its
//! [semantic conventions](https://opentelemetry.io/docs/specs/semconv/rpc/).

use super::settings::Settings;
use super::span::{Kind, Record};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use std::time::{Duration, SystemTime};

/// What a message is sent as.
pub(super) const CONTENT_TYPE: &str = "application/x-protobuf";

/// What is told of this host with every batch.
pub(super) struct Resource(Vec<KeyValue>);

impl Resource {
    pub(super) fn new(settings: &Settings, host: &str) -> Resource {
        let own = [
            ("service.name", settings.service.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", host),
        ];
        let own = own.into_iter().map(|(key, value)| text(key, value));
        let given = settings.resource.iter().filter(|(key, _)| key != "service.name");
        Resource(own.chain(given.map(|(key, value)| text(key, value))).collect())
    }
}

/// One request with all spans of a batch.
pub(super) fn request(resource: &Resource, batch: Vec<Record>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "micro".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let spans = batch.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let resource = resource::v1::Resource { attributes: resource.0.clone(), ..resource::v1::Resource::default() };
    let spans = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }
}

/// How many spans of a batch the collector did not want, by its answer.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
    u64::try_from(rejected).unwrap_or(0)
}

fn span(record: Record) -> Span {
    let began = nanoseconds(record.began.0);
    let took = u64::try_from(record.took.as_nanos()).unwrap_or(u64::MAX);
    let attributes = attributes(&record);
    let kind = match record.kind {
        Kind::Door { .. } | Kind::Within { .. } => SpanKind::Server,
        Kind::Out { .. } => SpanKind::Client,
    };
    Span {
        trace_id: record.trace.as_u128().to_be_bytes().into(),
        span_id: record.span.get().to_be_bytes().into(),
        parent_span_id: record.parent.map(|parent| parent.get().to_be_bytes().into()).unwrap_or_default(),
        trace_state: record.state,
        flags: record.flags.into(),
        name: format!("{}/{}", record.service, record.endpoint),
        kind: kind.into(),
        start_time_unix_nano: began,
        end_time_unix_nano: began.saturating_add(took),
        attributes,
        status: record
            .error
            .filter(|(code, _)| is_failure(kind, *code))
            .map(|(_, detail)| Status { code: StatusCode::Error.into(), message: detail }),
        ..Span::default()
    }
}

/// What is the caller's fault is no failure of the server.
fn is_failure(kind: SpanKind, code: u16) -> bool {
    // 408 among services is a call that ran out of time.
    kind == SpanKind::Client || code >= 500 || code == 408
}

fn attributes(record: &Record) -> Vec<KeyValue> {
    let mut all =
        vec![text("rpc.system", "micro"), text("rpc.service", &*record.service), text("rpc.method", &*record.endpoint)];
    match &record.kind {
        Kind::Door { method, path } => {
            all.push(text("http.request.method", method.as_str()));
            all.push(text("url.path", path.as_str()));
        }
        Kind::Out { caller } => {
            all.push(text("micro.caller", &**caller));
            all.push(text("peer.service", &*record.service));
        }
        Kind::Within { caller } => all.push(text("micro.caller", &**caller)),
    }
    if let Some(status) = record.status {
        all.push(number("http.response.status_code", status.into()));
    }
    if let Some((code, _)) = &record.error {
        all.push(text("error.type", code.to_string()));
    }
    all
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Since 1970.
fn nanoseconds(time: SystemTime) -> u64 {
    let since: Duration = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
