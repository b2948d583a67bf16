//! Everything that `/metrics` shows. A new family is a line here; where its numbers come from is where they are kept.
//!
//! Names and units are by Prometheus' conventions: seconds and bytes, and `_total` at the end of what only grows.

use super::calls::{CallCounts, OTHER};
use super::process::Process;
use super::text::Kind::{self, Counter, Gauge, Histogram};
use super::text::Samples;
use crate::runtime::Runtime;
use crate::runtime::deployment::Deployment;
use crate::runtime::schedule::ScheduleCounts;
use crate::runtime::subscriptions::{Lag, SubscriptionStatus};
use crate::telemetry::SpanCounts;
use micro_engine::engines::{CacheReport, PoolReport};
use micro_engine::manifest::Limit;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Samples that belong together.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) source: Source,
}

/// Where its samples come from.
pub(super) enum Source {
    Host(fn(&HostFacts, &mut Samples<'_>)),
    /// Asked for each deployment that was called since the host started.
    Deployment(fn(&Deployment, &CallCounts, &mut Samples<'_>)),
}

/// What is read of the host when a scrape begins.
pub(super) struct HostFacts {
    deployments: BTreeMap<&'static str, u64>,
    loaded: u64,
    cache: CacheReport,
    pools: [PoolReport; 2],
    events: Vec<(&'static str, u64)>,
    schedules: ScheduleCounts,
    published: [u64; 2],
    outbox: u64,
    subscriptions: Vec<(Arc<str>, Vec<SubscriptionStatus>)>,
    lags: Vec<Lag>,
    spans: Option<SpanCounts>,
    process: Option<Process>,
    guest_memory: u64,
    guest_memory_limit: u64,
    guest_memory_refusals: u64,
}

impl HostFacts {
    pub(super) fn read(runtime: &Runtime, lags: Vec<Lag>) -> HostFacts {
        let mut deployments = BTreeMap::from([("ready", 0), ("starting", 0), ("failed", 0)]);
        let mut loaded = 0;
        for deployment in runtime.routes.load().values() {
            *deployments.entry(deployment.state()).or_default() += 1;
            loaded += u64::from(deployment.current().is_loaded());
        }
        HostFacts {
            deployments,
            loaded,
            cache: runtime.engines.cache_report(),
            pools: runtime.engines.pool_report(),
            events: runtime.events.count_by_kind(),
            schedules: runtime.schedules.counts(),
            published: runtime.broker.counts(),
            outbox: runtime.outbox.waiting(),
            subscriptions: runtime.subscriptions.counts(),
            lags,
            spans: runtime.tracer.counts(),
            process: Process::read(),
            guest_memory: runtime.bounds.memory.used(),
            guest_memory_limit: runtime.bounds.memory.limit(),
            guest_memory_refusals: runtime.bounds.memory.refusals(),
        }
    }
}

impl HostFacts {
    /// Each subscription with what tells it from others.
    fn subscriptions(&self) -> impl Iterator<Item = ([(&str, &str); 3], &SubscriptionStatus)> {
        self.subscriptions.iter().flat_map(|(name, all)| {
            all.iter().map(move |one| ([("deployment", &**name), ("topic", &one.topic), ("group", &one.group)], one))
        })
    }
}

const fn host(kind: Kind, name: &'static str, help: &'static str, source: fn(&HostFacts, &mut Samples<'_>)) -> Family {
    Family { name, kind, help, source: Source::Host(source) }
}

const fn each(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    source: fn(&Deployment, &CallCounts, &mut Samples<'_>),
) -> Family {
    Family { name, kind, help, source: Source::Deployment(source) }
}

/// In the order in which they are shown.
#[rustfmt::skip]
pub(super) const FAMILIES: &[Family] = &[
    each(Counter, "micro_calls_total", "Calls that were answered, errors and streams included.",
        |_, counts, out| out.put(counts.calls())),
    each(Counter, "micro_call_errors_total", "Calls that ended with an error, by its code; a call that ran out of time is 408.",
        |_, counts, out| {
            for (code, count) in counts.errors_by_code() { out.put_with("code", &code.to_string(), count); }
            if counts.other_errors() > 0 { out.put_with("code", OTHER, counts.other_errors()); }
        }),
    each(Histogram, "micro_call_duration_seconds", "How long calls with one reply took, the wait for their turn included.",
        |_, counts, out| out.put_histogram(&counts.durations)),
    each(Counter, "micro_streams_total", "Calls that streamed and have ended.",
        |_, counts, out| out.put(counts.streams())),
    each(Counter, "micro_calls_abandoned_total", "Calls whose caller left before there was an answer; they are not in micro_calls_total.",
        |_, counts, out| out.put(counts.abandoned())),
    each(Gauge, "micro_calls_in_flight", "Calls that run.",
        |deployment, _, out| out.put(deployment.load().0)),
    each(Gauge, "micro_calls_queued", "Calls that wait for their turn.",
        |deployment, _, out| out.put(deployment.load().1)),
    each(Gauge, "micro_instances", "Instances: those of a service that take calls, those of a function that run.",
        |deployment, _, out| out.put(deployment.instances())),
    each(Counter, "micro_instance_restarts_total", "Instances of a service that took the place of one that ended.",
        |deployment, _, out| if let Some(restarts) = deployment.restarts() { out.put(restarts); }),
    each(Gauge, "micro_instance_memory_bytes", "Memory of all instances together.",
        |deployment, _, out| out.put(deployment.usage.memory())),
    each(Counter, "micro_cpu_seconds_total", "Time of guests on processors, counted by the engines' clock.",
        |deployment, _, out| out.put(deployment.usage.cpu().as_secs_f64())),
    each(Counter, "micro_limit_hits_total", "How often a limit bit.",
        |deployment, _, out| for limit in Limit::ALL {
            let hits = deployment.usage.hits(limit);
            if hits > 0 { out.put_with("limit", limit.name(), hits); }
        }),
    host(Gauge, "micro_guest_memory_bytes", "Memory of all guests together.",
        |facts, out| out.put(facts.guest_memory)),
    host(Gauge, "micro_guest_memory_max_bytes", "Memory that all guests together may have.",
        |facts, out| out.put(facts.guest_memory_limit)),
    host(Counter, "micro_guest_memory_refusals_total", "How often a guest got no more because all guests together had it.",
        |facts, out| out.put(facts.guest_memory_refusals)),
    host(Gauge, "micro_deployments", "Deployments by state.",
        |facts, out| for (state, count) in &facts.deployments { out.put_with("state", state, *count); }),
    host(Gauge, "micro_deployments_loaded", "Deployments whose component is in memory.",
        |facts, out| out.put(facts.loaded)),
    host(Gauge, "micro_pool_instances", "Instances that live now, by engine.",
        |facts, out| for pool in &facts.pools { out.put_with("engine", pool.engine, pool.used); }),
    host(Gauge, "micro_pool_instances_max", "Instances that may live at once, by engine.",
        |facts, out| for pool in &facts.pools { out.put_with("engine", pool.engine, pool.places); }),
    host(Counter, "micro_compile_cache_hits_total", "Components whose machine code was found on disk.",
        |facts, out| out.put(facts.cache.hits)),
    host(Counter, "micro_compile_cache_misses_total", "Components that had to be compiled.",
        |facts, out| out.put(facts.cache.misses)),
    host(Counter, "micro_compile_cache_read_bytes_total", "Machine code that was read from disk.",
        |facts, out| out.put(facts.cache.read_bytes)),
    host(Counter, "micro_compile_cache_written_bytes_total", "Machine code that was written to disk.",
        |facts, out| out.put(facts.cache.written_bytes)),
    host(Counter, "micro_compile_seconds_total", "Time spent compiling.",
        |facts, out| out.put(facts.cache.compiling.as_secs_f64())),
    host(Counter, "micro_events_total", "What happened to deployments, by kind of event.",
        |facts, out| for (kind, count) in &facts.events { out.put_with("kind", kind, *count); }),
    host(Gauge, "micro_schedules", "Schedules of all deployments.",
        |facts, out| out.put(facts.schedules.schedules)),
    host(Counter, "micro_schedule_runs_total", "Scheduled calls that have ended, by outcome.",
        |facts, out| {
            out.put_with("outcome", "ok", facts.schedules.ok);
            out.put_with("outcome", "failed", facts.schedules.failed);
        }),
    host(Gauge, "micro_schedule_missed_runs", "Runs that were due and did not take place, as `micro status` counts them: 100 at most each time the host was down.",
        |facts, out| out.put(facts.schedules.missed)),
    host(Counter, "micro_messages_published_total", "Messages that were published over this host, by whether the broker took them.",
        |facts, out| for (outcome, count) in ["ok", "refused"].into_iter().zip(facts.published) { out.put_with("outcome", outcome, count); }),
    host(Gauge, "micro_outbox_messages", "Messages of transactions that the broker has yet to take.",
        |facts, out| out.put(facts.outbox)),
    host(Counter, "micro_messages_handled_total", "Messages of subscriptions that were done with: handled, or dead letters.",
        |facts, out| for (labels, one) in facts.subscriptions() {
            out.put_labelled(&[&labels[..], &[("outcome", "ok")]].concat(), one.handled);
            out.put_labelled(&[&labels[..], &[("outcome", "dead")]].concat(), one.dead);
        }),
    host(Counter, "micro_message_failures_total", "Tries to handle a message that failed.",
        |facts, out| for (labels, one) in facts.subscriptions() { out.put_labelled(&labels, one.failed); }),
    host(Gauge, "micro_messages_in_work", "Messages of subscriptions that are in work.",
        |facts, out| for (labels, one) in facts.subscriptions() { out.put_labelled(&labels, one.in_work); }),
    host(Gauge, "micro_topic_lag_messages", "Messages that a group has yet to handle.",
        |facts, out| for Lag { topic, group, pattern, lag } in &facts.lags {
            out.put_labelled(&[("topic", topic), ("group", group), ("pattern", pattern)], *lag);
        }),
    host(Counter, "micro_spans_exported_total", "Spans that the collector took.",
        |facts, out| if let Some(spans) = facts.spans { out.put(spans.exported); }),
    host(Counter, "micro_spans_dropped_total", "Spans that were lost: the queue was full, or the collector did not take them.",
        |facts, out| if let Some(spans) = facts.spans { out.put(spans.dropped); }),
    host(Gauge, "micro_build_info", "1, and the version of the host.",
        |_, out| out.put_with("version", env!("CARGO_PKG_VERSION"), 1_u64)),
    host(Counter, "process_cpu_seconds_total", "CPU time of the process, guests included.",
        |facts, out| if let Some(process) = facts.process { out.put(process.cpu_seconds); }),
    host(Gauge, "process_resident_memory_bytes", "Memory of the process that is in RAM.",
        |facts, out| if let Some(process) = facts.process { out.put(process.resident_bytes); }),
    host(Gauge, "process_virtual_memory_bytes", "Address space of the process; the instance pools reserve much more than they use.",
        |facts, out| if let Some(process) = facts.process { out.put(process.virtual_bytes); }),
    host(Gauge, "process_threads", "Threads of the process.",
        |facts, out| if let Some(process) = facts.process { out.put(process.threads); }),
    host(Gauge, "process_open_fds", "Open files and connections of the process.",
        |facts, out| if let Some(process) = facts.process { out.put(process.open_files); }),
    host(Gauge, "process_max_fds", "Files and connections that the process may open.",
        |facts, out| if let Some(most) = facts.process.and_then(|process| process.max_open_files) { out.put(most); }),
    host(Gauge, "process_start_time_seconds", "When the process started, in seconds since 1970.",
        |facts, out| if let Some(process) = facts.process { out.put(process.started_at); }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for family in FAMILIES {
            let name = family.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("micro_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(family.kind == Counter, name.ends_with("_total"), "{name}");
            assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{name}: {}", family.help);
        }
    }
}
