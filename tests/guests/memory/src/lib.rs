//! Allocates as much as it is told to.

wit_bindgen::generate!();

use exports::test::memory::memory::Guest;

struct Memory;

impl Guest for Memory {
    fn allocate(mib: u32) -> u32 {
        let mut bytes: Vec<u8> = Vec::with_capacity((mib as usize) << 20);
        bytes.resize((mib as usize) << 20, 1);
        // Or the compiler sees that nobody reads them, and allocates nothing.
        std::hint::black_box(&bytes);
        mib
    }
}

export!(Memory);
