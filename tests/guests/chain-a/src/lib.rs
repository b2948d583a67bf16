//! The first of three: asks the second, which asks the third.

wit_bindgen::generate!();

use exports::test::chain::first::{Guest, Measure};
use test::chain::middle;

struct First;

impl Guest for First {
    fn ask(text: String, wait: u32) -> Result<Measure, String> {
        println!("first asks {text}");
        middle::pass(&text, wait)
    }
}

export!(First);
