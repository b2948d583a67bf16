//! What one instance may use, as wasmtime asks for it.

use bytesize::ByteSize;
use wasmtime::ResourceLimiter;

/// Data that one call may bring from guest to host: its reply, and whatever it passes to host functions.
pub const REPLY_LIMIT: ByteSize = ByteSize::mib(64);

/// Lists, maps and tables a component may have; more is a bomb, not a program.
const MAX_TABLE_ELEMENTS: usize = 100_000;

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

    /// Whether the instance asked for more than it may have. It decides itself whether to go on without.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused
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

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.take(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS {
            self.was_refused = true;
            return Ok(false);
        }
        Ok(self.take(current.saturating_mul(TABLE_ELEMENT), desired.saturating_mul(TABLE_ELEMENT)))
    }
}
