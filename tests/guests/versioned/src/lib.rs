//! Says which version it is, by bytes that a test can patch.

wit_bindgen::generate!();

use exports::test::versioned::version::Guest;

/// A test makes any number of versions out of one file by writing another 32 bytes over these, which
/// come once in it. Spaces at the end do not count.
static VERSION: [u8; 32] = *b"MICRO-TEST-VERSION-0000000000000";

struct Versioned;

impl Guest for Versioned {
    fn get() -> String {
        // Or the compiler reads the placeholder and spreads its bytes over the code.
        let version: &[u8; 32] = std::hint::black_box(&VERSION);
        String::from_utf8_lossy(version).trim_end().to_owned()
    }

    fn get_after(ms: u32) -> String {
        #[expect(clippy::disallowed_methods, reason = "an instance has its thread for itself")]
        std::thread::sleep(std::time::Duration::from_millis(ms.into()));
        Self::get()
    }
}

export!(Versioned);
