//! Gives back much and takes much.

wit_bindgen::generate!();

use exports::test::big::big::Guest;

struct Big;

impl Guest for Big {
    fn text(size: u32) -> String {
        "x".repeat(size as usize)
    }

    fn bytes(size: u32) -> Vec<u8> {
        (0..size).map(|at| at as u8).collect()
    }

    fn measure(bytes: Vec<u8>) -> u64 {
        bytes.len() as u64
    }
}

export!(Big);
