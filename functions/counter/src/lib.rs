//! Counts: a service, whose state lives on from call to call, and goes over to the next revision.

/// Counts, and keeps count across revisions.
#[micro::service]
mod counter {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The state. An instance takes one call at a time, so there is nobody to wait for.
    static TOTAL: AtomicU64 = AtomicU64::new(0);

    /// What has been counted.
    pub struct Total {
        /// The sum of all that was added.
        pub total: u64,
    }

    /// Adds to the total.
    pub fn add(by: u64) -> Result<Total, micro::Error> {
        let total = TOTAL.load(Ordering::Relaxed).checked_add(by);
        let total = total.ok_or_else(|| micro::Error::bad_request("that is more than can be counted"))?;
        TOTAL.store(total, Ordering::Relaxed);
        Ok(Total { total })
    }

    /// Tells the total.
    pub fn get() -> Total {
        Total { total: TOTAL.load(Ordering::Relaxed) }
    }

    #[micro::save]
    fn save() -> Vec<u8> {
        get().total.to_le_bytes().to_vec()
    }

    #[micro::restore]
    fn restore(state: &[u8]) -> Result<(), String> {
        let total = state.try_into().map_err(|_| format!("expected 8 bytes, got {}", state.len()))?;
        TOTAL.store(u64::from_le_bytes(total), Ordering::Relaxed);
        Ok(())
    }

    /// One test, because the state is one.
    #[cfg(test)]
    #[test]
    fn counts_on_from_what_was_saved() {
        assert_eq!(add(2).map(|total| total.total), Ok(2));
        assert_eq!(add(3).map(|total| total.total), Ok(5));
        let saved = save();
        TOTAL.store(0, Ordering::Relaxed);
        restore(&saved).expect("it was saved by this very code");
        assert_eq!(get().total, 5);
        assert_eq!(add(u64::MAX).map(|total| total.total).unwrap_err().code, 400);
        assert_eq!(get().total, 5, "what was refused changed nothing");
        assert!(restore(b"five").unwrap_err().contains("expected 8 bytes"));
    }
}
