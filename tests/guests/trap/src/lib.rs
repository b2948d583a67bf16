//! Ends in every way but returning.

wit_bindgen::generate!();

use exports::test::trap::trap::Guest;

struct Trap;

impl Guest for Trap {
    fn panic(message: String) {
        panic!("{message}");
    }

    fn unreachable() {
        core::arch::wasm32::unreachable()
    }

    fn exit(code: u8) {
        #[expect(clippy::disallowed_methods, reason = "the host has to bear a guest that does this")]
        std::process::exit(code.into());
    }

    fn fine() -> String {
        "fine".to_owned()
    }
}

export!(Trap);
