//! What one instance may use, as wasmtime asks for it.

use bytesize::ByteSize;
use wasmtime::ResourceLimiter;

/// Data that one call may bring from guest to host: its reply, and whatever it passes to host functions.
pub const REPLY_LIMIT: ByteSize = ByteSize::mib(64);

/// Elements of one table: interpreters keep their functions in one.
pub(crate) const TABLE_ELEMENTS: usize = 50_000;

/// The memory of an entry in a table, in wasmtime's representation.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// Binds one instance to its memory limit: all its linear memories and all its tables together.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: usize,
    used: usize,
    was_refused: bool,
}

impl Limiter {
    pub(crate) fn new(memory: ByteSize) -> Limiter {
        Limiter { limit: usize::try_from(memory.as_u64()).unwrap_or(usize::MAX), used: 0, was_refused: false }
    }

    /// Whether the instance asked for more than it may have, since its last call began. It decides itself whether to go
    /// on without.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// Another call begins: what an earlier one was refused and went on without is no reason any more.
    pub(crate) fn begin_call(&mut self) {
        self.was_refused = false;
    }

    fn take(&mut self, current: usize, desired: usize) -> bool {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.limit {
            self.was_refused = true;
            return false;
        }
        self.used = used;
        true
    }
}

/// wasmtime asks before it looks at the maximum of the type or the pool, and would then fail: such growth is refused here,
/// so that it never counts. That it failed is no way to tell: wasmtime also says so of growth that it did not ask for, and
/// a guest could have its memory uncounted by it. What the kernel refuses stays counted.
impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.take(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let maximum = maximum.map_or(TABLE_ELEMENTS, |maximum| maximum.min(TABLE_ELEMENTS));
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT);
        Ok(desired <= maximum && self.take(bytes(current), bytes(desired)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_the_maximum_of_a_memory_or_table_is_not_counted() {
        let mut limiter = Limiter::new(ByteSize::mib(1));
        assert!(limiter.memory_growing(0, 600_000, Some(700_000)).unwrap());
        assert!(!limiter.memory_growing(600_000, 900_000, Some(700_000)).unwrap());
        assert!(!limiter.table_growing(0, 20_000, Some(10_000)).unwrap());
        assert!(!limiter.table_growing(0, TABLE_ELEMENTS + 1, None).unwrap());
        assert_eq!((limiter.used, limiter.was_refused()), (600_000, false));
        assert!(limiter.memory_growing(600_000, 700_000, Some(700_000)).unwrap());
    }

    #[test]
    fn a_refusal_that_a_guest_survived_is_not_the_reason_of_a_later_trap() {
        let mut limiter = Limiter::new(ByteSize::mib(1));
        assert!(!limiter.memory_growing(0, 2_000_000, None).unwrap());
        assert!(limiter.was_refused());
        limiter.begin_call();
        assert!(!limiter.was_refused());
    }
}
