//! Takes its time.

wit_bindgen::generate!();

use exports::test::slow::slow::Guest;

struct Slow;

impl Guest for Slow {
    fn sleep(ms: u32) -> u32 {
        #[expect(clippy::disallowed_methods, reason = "an instance has its thread for itself")]
        std::thread::sleep(std::time::Duration::from_millis(ms.into()));
        ms
    }
}

export!(Slow);
