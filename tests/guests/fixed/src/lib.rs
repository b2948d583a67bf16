//! Gives back lists of a fixed length.

wit_bindgen::generate!();

use exports::test::fixed::fixed::Guest;

struct Fixed;

impl Guest for Fixed {
    fn four(value: [u32; 4]) -> [u32; 4] {
        value
    }
}

export!(Fixed);
