//! How long calls take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets: what they are called in seconds, and what they are in nanoseconds.
///
/// A call of a function takes ten microseconds, and a minute where somebody allowed it: in steps of 1, 2.5, 5.
pub(super) const BOUNDS: [(&str, u64); 21] = [
    ("0.00001", 10_000),
    ("0.000025", 25_000),
    ("0.00005", 50_000),
    ("0.0001", 100_000),
    ("0.00025", 250_000),
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5", 5_000_000_000),
    ("10", 10_000_000_000),
    ("30", 30_000_000_000),
    ("60", 60_000_000_000),
];

/// One more for what takes longer than all bounds.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// Times in buckets. Recording is two additions.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

impl Histogram {
    pub(super) fn record(&self, took: Duration) {
        // Half a thousand years fit.
        let nanoseconds = took.as_nanos() as u64;
        let at = BOUNDS.partition_point(|(_, bound)| *bound < nanoseconds);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How many times each bucket holds, those of the buckets below not counted in.
    pub(super) fn buckets(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.buckets.get(at).map_or(0, |bucket| bucket.load(Ordering::Relaxed)))
    }

    /// How many times were recorded.
    pub(super) fn count(&self) -> u64 {
        self.buckets().iter().sum()
    }

    /// All times together, in nanoseconds.
    pub(super) fn nanoseconds(&self) -> u64 {
        self.nanoseconds.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_than_all_to_the_last() {
        let histogram = Histogram::default();
        for nanoseconds in [0, 10_000, 10_001, 60_000_000_000, 60_000_000_001] {
            histogram.record(Duration::from_nanos(nanoseconds));
        }
        let buckets = histogram.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[BUCKETS - 2], buckets[BUCKETS - 1]), (2, 1, 1, 1));
        assert_eq!((histogram.count(), histogram.nanoseconds()), (5, 120_000_020_002));
    }

    #[test]
    fn the_names_of_the_bounds_say_what_they_are() {
        for (name, nanoseconds) in BOUNDS {
            let seconds: f64 = name.parse().unwrap();
            assert!((seconds * 1e9 - nanoseconds as f64).abs() < 1.0, "{name}");
        }
        assert!(BOUNDS.is_sorted_by_key(|(_, bound)| bound));
    }
}
