//! Says hello to whoever imports it.

wit_bindgen::generate!();

use exports::test::callee::hello::Guest;

struct Callee;

impl Guest for Callee {
    fn hello(name: String) -> String {
        format!("Hello {name}")
    }
}

export!(Callee);
