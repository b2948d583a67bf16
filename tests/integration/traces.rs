//! Traces: what a caller's `traceparent` does, and what a collector gets.

use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use micro_tests::{Client, Host, HostProcess, guest, json, until, with_manifest};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use reqwest::Method;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Takes spans by OTLP over HTTP.
struct Collector {
    url: String,
    taken: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Collector {
    async fn start() -> Collector {
        type Taken = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;
        async fn take(State(taken): State<Taken>, headers: HeaderMap, body: Body) -> StatusCode {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["api-key"], "a secret");
            taken.lock().unwrap().push(ExportTraceServiceRequest::decode(body).expect("it reads"));
            StatusCode::OK
        }
        let taken = Taken::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(taken.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Collector { url, taken, server }
    }

    /// A host that sends its spans here, with these variables more.
    async fn host(&self, variables: &[(&str, &str)]) -> HostProcess {
        let own = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.url.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret"),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ];
        let variables = [&own[..], variables].concat();
        HostProcess::start_with(tempfile::tempdir().expect("a data folder"), &variables).await
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let resources = taken.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// All spans, once there are so many.
    async fn wait(&self, count: usize) -> Vec<Span> {
        until(&format!("{count} spans are there"), async || Some(self.spans()).filter(|spans| spans.len() >= count))
            .await
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text, empty if it is not there.
fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

async fn chain(host: &Client) {
    for name in ["chain-c", "chain-b", "chain-a"] {
        host.deploy(name).await;
    }
}

async fn ask(host: &Client, text: &str, headers: &[(&str, &str)]) -> micro_tests::Reply {
    let body = json!({"text": text, "wait": 0}).to_string();
    host.send(
        Method::POST,
        "/chain-a/first/ask",
        &[&[("content-type", "application/json")], headers].concat(),
        body.into(),
    )
    .await
}

/// The one span with this name and kind.
#[track_caller]
fn find<'s>(spans: &'s [Span], name: &str, kind: SpanKind) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name && span.kind() == kind).collect();
    assert_eq!(found.len(), 1, "{name} {kind:?} in {spans:#?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn three_guests_that_call_each_other_make_one_tree_of_spans_below_the_callers() {
    let collector = Collector::start().await;
    let host = collector.host(&[("OTEL_SERVICE_NAME", "edge"), ("OTEL_RESOURCE_ATTRIBUTES", "zone=z1")]).await;
    chain(&host).await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let reply = ask(&host, "abc", &[("traceparent", &traceparent), ("tracestate", "vendor=x")]).await;
    assert_eq!(reply.ok(), json!({"text": "abc", "weight": 3}));
    assert_eq!(reply.header("x-request-id"), TRACE, "the id of the request is the id of the trace");
    for name in ["chain-a", "chain-b", "chain-c"] {
        assert_eq!(host.logs(name).await[0]["request"], TRACE, "and of the log lines");
    }
    let spans = collector.wait(5).await;
    assert_eq!(spans.len(), 5, "{spans:#?}");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE && span.trace_state == "vendor=x"));
    assert_eq!(spans.iter().map(|span| &span.span_id).collect::<HashSet<_>>().len(), 5);
    let (first, middle, last) = ("chain-a/First.Ask", "chain-b/Middle.Pass", "chain-c/Last.Weigh");
    let mut parent = PARENT.to_owned();
    let mut outer: Option<&Span> = None;
    for (name, kind) in [
        (first, SpanKind::Server),
        (middle, SpanKind::Client),
        (middle, SpanKind::Server),
        (last, SpanKind::Client),
        (last, SpanKind::Server),
    ] {
        let span = find(&spans, name, kind);
        assert_eq!(hex(&span.parent_span_id), parent, "{name} {kind:?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        if let Some(outer) = outer {
            assert!(outer.start_time_unix_nano <= span.start_time_unix_nano, "{name} {kind:?}");
        }
        (parent, outer) = (hex(&span.span_id), Some(span));
    }
    let door = find(&spans, first, SpanKind::Server);
    for (key, value) in [
        ("rpc.service", "chain-a"),
        ("rpc.method", "First.Ask"),
        ("http.request.method", "POST"),
        ("url.path", "/chain-a/first/ask"),
        ("http.response.status_code", "200"),
        ("error.type", ""),
    ] {
        assert_eq!(attribute(door, key), value, "{key}");
    }
    assert_eq!(attribute(find(&spans, last, SpanKind::Client), "micro.caller"), "chain-b");
    let resource = collector.taken.lock().unwrap()[0].resource_spans[0].resource.clone().expect("a resource");
    let resource = Span { attributes: resource.attributes, ..Span::default() };
    assert_eq!((attribute(&resource, "service.name"), attribute(&resource, "zone")), ("edge".into(), "z1".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_request_goes_on_in_what_its_handler_calls() {
    let collector = Collector::start().await;
    let host = collector.host(&[]).await;
    host.deploy("callee").await;
    host.deploy("web-caller").await;
    let headers = [("traceparent", format!("00-{TRACE}-{PARENT}-01"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let reply = host.send(Method::GET, "/web-caller/Ann", &headers, "".into()).await;
    assert_eq!(reply.text(), "Hello Ann");
    let spans = collector.wait(3).await;
    let mut parent = PARENT.to_owned();
    for (name, kind) in [
        ("web-caller/HTTP", SpanKind::Server),
        ("callee/Hello.Hello", SpanKind::Client),
        ("callee/Hello.Hello", SpanKind::Server),
    ] {
        let span = find(&spans, name, kind);
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), parent), "{name} {kind:?}");
        parent = hex(&span.span_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_begins_here_has_no_state_of_another_one() {
    let collector = Collector::start().await;
    let host = collector.host(&[]).await;
    chain(&host).await;
    host.deploy("callee").await;
    host.deploy("web-caller").await;
    let headers = [("traceparent", "00-zz"), ("tracestate", "vendor=x")];
    ask(&host, "abc", &headers).await.ok();
    assert_eq!(host.send(Method::GET, "/web-caller/Ann", &headers, "".into()).await.text(), "Hello Ann");
    let spans = collector.wait(8).await;
    assert!(spans.iter().all(|span| span.trace_state.is_empty()), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_trace_begins_one_and_an_error_is_seen_in_its_spans() {
    let collector = Collector::start().await;
    let host = collector.host(&[]).await;
    chain(&host).await;
    let reply = ask(&host, "", &[]).await;
    assert_eq!(reply.status, 500);
    let spans = collector.wait(5).await;
    let door = find(&spans, "chain-a/First.Ask", SpanKind::Server);
    assert_eq!(hex(&door.trace_id), reply.header("x-request-id"));
    assert_eq!((door.parent_span_id.len(), attribute(door, "http.response.status_code")), (0, "500".into()));
    for span in &spans {
        assert_eq!(attribute(span, "error.type"), "500", "{span:?}");
        assert!(span.status.as_ref().is_some_and(|status| status.code == 2), "{span:?}");
    }
    host.call("chain-a", "First.Astray", json!({})).await.refused(404);
    let spans = collector.wait(6).await;
    let astray = find(&spans, "chain-a/First.Astray", SpanKind::Server);
    assert_eq!(attribute(astray, "error.type"), "404");
    assert!(astray.status.is_none(), "what the caller did wrong is no failure of the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_does_not_record_is_not_recorded() {
    let collector = Collector::start().await;
    let host = collector.host(&[]).await;
    chain(&host).await;
    let traceparent = format!("00-{TRACE}-{PARENT}-00");
    assert_eq!(ask(&host, "abc", &[("traceparent", &traceparent)]).await.header("x-request-id"), TRACE);
    let reply = ask(&host, "abc", &[]).await;
    let spans = collector.wait(5).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == reply.header("x-request-id")), "{spans:#?}");
    drop(host);
    let host = collector.host(&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).await;
    chain(&host).await;
    ask(&host, "abc", &[]).await.ok();
    let (status, _) = host.ask_to_end().await;
    assert_eq!(status, Some(0));
    assert_eq!(collector.spans().len(), 5, "a host that ends has sent everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_span_to_its_end() {
    let collector = Collector::start().await;
    let host = collector.host(&[]).await;
    host.deploy("streams").await;
    let mut lines = host.lines("/streams/ways/tick?from=1", "application/x-ndjson").await;
    assert!(lines.next().await.is_some());
    // Another call's span is sent meanwhile; the stream has none yet.
    host.call("streams", "Ways.Dropped", json!({})).await.ok();
    let spans = collector.wait(1).await;
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["streams/Ways.Dropped"]);
    drop(lines);
    let spans = collector.wait(2).await;
    find(&spans, "streams/Ways.Tick", SpanKind::Server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_holds_nobody_up_and_is_told_of_once() {
    // Nobody listens at a port that was given back.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    drop(listener);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
    ];
    let host = HostProcess::start_with(tempfile::tempdir().expect("a data folder"), &variables).await;
    host.deploy("echo").await;
    for _ in 0..50 {
        host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.ok();
    }
    until("all spans are counted as dropped", async || {
        let page = host.sidecar("/metrics?deployments=false").await.text().to_string();
        page.contains("\nmicro_spans_dropped_total 50\n")
            .then(|| assert!(page.contains("micro_spans_exported_total 0\n")))
    })
    .await;
    let (status, said) = host.ask_to_end().await;
    assert_eq!(status, Some(0));
    assert_eq!(said.matches("spans are lost until the collector takes them").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_callers_trace_is_the_id_of_the_log_lines_all_the_same() {
    let host = Host::start().await;
    chain(&host).await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let reply = ask(&host, "abc", &[("traceparent", &traceparent)]).await;
    assert_eq!(reply.header("x-request-id"), TRACE);
    assert_eq!(host.logs("chain-c").await[0]["request"], TRACE);
    let broken = ask(&host, "abc", &[("traceparent", "00-zz")]).await;
    assert_eq!(broken.status, 200, "what is no trace is ignored");
    assert_ne!(broken.header("x-request-id"), TRACE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_call_is_the_beginning_of_a_trace() {
    let collector = Collector::start().await;
    let host = collector.host(&[]).await;
    let manifest = "name = \"tally\"\n[[schedule]]\ncron = \"* * * * * *\"\nendpoint = \"Tally.Next\"\n";
    host.deploy_as("tally", with_manifest(&guest("tally"), manifest)).await.ok();
    let spans = collector.wait(1).await;
    assert_eq!((spans[0].kind(), attribute(&spans[0], "micro.caller")), (SpanKind::Server, "schedule".into()));
    assert_eq!(spans[0].parent_span_id.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a data folder");
    let program = micro_tests::Program::new(folder.path());
    let end = program.run(&["server", "--api-address", "127.0.0.1:0", "--otlp-endpoint", "nowhere"]).await;
    assert_eq!(end.code, 2, "{}", end.stderr);
    assert!(end.stderr.contains("--otlp-endpoint=nowhere: "), "{}", end.stderr);
}
