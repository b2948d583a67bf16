//! Imports what no host has.

wit_bindgen::generate!({ generate_all });

use exports::test::needs::needs::Guest;

struct Needs;

impl Guest for Needs {
    fn ask(question: String) -> String {
        acme::missing::thing::answer(&question)
    }
}

export!(Needs);
