//! What one instance may use, as wasmtime asks for it.

use crate::usage::Usage;
use crate::value::Value;
use bytesize::ByteSize;

/// Data that a guest may bring to the host at once: a reply, or the arguments of one call of a host function. Text and
/// bytes count by their length, anything else by the place that its [`Value`] takes. Each reply and each call of a host
/// function is counted on its own.
pub const REPLY_LIMIT: ByteSize = ByteSize::mib(64);

/// What wasmtime counts down, at each crossing anew, while it reads straight from memory.
pub(crate) const DIRECT_FUEL: usize = REPLY_LIMIT.as_u64() as usize;

/// The same where it makes dynamic values, which count a place of 32 bytes for each byte of a list: bytes alone may so be
/// not quite 10 MiB there, and text as much as on the other road. It is also what one call of a host function makes the
/// host take, whose arguments may all be the same bytes of the guest's memory: so it is a small multiple. What a reply
/// came to is checked by [`check_size`].
pub(crate) const DYNAMIC_FUEL: usize = DIRECT_FUEL * 5;

/// The call was on a processor for longer than it may be.
#[derive(Debug, thiserror::Error)]
#[error("the call's time on a processor is used up")]
pub(crate) struct CpuUsedUp;

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

/// Bytes that an instance has and did not tell of yet: tables are small, and each telling is felt by all other calls.
const UNTOLD: usize = 64 * 1024;

/// Binds one instance to its memory limit: all its linear memories and all its tables together.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: usize,
    used: usize,
    told: usize,
    refusal: Option<Refusal>,
}

/// Why an instance did not get more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has what it may have.
    Own,
    /// All guests together have what they may have.
    Host,
}

impl Limiter {
    pub(crate) fn new(memory: ByteSize) -> Limiter {
        Limiter { limit: usize::try_from(memory.as_u64()).unwrap_or(usize::MAX), used: 0, told: 0, refusal: None }
    }

    /// Whether the instance asked for more than it may have, since its last call began. It decides itself whether to go
    /// on without.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Another call begins: what an earlier one was refused and went on without is no reason any more.
    pub(crate) fn begin_call(&mut self) {
        self.refusal = None;
    }

    /// Bytes that its deployment was told of.
    pub(crate) fn told(&self) -> usize {
        self.told
    }

    /// wasmtime asks before it looks at the maximum of the type or the pool, and would then fail: such growth is refused
    /// here, so that it never counts. That it failed is no way to tell: wasmtime also says so of growth that it did not
    /// ask for, and a guest could have its memory uncounted by it. What the kernel refuses stays counted.
    pub(crate) fn grow_memory(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        usage: &Usage,
    ) -> bool {
        maximum.is_none_or(|maximum| desired <= maximum) && self.take(current, desired, usage)
    }

    /// The same for a table, by its elements.
    pub(crate) fn grow_table(&mut self, current: usize, desired: usize, maximum: Option<usize>, usage: &Usage) -> bool {
        let maximum = maximum.map_or(TABLE_ELEMENTS, |maximum| maximum.min(TABLE_ELEMENTS));
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT);
        desired <= maximum && self.take(bytes(current), bytes(desired), usage)
    }

    fn take(&mut self, current: usize, desired: usize, usage: &Usage) -> bool {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.limit {
            self.refusal = Some(Refusal::Own);
            return false;
        }
        let untold = used.saturating_sub(self.told);
        if untold > UNTOLD {
            if !usage.take_memory(untold as u64, used as u64) {
                self.refusal = Some(Refusal::Host);
                return false;
            }
            self.told = used;
        }
        self.used = used;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::GuestMemory;
    use std::sync::Arc;

    #[test]
    fn growth_beyond_the_maximum_of_a_memory_or_table_is_not_counted() {
        let (mut limiter, usage) = (Limiter::new(ByteSize::mib(1)), Usage::alone());
        assert!(limiter.grow_memory(0, 600_000, Some(700_000), &usage));
        assert!(!limiter.grow_memory(600_000, 900_000, Some(700_000), &usage));
        assert!(!limiter.grow_table(0, 20_000, Some(10_000), &usage));
        assert!(!limiter.grow_table(0, TABLE_ELEMENTS + 1, None, &usage));
        assert_eq!((limiter.used, limiter.refusal()), (600_000, None));
        assert!(limiter.grow_memory(600_000, 700_000, Some(700_000), &usage));
        assert_eq!(usage.memory(), 700_000);
    }

    #[test]
    fn all_guests_together_have_a_limit_as_well() {
        let all = Arc::new(GuestMemory::new(1_000_000));
        let usages = [Usage::new(all.clone()), Usage::new(all.clone())];
        let mut limiters = [Limiter::new(ByteSize::mib(1)), Limiter::new(ByteSize::mib(1))];
        assert!(limiters[0].grow_memory(0, 700_000, None, &usages[0]));
        assert!(!limiters[1].grow_memory(0, 700_000, None, &usages[1]));
        assert_eq!(limiters[1].refusal(), Some(Refusal::Host));
        assert_eq!((all.used(), all.refusals(), usages[1].memory()), (700_000, 1, 0));
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
        assert!(!limiter.grow_memory(0, 2_000_000, None, &Usage::alone()));
        assert_eq!(limiter.refusal(), Some(Refusal::Own));
        limiter.begin_call();
        assert_eq!(limiter.refusal(), None);
    }
}
