//! The second of three: passes on to the last.

wit_bindgen::generate!();

use exports::test::chain::middle::{Guest, Measure};
use test::chain::last;

struct Middle;

impl Guest for Middle {
    fn pass(text: String, wait: u32) -> Result<Measure, String> {
        println!("middle passes {text}");
        last::weigh(&text, wait)
    }
}

export!(Middle);
