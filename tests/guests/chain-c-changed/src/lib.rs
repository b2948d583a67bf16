//! The last of three, whose measure has a field of another type and one more.

wit_bindgen::generate!();

use exports::test::chain::last::{Guest, Measure};

struct Last;

impl Guest for Last {
    fn weigh(text: String, _: u32) -> Result<Measure, String> {
        Ok(Measure { weight: text.len() as f64, unit: "g".to_owned(), text })
    }
}

export!(Last);
