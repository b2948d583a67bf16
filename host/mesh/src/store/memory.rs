//! The stores in this process's memory: the rules of the [module](super) in their plainest form.

use std::collections::btree_map::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::check::{self, Usage};
use super::{Change, Clock, Entry, KeyQuery, Limits, PutOptions, Refusal, Store, StoreError, StoreUsage, closed};

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;

/// The name of this backend.
pub const NAME: &str = "memory";

/// Stores nobody else sees and that are gone with the process.
pub struct Memory {
    limits: Limits,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stores: BTreeMap<String, Shelf>,
    /// No store that was removed has given a version above this. A new one begins here: it may be one of them.
    floor: u64,
    is_closed: bool,
}

/// What one store holds.
#[derive(Default)]
struct Shelf {
    /// The last one given.
    version: u64,
    held: Usage,
    items: BTreeMap<String, Item>,
    /// When items go away, with their keys.
    expiries: BTreeSet<(u64, String)>,
}

#[derive(Clone)]
struct Item {
    value: Bytes,
    version: u64,
    expires: Option<u64>,
}

/// What there was at a key before it was changed.
enum Before {
    NoStore,
    Item(Option<Item>),
}

impl Memory {
    /// No stores yet.
    pub fn new(limits: Limits, clock: Clock) -> Self {
        Self { limits, clock, state: Mutex::default() }
    }

    /// A panic elsewhere cannot leave a half-made change here, so a poisoned lock is as good as any.
    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_closed { Err(closed()) } else { Ok(state) }
    }
}

impl Memory {
    fn put_into(
        &self,
        state: &mut State,
        store: &str,
        key: &str,
        value: Bytes,
        options: PutOptions,
    ) -> Result<u64, StoreError> {
        let expires = options.ttl.map(|ttl| self.clock.after(ttl));
        let shelf = state.shelf(store, &self.clock);
        let old = shelf.as_ref().and_then(|shelf| shelf.items.get(key));
        let version = old.map_or(0, |item| item.version);
        if options.if_version.is_some_and(|expected| expected != version) {
            return Err(StoreError::Conflict { version });
        }
        let old = old.map_or_else(Usage::default, |item| item.usage(key));
        let held = shelf.map_or_else(Usage::default, |shelf| shelf.held);
        self.limits.replace(store, held, old, Usage::of_entry(key.len(), value.len()))?;
        Ok(state.shelf_to_put_into(store).put(key, value, expires))
    }
}

#[async_trait]
impl Store for Memory {
    fn name(&self) -> &str {
        NAME
    }

    async fn get(&self, store: &str, key: &str) -> Result<Option<Entry>, StoreError> {
        check::store_name(store)?;
        check::key(store, key)?;
        let mut state = self.open()?;
        let item = state.shelf(store, &self.clock).and_then(|shelf| shelf.items.get(key));
        Ok(item.map(|item| Entry { key: key.to_owned(), value: item.value.clone(), version: item.version }))
    }

    async fn put(&self, store: &str, key: &str, value: Bytes, options: PutOptions) -> Result<u64, StoreError> {
        check::store_name(store)?;
        check::key(store, key)?;
        check::value(store, key, value.len())?;
        self.put_into(&mut *self.open()?, store, key, value, options)
    }

    async fn delete(&self, store: &str, key: &str) -> Result<bool, StoreError> {
        check::store_name(store)?;
        check::key(store, key)?;
        let mut state = self.open()?;
        Ok(state.shelf(store, &self.clock).is_some_and(|shelf| shelf.take(key)))
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<u64>, Refusal> {
        check::changes(&changes)?;
        let mut state = self.open()?;
        // What there was before each change that is made, to make it undone.
        let mut before: Vec<(String, String, Before)> = Vec::with_capacity(changes.len());
        let mut versions = Vec::with_capacity(changes.len());
        for (at, Change { store, key, value }) in changes.into_iter().enumerate() {
            let shelf = state.shelf(&store, &self.clock);
            let old = shelf.as_ref().map_or(Before::NoStore, |shelf| Before::Item(shelf.items.get(&key).cloned()));
            let made = match value {
                Some((value, options)) => self.put_into(&mut state, &store, &key, value, options),
                None => {
                    if let Some(shelf) = shelf {
                        shelf.take(&key);
                    }
                    Ok(0)
                }
            };
            match made {
                Ok(version) => versions.push(version),
                Err(error) => {
                    before.into_iter().rev().for_each(|(store, key, old)| state.restore(&store, key, old));
                    return Err(Refusal { change: Some(at), error });
                }
            }
            before.push((store, key, old));
        }
        Ok(versions)
    }

    async fn keys(&self, store: &str, query: KeyQuery) -> Result<Vec<String>, StoreError> {
        check::store_name(store)?;
        let mut state = self.open()?;
        let Some(shelf) = state.shelf(store, &self.clock) else {
            return Ok(Vec::new());
        };
        let keys = shelf.from(&query).map(|(key, _)| key).take_while(|key| key.starts_with(&query.prefix));
        Ok(keys.take(query.bound() as usize).cloned().collect())
    }

    async fn stores(&self) -> Result<Vec<StoreUsage>, StoreError> {
        let mut state = self.open()?;
        let now = self.clock.now();
        let stores = state.stores.iter_mut().map(|(name, shelf)| {
            shelf.expire(now);
            StoreUsage { name: name.clone(), entries: shelf.held.entries, bytes: shelf.held.bytes }
        });
        Ok(stores.collect())
    }

    async fn remove_store(&self, store: &str) -> Result<bool, StoreError> {
        check::store_name(store)?;
        let mut state = self.open()?;
        let removed = state.stores.remove(store);
        state.floor = removed.as_ref().map_or(0, |shelf| shelf.version).max(state.floor);
        Ok(removed.is_some())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { is_closed: true, ..State::default() };
        Ok(())
    }
}

impl State {
    /// The store as it is now, without what has expired.
    fn shelf(&mut self, store: &str, clock: &Clock) -> Option<&mut Shelf> {
        let shelf = self.stores.get_mut(store)?;
        shelf.expire(clock.now());
        Some(shelf)
    }

    /// Puts back what was at a key before it was changed.
    fn restore(&mut self, store: &str, key: String, before: Before) {
        match (before, self.stores.get_mut(store)) {
            (Before::NoStore, _) => drop(self.stores.remove(store)),
            (Before::Item(item), Some(shelf)) => {
                shelf.take(&key);
                item.into_iter().for_each(|item| shelf.lay(key.clone(), item));
            }
            (Before::Item(_), None) => {}
        }
    }

    fn shelf_to_put_into(&mut self, store: &str) -> &mut Shelf {
        let floor = self.floor;
        self.stores.entry(store.to_owned()).or_insert_with(|| Shelf { version: floor, ..Shelf::default() })
    }
}

impl Shelf {
    fn put(&mut self, key: &str, value: Bytes, expires: Option<u64>) -> u64 {
        self.take(key);
        self.version += 1;
        self.lay(key.to_owned(), Item { value, version: self.version, expires });
        self.version
    }

    /// Takes in an item, where there is none.
    fn lay(&mut self, key: String, item: Item) {
        self.held = self.held.plus(item.usage(&key));
        self.expiries.extend(item.expires.map(|at| (at, key.clone())));
        self.items.insert(key, item);
    }

    fn take(&mut self, key: &str) -> bool {
        let Some(item) = self.items.remove(key) else {
            return false;
        };
        self.held = self.held.minus(item.usage(key));
        if let Some(at) = item.expires {
            self.expiries.remove(&(at, key.to_owned()));
        }
        true
    }

    fn expire(&mut self, now: u64) {
        while self.expiries.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = self.expiries.pop_first()
        {
            self.take(&key);
        }
    }

    /// The items from where the query begins.
    fn from(&self, query: &KeyQuery) -> Range<'_, String, Item> {
        let start = if query.after < query.prefix {
            Bound::Included(query.prefix.as_str())
        } else {
            Bound::Excluded(query.after.as_str())
        };
        self.items.range::<str, _>((start, Bound::Unbounded))
    }
}

impl Item {
    fn usage(&self, key: &str) -> Usage {
        Usage::of_entry(key.len(), self.value.len())
    }
}
