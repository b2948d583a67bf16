//! What one instance may use, as wasmtime asks for it.

use crate::value::Value;
use bytesize::ByteSize;
use wasmtime::ResourceLimiter;
use wasmtime::component::Val;

/// Data that a guest may bring to the host at once: a reply, or the arguments of one call of a host function. Text and
/// bytes count by their length, anything else by the place that its [`Value`] takes. Each reply and each call of a host
/// function is counted on its own.
pub const REPLY_LIMIT: ByteSize = ByteSize::mib(64);

/// What wasmtime counts down, at each crossing anew, while it reads straight from memory.
pub(crate) const DIRECT_FUEL: usize = REPLY_LIMIT.as_u64() as usize;

/// The same where it makes dynamic values, which count a place for each byte of a list: a reply of bytes alone may so be as
/// large as on the other road, and takes this much memory while it is converted. What it came to is checked by
/// [`check_size`]. What such an instance passes to the host's own functions is not: there its memory is the bound.
pub(crate) const DYNAMIC_FUEL: usize = DIRECT_FUEL * size_of::<Val>();

/// More than [`REPLY_LIMIT`] came from the guest at once.
#[derive(Debug, thiserror::Error)]
#[error("more than {REPLY_LIMIT} at once")]
pub(crate) struct ReplyTooLarge;

/// Checks values that came by way of dynamic ones against [`REPLY_LIMIT`].
pub(crate) fn check_size(values: &[Value]) -> wasmtime::Result<()> {
    match values.iter().map(size).sum::<usize>() > DIRECT_FUEL {
        true => Err(wasmtime::Error::new(ReplyTooLarge)),
        false => Ok(()),
    }
}

fn size(value: &Value) -> usize {
    let place = size_of::<Value>();
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) | Value::Record(items) => items.iter().map(|item| place + size(item)).sum(),
        Value::Map(entries) => entries.iter().map(|(key, value)| 2 * place + size(key) + size(value)).sum(),
        Value::Variant(_, Some(payload)) => place + size(payload),
        _ => 0,
    }
}

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
    fn values_count_as_they_do_when_they_are_read_straight_from_memory() {
        let place = size_of::<Value>();
        let text = || Value::String("four".into());
        assert_eq!(size(&Value::Unsigned(1)), 0);
        assert_eq!(size(&Value::Bytes(vec![0; 100].into())), 100);
        assert_eq!(size(&Value::List(vec![text(), text()])), 2 * (place + 4));
        assert_eq!(size(&Value::Map(vec![(text(), Value::some(text()))])), 3 * place + 8);
        let most = Value::Bytes(vec![0; DIRECT_FUEL].into());
        assert!(check_size(std::slice::from_ref(&most)).is_ok());
        assert!(check_size(&[most, Value::Bytes(vec![0].into())]).is_err());
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
