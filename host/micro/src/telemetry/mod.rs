//! Traces: which calls are recorded as spans, and where these go.
//!
//! | part | does |
//! |---|---|
//! | [`settings`] | reads the variables of OpenTelemetry and the flag that stands for one of them |
//! | [`sampler`] | chooses the calls |
//! | [`span`] | a call from its begin to its end |
//! | [`export`] | sends spans to a collector, in the background |
//! | [`otlp`] | spans → the messages of OTLP |
//!
//! A request that came with a `traceparent` keeps it whatever is recorded here: its callees get it, and its trace id is
//! the id of its log lines. Without a collector that is all there is, and no call is touched.

mod export;
mod otlp;
mod sampler;
mod settings;
mod span;

pub use settings::{ENDPOINT, Settings, SettingsError};
pub(crate) use span::{Arrival, Span};

use export::Queue;
use micro_mesh::trace::Trace;
use micro_mesh::{Call, HeaderName};
use sampler::Sampler;
use span::{Hop, Kind};
use std::sync::Arc;

/// The header in which a trace's other systems tell of it.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Records calls, if there is somewhere to send what was recorded. Cloning gives another handle.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

struct Recorder {
    sampler: Sampler,
    queue: Queue,
}

/// What became of the spans since the host started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanCounts {
    pub(crate) exported: u64,
    /// Lost, because the queue was full or the collector did not take them.
    pub(crate) dropped: u64,
}

impl Tracer {
    /// Begins to send to the collector; without settings nothing is recorded. `host` tells this host's spans from
    /// those of others.
    pub(crate) fn start(settings: Option<Settings>, host: &str) -> anyhow::Result<Tracer> {
        let Some(settings) = settings else { return Ok(Tracer(None)) };
        let sampler = settings.sampler;
        let queue = Queue::start(settings, host)?;
        Ok(Tracer(Some(Arc::new(Recorder { sampler, queue }))))
    }

    /// A request that arrives at a door.
    pub(crate) fn arrival(&self, request: &axum::extract::Request) -> Arrival {
        Arrival::of(self.0.as_ref(), request)
    }

    /// A call from inside of this host that reaches its callee here.
    pub(crate) fn hop(&self, call: &mut Call) -> Hop {
        let (Some(recorder), Some(caller)) = (&self.0, &call.caller) else { return Hop::none() };
        let caller = caller.clone();
        if call.depth == 0 {
            // Nobody called the host: a schedule did.
            return Hop::of(Span::none(), recorder.begin(call, Kind::Within { caller }));
        }
        if !call.trace.is_some_and(Trace::is_sampled) {
            return Hop::none();
        }
        let client = recorder.span(call, Kind::Out { caller: caller.clone() });
        Hop::of(client, recorder.span(call, Kind::Within { caller }))
    }

    /// What became of the spans; nothing where none are recorded.
    pub(crate) fn counts(&self) -> Option<SpanCounts> {
        self.0.as_ref().map(|recorder| recorder.queue.counts())
    }

    /// Sends what was recorded up to now, and waits for that, but not for long.
    pub(crate) async fn flush(&self) {
        if let Some(recorder) = &self.0 {
            recorder.queue.flush().await;
        }
    }
}

impl Recorder {
    /// The first span of a call in this host, if it is recorded.
    fn begin(self: &Arc<Self>, call: &mut Call, kind: Kind) -> Span {
        if !self.sampler.chooses(call.id, call.trace) {
            // Those behind this host shall not record what their caller did not.
            if let Some(trace) = call.trace.filter(|trace| trace.is_sampled()) {
                call.set_trace(trace.sampled(false));
            }
            return Span::none();
        }
        self.span(call, kind)
    }

    /// A span in the call's trace, or the first of one. What the call does from here on is done in it.
    fn span(self: &Arc<Self>, call: &mut Call, kind: Kind) -> Span {
        let parent = call.trace;
        if parent.is_none() {
            // What is told of another trace, or of one that cannot be read.
            call.header.remove(TRACESTATE);
        }
        call.set_trace(parent.map_or_else(Trace::begin, |parent| parent.next().sampled(true)));
        Span::begin(self.clone(), call, parent, kind)
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tracer").field("is_on", &self.0.is_some()).finish_non_exhaustive()
    }
}
