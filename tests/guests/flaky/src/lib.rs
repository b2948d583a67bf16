//! Fails a share of its calls, which the environment variable FAIL tells in percent.

/// Fails now and then.
#[micro::function]
mod flaky {
    use std::hash::{BuildHasher, Hasher, RandomState};

    /// Tells its version, or its arguments when it has none, or fails.
    pub fn version() -> Result<String, micro::Error> {
        let share: u64 = std::env::var("FAIL").ok().and_then(|share| share.parse().ok()).unwrap_or(0);
        let drawn = RandomState::new().build_hasher().finish() % 100;
        match drawn < share {
            true => Err(micro::Error::internal("drew the short straw")),
            false => Ok(std::env::var("VERSION").unwrap_or_else(|_| std::env::args().collect::<Vec<_>>().join(" "))),
        }
    }
}
