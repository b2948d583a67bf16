//! Counts its calls in a static.

wit_bindgen::generate!();

use exports::test::tally::tally::Guest;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static CALLS: AtomicU64 = AtomicU64::new(0);

struct Tally;

impl Guest for Tally {
    fn next() -> u64 {
        CALLS.fetch_add(1, Relaxed) + 1
    }
}

export!(Tally);
