//! Takes many messages, and knows how long they were on their way.

/// Takes messages.
#[micro::service]
mod sink {
    use std::cell::RefCell;
    use std::time::{SystemTime, UNIX_EPOCH};

    thread_local! {
        /// In microseconds, of those since the last report.
        static TIMES: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }

    /// What came since the last report.
    pub struct Times {
        pub count: u64,
        /// In milliseconds, from the publishing until a message was here.
        pub p50_ms: f64,
        pub p99_ms: f64,
    }

    /// Takes a message, which begins with the time of its publishing.
    #[micro::subscribe("speed.*")]
    pub fn take(body: Vec<u8>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros() as u64);
        let sent = body.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(now, u64::from_le_bytes);
        let took = u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX);
        TIMES.with_borrow_mut(|times| times.push(took));
    }

    /// How many came since the last report.
    pub fn count() -> u64 {
        TIMES.with_borrow(|times| times.len() as u64)
    }

    /// What came since the last report.
    pub fn report() -> Times {
        let mut times = TIMES.take();
        times.sort_unstable();
        let at = |share: f64| {
            let place = (times.len() as f64 * share) as usize;
            times.get(place.min(times.len().saturating_sub(1))).map_or(0.0, |time| f64::from(*time) / 1000.0)
        };
        Times { count: times.len() as u64, p50_ms: at(0.5), p99_ms: at(0.99) }
    }
}
