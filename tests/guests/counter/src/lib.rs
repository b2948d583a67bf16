//! Counts its calls in a static.

wit_bindgen::generate!();

use exports::test::counter::counter::Guest;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static CALLS: AtomicU64 = AtomicU64::new(0);

struct Counter;

impl Guest for Counter {
    fn next() -> u64 {
        CALLS.fetch_add(1, Relaxed) + 1
    }
}

export!(Counter);
