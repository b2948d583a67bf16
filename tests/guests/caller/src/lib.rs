//! Calls an imported function many times, and tells how long one call took: `make bench` measures calls between guests
//! with it.

wit_bindgen::generate!({ generate_all });

use exports::test::caller::caller::Guest;
use std::time::Instant;
use test::callee::hello;

struct Caller;

impl Guest for Caller {
    fn times(count: u32) -> f64 {
        let began = Instant::now();
        for _ in 0..count {
            assert_eq!(hello::hello("John"), "Hello John");
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(count)
    }
}

export!(Caller);
