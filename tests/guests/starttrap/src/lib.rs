//! Traps before its first call.

wit_bindgen::generate!();

use exports::test::starttrap::starttrap::Guest;

struct StartTrap;

impl Guest for StartTrap {
    fn never() {}
}

export!(StartTrap);

/// A component calls this export of its core module while it is instantiated.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    panic!("trapped while starting");
}
