//! Calls that wait for each other: they only come to an end where an instance runs several at once.

wit_bindgen::generate!();

use exports::test::rendezvous::rendezvous::Guest;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static INSIDE: AtomicU32 = AtomicU32::new(0);

struct Rendezvous;

impl Guest for Rendezvous {
    async fn meet() -> u32 {
        let me = INSIDE.fetch_add(1, Relaxed) + 1;
        while INSIDE.load(Relaxed) < 2 {
            wit_bindgen::yield_async().await;
        }
        me
    }
}

export!(Rendezvous);
