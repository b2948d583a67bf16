//! What is done to the tables, as steps of a transaction that the [writer](super::writer) commits.
//!
//! The outer error of a step is the file's, and ends the transaction; the inner one is the caller's, and the step has
//! changed nothing then.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::super::check::Usage;
use super::super::{Limits, Refusal, StoreError};
use super::writer::{Part, Place, Put};

pub(super) type Step<T> = Result<Result<T, StoreError>, rusqlite::Error>;

/// Expired entries, or entries of removed stores, that are taken away with one transaction. Not less than the changes
/// that it takes, or putting could outrun it.
pub(super) const SWEPT: u32 = 256;

/// A row of `store`.
struct Shelf {
    /// None if it is yet to be made.
    id: Option<i64>,
    version: u64,
    held: Usage,
}

/// A row of `entry`, without its value.
struct Item {
    version: u64,
    usage: Usage,
}

pub(super) fn put(change: &Transaction, put: &Put, limits: &Limits, now: u64) -> Step<u64> {
    let Place { store, key } = &put.at;
    take_if_expired(change, &put.at, now)?;
    let mut shelf = shelf(change, store)?;
    let old = match shelf.id {
        Some(id) => item(change, id, key)?,
        None => None,
    };
    let version = old.as_ref().map_or(0, |item| item.version);
    if put.if_version.is_some_and(|expected| expected != version) {
        return Ok(Err(StoreError::Conflict { version }));
    }
    let old = old.map_or_else(Usage::default, |item| item.usage);
    let new = Usage::of_entry(key.len(), put.value.len());
    let held = loop {
        match limits.replace(store, shelf.held, old, new) {
            Ok(held) => break held,
            // What has expired must not take the room of what is put.
            Err(refused) if take_expired(change, now)? == 0 => return Ok(Err(refused)),
            Err(_) => shelf.held = self::shelf(change, store)?.held,
        }
    };
    let version = shelf.version + 1;
    let id = shelf.write(change, store, version, held)?;
    change
        .prepare_cached(
            "INSERT INTO entry (store, key, version, expires, value) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (store, key)
             DO UPDATE SET version = excluded.version, expires = excluded.expires, value = excluded.value",
        )?
        .execute(params![id, key.as_bytes(), version, put.expires, &put.value[..]])?;
    Ok(Ok(version))
}

pub(super) fn delete(change: &Transaction, at: &Place, now: u64) -> Result<bool, rusqlite::Error> {
    let Place { store, key } = at;
    take_if_expired(change, at, now)?;
    let Some(id) = shelf(change, store)?.id else {
        return Ok(false);
    };
    let Some(item) = item(change, id, key)? else {
        return Ok(false);
    };
    change.prepare_cached("DELETE FROM entry WHERE store = ?1 AND key = ?2")?.execute(params![id, key.as_bytes()])?;
    subtract(change, id, item.usage)?;
    Ok(true)
}

/// Makes several changes. What was made of them before one is refused is made undone.
pub(super) fn all_or_none(
    change: &Transaction,
    parts: &[Part],
    limits: &Limits,
    now: u64,
) -> Result<Result<Vec<u64>, Refusal>, rusqlite::Error> {
    change.execute_batch("SAVEPOINT before")?;
    let mut versions = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let made = match part {
            Part::Put(put) => self::put(change, put, limits, now)?,
            Part::Delete(at) => delete(change, at, now).map(|_| Ok(0))?,
        };
        match made {
            Ok(version) => versions.push(version),
            Err(error) => {
                change.execute_batch("ROLLBACK TO before; RELEASE before")?;
                return Ok(Err(Refusal { change: Some(at), error }));
            }
        }
    }
    change.execute_batch("RELEASE before")?;
    Ok(Ok(versions))
}

/// Takes the name off a store. Its entries may be many, and are taken away later by [`sweep`].
pub(super) fn remove_store(change: &Transaction, store: &str) -> Result<bool, rusqlite::Error> {
    let removed: Option<u64> = change
        .prepare_cached("UPDATE store SET name = NULL WHERE name = ?1 RETURNING version")?
        .query_row([store], |row| row.get(0))
        .optional()?;
    let Some(version) = removed else {
        return Ok(false);
    };
    change.prepare_cached("UPDATE floor SET version = max(version, ?1)")?.execute([version])?;
    Ok(true)
}

/// Takes away some of what is absent already; says whether there may be more.
pub(super) fn sweep(change: &Transaction, now: u64) -> Result<bool, rusqlite::Error> {
    let is_more = take_expired(change, now)? == SWEPT as usize;
    Ok(take_removed(change)? || is_more)
}

/// Takes expired entries away, those first that are longest expired, and says how many.
fn take_expired(change: &Transaction, now: u64) -> Result<usize, rusqlite::Error> {
    let mut delete = change.prepare_cached(
        "DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE expires <= ?1 ORDER BY expires LIMIT ?2)
         RETURNING store, length(key), length(value)",
    )?;
    let mut taken: HashMap<i64, Usage> = HashMap::new();
    let mut count = 0;
    let mut rows = delete.query(params![now, SWEPT])?;
    while let Some(row) = rows.next()? {
        let held = taken.entry(row.get(0)?).or_default();
        *held = held.plus(usage(row, 1)?);
        count += 1;
    }
    for (store, usage) in taken {
        subtract(change, store, usage)?;
    }
    Ok(count)
}

/// Takes entries of a removed store away; says whether there may be more of them.
fn take_removed(change: &Transaction) -> Result<bool, rusqlite::Error> {
    let removed: Option<i64> = change
        .prepare_cached("SELECT id FROM store WHERE name IS NULL LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(store) = removed else {
        return Ok(false);
    };
    let taken = change
        .prepare_cached("DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE store = ?1 LIMIT ?2)")?
        .execute(params![store, SWEPT])?;
    if taken < SWEPT as usize {
        change.prepare_cached("DELETE FROM store WHERE id = ?1")?.execute([store])?;
    }
    Ok(true)
}

fn take_if_expired(change: &Transaction, Place { store, key }: &Place, now: u64) -> Result<(), rusqlite::Error> {
    let taken: Option<(i64, Usage)> = change
        .prepare_cached(
            "DELETE FROM entry
             WHERE store = (SELECT id FROM store WHERE name = ?1) AND key = ?2 AND expires <= ?3
             RETURNING store, length(key), length(value)",
        )?
        .query_row(params![store, key.as_bytes(), now], |row| Ok((row.get(0)?, usage(row, 1)?)))
        .optional()?;
    match taken {
        Some((store, usage)) => subtract(change, store, usage),
        None => Ok(()),
    }
}

/// The row of a store, or the one it would begin with: versions go on where a removed store of that name ended.
fn shelf(change: &Transaction, store: &str) -> Result<Shelf, rusqlite::Error> {
    let found = change
        .prepare_cached("SELECT id, version, entries, bytes FROM store WHERE name = ?1")?
        .query_row([store], |row| {
            let held = Usage { entries: row.get(2)?, bytes: row.get(3)? };
            Ok(Shelf { id: row.get(0)?, version: row.get(1)?, held })
        })
        .optional()?;
    match found {
        Some(shelf) => Ok(shelf),
        None => {
            let mut floor = change.prepare_cached("SELECT version FROM floor")?;
            let version = floor.query_row([], |row| row.get(0))?;
            Ok(Shelf { id: None, version, held: Usage::default() })
        }
    }
}

impl Shelf {
    /// Writes the row and gives its id.
    fn write(&self, change: &Transaction, name: &str, version: u64, held: Usage) -> Result<i64, rusqlite::Error> {
        let Some(id) = self.id else {
            change
                .prepare_cached("INSERT INTO store (name, version, entries, bytes) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![name, version, held.entries, held.bytes])?;
            return Ok(change.last_insert_rowid());
        };
        change
            .prepare_cached("UPDATE store SET version = ?2, entries = ?3, bytes = ?4 WHERE id = ?1")?
            .execute(params![id, version, held.entries, held.bytes])?;
        Ok(id)
    }
}

fn item(change: &Transaction, store: i64, key: &str) -> Result<Option<Item>, rusqlite::Error> {
    change
        .prepare_cached("SELECT version, length(key), length(value) FROM entry WHERE store = ?1 AND key = ?2")?
        .query_row(params![store, key.as_bytes()], |row| Ok(Item { version: row.get(0)?, usage: usage(row, 1)? }))
        .optional()
}

fn subtract(change: &Transaction, store: i64, usage: Usage) -> Result<(), rusqlite::Error> {
    change
        .prepare_cached("UPDATE store SET entries = entries - ?2, bytes = bytes - ?3 WHERE id = ?1")?
        .execute(params![store, usage.entries, usage.bytes])?;
    Ok(())
}

/// What an entry takes, from the lengths of its key and value in two columns of a row.
fn usage(row: &Row, column: usize) -> Result<Usage, rusqlite::Error> {
    Ok(Usage::of_entry(row.get(column)?, row.get(column + 1)?))
}
