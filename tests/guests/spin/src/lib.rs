//! Never returns.

wit_bindgen::generate!();

use exports::test::spin::spin::Guest;

struct Spin;

impl Guest for Spin {
    fn forever() {
        loop {
            std::hint::spin_loop();
        }
    }
}

export!(Spin);
