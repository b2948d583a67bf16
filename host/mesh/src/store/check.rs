//! How long names and keys may be, and how much a store may hold.

use super::{Change, Refusal, StoreError};

/// The longest key, in bytes: 1 KiB.
pub const MAX_KEY: usize = 1_024;

/// The largest value, in bytes: 1 MiB. What is larger belongs into a file, not between a caller and its answer.
pub const MAX_VALUE: usize = 1_024 * 1_024;

/// What a store may hold, in bytes of keys and values: 256 MiB.
pub const MAX_STORE_BYTES: u64 = 256 * 1_024 * 1_024;

/// The entries that a store may hold.
pub const MAX_STORE_ENTRIES: u64 = 1_000_000;

/// The longest name of a store, in bytes; names of deployments have the same bound.
pub const MAX_STORE_NAME: usize = 128;

/// The changes that are made in one step.
pub const MAX_CHANGES: usize = 128;

/// The bytes of the values that are put in one step: 8 MiB.
pub const MAX_CHANGES_BYTES: usize = 8 * 1_024 * 1_024;

/// How much each store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of its keys and values.
    pub store_bytes: u64,
    /// Its entries.
    pub store_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { store_bytes: MAX_STORE_BYTES, store_entries: MAX_STORE_ENTRIES }
    }
}

/// What a store holds, or one entry of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Usage {
    pub(crate) fn of_entry(key: usize, value: usize) -> Self {
        Self { entries: 1, bytes: (key as u64).saturating_add(value as u64) }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { entries: self.entries.saturating_add(other.entries), bytes: self.bytes.saturating_add(other.bytes) }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { entries: self.entries.saturating_sub(other.entries), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

impl Limits {
    /// What the store holds once `new` has taken the place of `old`, unless that is too much. A store that is over its
    /// limits already, because they were lowered, may still be changed in ways that do not make it grow.
    pub(crate) fn replace(&self, store: &str, held: Usage, old: Usage, new: Usage) -> Result<Usage, StoreError> {
        let after = held.minus(old).plus(new);
        if new.entries > old.entries && after.entries > self.store_entries {
            return Err(StoreError::TooLarge(format!(
                "store {store:?} would have {} entries, and may have {}: delete some, or put them with a ttl",
                after.entries, self.store_entries
            )));
        }
        if new.bytes > old.bytes && after.bytes > self.store_bytes {
            return Err(StoreError::TooLarge(format!(
                "store {store:?} would have {} bytes, and may have {}: delete entries, or put them with a ttl",
                after.bytes, self.store_bytes
            )));
        }
        Ok(after)
    }
}

/// Refuses a name that no store can have.
pub(crate) fn store_name(name: &str) -> Result<(), StoreError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if name.is_empty() {
        return Err(StoreError::BadName("a store's name is empty: name the store".to_owned()));
    }
    if name.len() > MAX_STORE_NAME {
        return Err(StoreError::BadName(format!(
            "the name of a store has {} bytes, and may have {MAX_STORE_NAME}: shorten it",
            name.len()
        )));
    }
    if !name.bytes().all(allowed) {
        return Err(StoreError::BadName(format!(
            "store {name:?} cannot be named so: use letters, digits, and the characters - _ . :"
        )));
    }
    Ok(())
}

/// Refuses a key that no entry can have. No listing would ever show an empty key, for none comes before it.
pub(crate) fn key(store: &str, key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::BadKey(format!("a key of store {store:?} is empty: give it a byte at least")));
    }
    if key.len() > MAX_KEY {
        return Err(StoreError::TooLarge(format!(
            "a key of store {store:?} has {} bytes, and may have {MAX_KEY}: shorten it, or use a hash of it",
            key.len()
        )));
    }
    Ok(())
}

/// Refuses a value that is too large for any key.
pub(crate) fn value(store: &str, key: &str, length: usize) -> Result<(), StoreError> {
    if length > MAX_VALUE {
        return Err(StoreError::TooLarge(format!(
            "the value for key {key:?} of store {store:?} has {length} bytes, and may have {MAX_VALUE}: \
             spread it over several keys"
        )));
    }
    Ok(())
}

/// Refuses changes that no store would make together.
pub(crate) fn changes(changes: &[Change]) -> Result<(), Refusal> {
    let bytes = changes.iter().filter_map(|change| change.value.as_ref()).map(|(value, _)| value.len()).sum::<usize>();
    if changes.len() > MAX_CHANGES || bytes > MAX_CHANGES_BYTES {
        let text = format!(
            "{} changes with {bytes} bytes are to be made in one step, which may have {MAX_CHANGES} changes and \
             {MAX_CHANGES_BYTES} bytes: make several steps",
            changes.len()
        );
        return Err(StoreError::TooLarge(text).into());
    }
    for (at, Change { store, key, value }) in changes.iter().enumerate() {
        let checked = store_name(store).and_then(|()| self::key(store, key)).and_then(|()| match value {
            Some((value, _)) => self::value(store, key, value.len()),
            None => Ok(()),
        });
        checked.map_err(|error| Refusal { change: Some(at), error })?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
