//! What time it is, for what has a time to live.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The latest moment that is told apart from never, in milliseconds since 1970: the largest number SQLite holds.
const LATEST: u64 = i64::MAX.unsigned_abs();

/// A clock that goes on while nothing runs. It is the wall clock, the only one that does; tests bring their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock that shows what `millis` gives, as milliseconds since 1970.
    pub fn of(millis: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(millis))
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> u64 {
        (self.0)().min(LATEST)
    }

    /// When a time to live that begins now is over. Part of a millisecond counts as one.
    pub fn after(&self, ttl: Duration) -> u64 {
        let millis = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(LATEST);
        self.now().saturating_add(millis).min(LATEST)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::of(|| {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since_1970.as_millis()).unwrap_or(LATEST)
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clock({} ms since 1970)", self.now())
    }
}
