//! Two looks → what happened between them.

use crate::admin::{Activity, Top};
use serde::Serialize;
use std::collections::HashMap;
use tokio::time::Instant;

/// A deployment that does nothing leaves the list after so many looks.
const IDLE_LOOKS: u32 = 30;

/// What happened in one interval.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Sample {
    pub(super) interval_seconds: f64,
    /// Of the whole host, in percent of one core.
    pub(super) cpu_percent: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) deployments: Vec<Row>,
}

/// What one deployment did.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) calls_per_second: f64,
    pub(super) errors_per_second: f64,
    /// Nothing where no call with one reply ended.
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
    pub(super) in_flight: u64,
    pub(super) queued: u64,
    pub(super) instances: u64,
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpu_percent: Option<f64>,
}

/// The looks up to now, as far as the next one needs them.
#[derive(Debug, Default)]
pub(super) struct Looks {
    last: Option<Look>,
    known: HashMap<String, Known>,
}

#[derive(Debug)]
struct Look {
    now_ms: u64,
    at: Instant,
    cpu_seconds: Option<f64>,
}

#[derive(Debug)]
struct Known {
    counts: Activity,
    idle_looks: u32,
}

impl Looks {
    /// What the next look has to say where it begins.
    pub(super) fn since(&self) -> Option<u64> {
        self.last.as_ref().map(|last| last.now_ms)
    }

    /// Takes a look; gives what happened since the last one. A first look tells nothing, and neither does that at a host
    /// which was started anew.
    pub(super) fn take(&mut self, top: Top, at: Instant) -> Option<Sample> {
        let look = Look { now_ms: top.now_ms, at, cpu_seconds: top.cpu_seconds };
        let before = self.last.replace(look).filter(|before| before.now_ms <= top.now_ms);
        let Some(before) = before else {
            let counts = top.deployments.into_iter();
            // Whoever is asked what happened since then tells only of those that do something.
            self.known = counts.map(|counts| (counts.name.clone(), Known { counts, idle_looks: IDLE_LOOKS })).collect();
            return None;
        };
        let seconds = at.saturating_duration_since(before.at).as_secs_f64().max(f64::MIN_POSITIVE);
        self.known.values_mut().for_each(|known| known.idle_looks += 1);
        let mut rows = Vec::new();
        for counts in top.deployments {
            let known = self.known.get(&counts.name).map(|known| &known.counts);
            rows.push(row(&counts, known, &top.bounds_seconds, seconds));
            self.known.insert(counts.name.clone(), Known { counts, idle_looks: 0 });
        }
        let idle = self.known.values().filter(|known| (1..=IDLE_LOOKS).contains(&known.idle_looks));
        rows.extend(idle.map(|known| idle_row(&known.counts)));
        Some(Sample {
            interval_seconds: seconds,
            cpu_percent: percent(before.cpu_seconds, top.cpu_seconds, seconds),
            resident_bytes: top.resident_bytes,
            deployments: rows,
        })
    }
}

fn row(now: &Activity, before: Option<&Activity>, bounds: &[f64], seconds: f64) -> Row {
    let nothing = Activity::default();
    // A deployment that was taken away and came again counts anew.
    let before = before.filter(|before| before.calls <= now.calls).unwrap_or(&nothing);
    let buckets: Vec<u64> = (0..now.buckets.len())
        .map(|at| {
            let [now, before] = [now, before].map(|counts| counts.buckets.get(at).copied().unwrap_or(0));
            now.saturating_sub(before)
        })
        .collect();
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    Row {
        name: now.name.clone(),
        kind: now.kind.clone(),
        calls_per_second: rate(now.calls, before.calls),
        errors_per_second: rate(now.errors, before.errors),
        p50_seconds: quantile(&buckets, bounds, 0.5),
        p99_seconds: quantile(&buckets, bounds, 0.99),
        in_flight: now.in_flight,
        queued: now.queued,
        instances: now.instances,
        memory_bytes: now.memory_bytes,
        cpu_percent: percent(before.cpu_seconds.or(Some(0.0)), now.cpu_seconds, seconds),
    }
}

/// One that did nothing: a service's instances stay.
fn idle_row(counts: &Activity) -> Row {
    let is_service = counts.kind == "service";
    Row {
        name: counts.name.clone(),
        kind: counts.kind.clone(),
        instances: if is_service { counts.instances } else { 0 },
        memory_bytes: counts.memory_bytes.map(|bytes| if is_service { bytes } else { 0 }),
        cpu_percent: counts.cpu_seconds.map(|_| 0.0),
        ..Row::default()
    }
}

fn percent(before: Option<f64>, now: Option<f64>, seconds: f64) -> Option<f64> {
    Some(((now? - before?) / seconds * 100.0).max(0.0))
}

/// The time that this part of the calls did not take longer than. Inside of a bucket calls count as evenly spread; what
/// took longer than all bounds took at least as long as the last of them.
fn quantile(buckets: &[u64], bounds: &[f64], part: f64) -> Option<f64> {
    let count: u64 = buckets.iter().sum();
    if count == 0 {
        return None;
    }
    let wanted = part * count as f64;
    let (mut below, mut from) = (0.0, 0.0);
    for (at, bucket) in buckets.iter().enumerate() {
        let Some(to) = bounds.get(at).copied() else { break };
        let calls = *bucket as f64;
        if below + calls >= wanted && calls > 0.0 {
            return Some(from + (to - from) * ((wanted - below) / calls));
        }
        (below, from) = (below + calls, to);
    }
    Some(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn counts(name: &str, calls: u64, errors: u64, buckets: &[u64]) -> Activity {
        let kind = "function".to_owned();
        Activity { name: name.into(), kind, calls, errors, buckets: buckets.into(), ..Activity::default() }
    }

    fn top(now_ms: u64, deployments: Vec<Activity>) -> Top {
        let cpu_seconds = Some(now_ms as f64 / 2000.0);
        Top { now_ms, deployments, bounds_seconds: vec![0.001, 0.01], cpu_seconds, resident_bytes: None }
    }

    #[test]
    fn rates_are_what_happened_between_two_looks() {
        let (mut looks, began) = (Looks::default(), Instant::now());
        let later = |seconds| began + Duration::from_secs(seconds);
        assert!(looks.take(top(0, vec![counts("a", 100, 5, &[100, 0, 0])]), began).is_none());
        assert_eq!(looks.since(), Some(0));
        let sample = looks.take(top(2000, vec![counts("a", 300, 25, &[200, 100, 0])]), later(2)).unwrap();
        let [row] = &sample.deployments[..] else { panic!("{sample:?}") };
        assert_eq!((row.calls_per_second, row.errors_per_second, sample.cpu_percent), (100.0, 10.0, Some(50.0)));
        assert_eq!(row.p50_seconds, Some(0.001));
        assert!(row.p99_seconds.is_some_and(|p99| (p99 - 0.00982).abs() < 1e-9), "{row:?}");
        assert_eq!(row.cpu_percent, None, "what is not measured is not nought");
        let sample = looks.take(top(3000, Vec::new()), later(3)).unwrap();
        assert_eq!((sample.deployments[0].calls_per_second, sample.deployments[0].p50_seconds), (0.0, None));
        let idle = (4..4 + u64::from(IDLE_LOOKS)).map(|at| looks.take(top(at * 1000, Vec::new()), later(at)).unwrap());
        assert_eq!(idle.last().unwrap().deployments.len(), 0, "who does nothing leaves the list");
    }

    #[test]
    fn counts_that_begin_anew_are_no_negative_rates() {
        let (mut looks, began) = (Looks::default(), Instant::now());
        looks.take(top(0, vec![counts("a", 100, 0, &[100, 0, 0])]), began);
        let second = began + Duration::from_secs(1);
        let sample = looks.take(top(1000, vec![counts("a", 3, 1, &[3, 0, 0])]), second).unwrap();
        assert_eq!((sample.deployments[0].calls_per_second, sample.deployments[0].errors_per_second), (3.0, 1.0));
        assert!(looks.take(top(10, vec![]), second).is_none(), "the host was started anew");
    }

    #[test]
    fn what_is_longer_than_all_bounds_is_as_long_as_the_last() {
        assert_eq!(quantile(&[0, 0, 5], &[0.001, 0.01], 0.5), Some(0.01));
        assert_eq!(quantile(&[0, 0, 0], &[0.001, 0.01], 0.5), None);
    }
}
