//! Recurses as deep as it is told to.

wit_bindgen::generate!();

use exports::test::deep::deep::Guest;

struct Deep;

impl Guest for Deep {
    fn recurse(depth: u32) -> u32 {
        descend(depth)
    }
}

export!(Deep);

/// Counts up on the way back, so that no frame can be given up early.
#[inline(never)]
fn descend(depth: u32) -> u32 {
    if depth == 0 { 0 } else { std::hint::black_box(descend(depth - 1)) + 1 }
}
