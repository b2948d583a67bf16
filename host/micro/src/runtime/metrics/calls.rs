//! The counts of one deployment.

use super::histogram::Histogram;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Codes that are told apart. A function may choose any of two hundred; what does not fit counts as [`OTHER`].
const CODES: usize = 16;

/// What the errors of all further codes are counted under.
pub(super) const OTHER: &str = "other";

/// The counts of a deployment's calls since the host started.
#[derive(Debug, Default)]
pub(in crate::runtime) struct CallCounts {
    /// Of calls with one reply.
    pub(super) durations: Histogram,
    streams: AtomicU64,
    abandoned: AtomicU64,
    errors: [CodeCount; CODES],
    other_errors: AtomicU64,
    /// When the last call ended, in milliseconds since [`now`] began to count.
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct CodeCount {
    /// 0 while the place is free. Once given, it stays.
    code: AtomicU16,
    count: AtomicU64,
}

impl CallCounts {
    /// A call that began then.
    pub(in crate::runtime) fn begin(&self, began: Instant) -> Begun<'_> {
        Begun { counts: self, began, is_over: false }
    }

    /// Counts a call that streamed. How long it did says nothing of how fast the deployment is.
    pub(in crate::runtime) fn streamed(&self, error: Option<u16>) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.ended(Instant::now(), error);
    }

    fn ended(&self, at: Instant, error: Option<u16>) {
        let at = milliseconds(at);
        // Most calls have the millisecond in common with one before, and need not take this from other threads.
        if self.last.load(Ordering::Relaxed) != at {
            self.last.store(at, Ordering::Relaxed);
        }
        if let Some(code) = error {
            self.place(code).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn place(&self, code: u16) -> &AtomicU64 {
        for place in &self.errors {
            let is_ours = match place.code.load(Ordering::Relaxed) {
                0 => match place.code.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => true,
                    // Somebody else was faster, with the same code perhaps.
                    Err(taken) => taken == code,
                },
                taken => taken == code,
            };
            if is_ours {
                return &place.count;
            }
        }
        &self.other_errors
    }

    /// Calls whose caller left before there was an answer.
    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// All calls that were answered, errors and streams included.
    pub(in crate::runtime) fn calls(&self) -> u64 {
        self.durations.count() + self.streams()
    }

    pub(super) fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// How many calls ended with an error.
    pub(in crate::runtime) fn errors(&self) -> u64 {
        let known: u64 = self.errors.iter().map(|place| place.count.load(Ordering::Relaxed)).sum();
        known + self.other_errors()
    }

    /// The errors by their codes.
    pub(super) fn errors_by_code(&self) -> impl Iterator<Item = (u16, u64)> {
        let places = self.errors.iter();
        let counts = places.map(|place| (place.code.load(Ordering::Relaxed), place.count.load(Ordering::Relaxed)));
        counts.filter(|(code, _)| *code != 0)
    }

    pub(super) fn other_errors(&self) -> u64 {
        self.other_errors.load(Ordering::Relaxed)
    }

    /// When the last call ended, as [`now`] counts.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// A call under way. One that is dropped before its end has been left by its caller.
pub(in crate::runtime) struct Begun<'c> {
    counts: &'c CallCounts,
    began: Instant,
    is_over: bool,
}

impl Begun<'_> {
    /// The call has its reply, or its error.
    pub(in crate::runtime) fn answered(self, error: Option<u16>) {
        let now = Instant::now();
        self.end(now, now, error);
    }

    /// The same for a call that was answered before, and is over now.
    pub(in crate::runtime) fn answered_at(self, answered: Instant, error: Option<u16>) {
        self.end(answered, Instant::now(), error);
    }

    fn end(mut self, answered: Instant, ended: Instant, error: Option<u16>) {
        self.is_over = true;
        self.counts.durations.record(answered.saturating_duration_since(self.began));
        self.counts.ended(ended, error);
    }

    /// The call is counted elsewhere.
    pub(in crate::runtime) fn moved(mut self) {
        self.is_over = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.counts.abandoned.fetch_add(1, Ordering::Relaxed);
            self.counts.last.store(now(), Ordering::Relaxed);
        }
    }
}

/// Milliseconds of a clock that is never set back. It began to count when it was first asked.
pub(super) fn now() -> u64 {
    milliseconds(Instant::now())
}

fn milliseconds(at: Instant) -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since: Duration = at.saturating_duration_since(*BEGAN);
    since.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_code_as_far_as_there_are_places() {
        let counts = CallCounts::default();
        let codes = 400..400 + CODES as u16 + 3;
        for code in codes.clone().chain(codes) {
            counts.begin(Instant::now()).answered(Some(code));
        }
        drop(counts.begin(Instant::now()));
        counts.begin(Instant::now()).moved();
        assert_eq!(counts.abandoned(), 1);
        assert_eq!(counts.errors_by_code().count(), CODES);
        assert!(counts.errors_by_code().all(|(_, count)| count == 2));
        assert_eq!((counts.other_errors(), counts.errors()), (6, 2 * CODES as u64 + 6));
        counts.streamed(None);
        assert_eq!((counts.calls(), counts.durations.count()), (2 * CODES as u64 + 7, 2 * CODES as u64 + 6));
    }

    #[test]
    fn counts_of_many_threads_add_up() {
        let counts = CallCounts::default();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for call in 0..1000 {
                        counts.begin(Instant::now()).answered((call % 2 == 0).then_some(500 + call % 4));
                    }
                });
            }
        });
        assert_eq!((counts.calls(), counts.errors()), (4000, 2000));
        let by_code: Vec<_> = counts.errors_by_code().collect();
        assert_eq!(by_code.iter().map(|(_, count)| count).sum::<u64>(), 2000);
        assert_eq!(by_code.len(), 2);
    }
}
