//! The last of three: waits as long as it is told, busily, and weighs a text.

wit_bindgen::generate!();

use exports::test::chain::last::{Guest, Measure};
use std::time::{Duration, Instant};

struct Last;

impl Guest for Last {
    fn weigh(text: String, wait: u32) -> Result<Measure, String> {
        println!("last weighs {text}");
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(wait.into()) {}
        match text.as_str() {
            "" => Err("there is nothing to weigh".to_owned()),
            _ => Ok(Measure { weight: text.len() as u32, text }),
        }
    }
}

export!(Last);
