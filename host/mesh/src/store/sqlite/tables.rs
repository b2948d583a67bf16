//! The file's layout, its connections, and what is read from it.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::super::{Entry, KeyQuery, StoreError, StoreUsage};
use crate::sqlite::{self, Layout};

/// What is acknowledged survives the loss of power, not only of the process.
const LAYOUT: Layout = Layout { number: 1, create: CREATE, synchronous: "FULL" };

/// `store` has what a store holds, kept in the transactions that change it, so that no limit has to count. A store
/// without a name was removed, and its entries are taken away bit by bit. `floor` is one number: no removed store
/// has given a version above it. Keys are blobs, which SQLite compares by their bytes. `value` is the last column, so
/// that what comes before it is read without the pages that a large value fills.
const CREATE: &str = "
    CREATE TABLE store (
        id INTEGER PRIMARY KEY,
        name TEXT UNIQUE,
        version INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    );
    CREATE TABLE floor (version INTEGER NOT NULL);
    INSERT INTO floor VALUES (0);
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,
        store INTEGER NOT NULL,
        key BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires INTEGER,
        value BLOB NOT NULL,
        UNIQUE (store, key)
    );
    CREATE INDEX entry_by_expiry ON entry (expires) WHERE expires IS NOT NULL;
";

/// The pages in the write-ahead log after which they are written into the file: 16 MiB, some 16 of the largest values.
const CHECKPOINT_PAGES: i64 = 4_096;
/// What the log keeps of the disk after it was written into the file, in bytes.
const LOG_KEPT: i64 = 64 * 1_024 * 1_024;

/// The connection that writes.
pub(super) struct Tables {
    pub(super) connection: Connection,
}

impl Tables {
    /// Opens the file, or creates it. The error is a text for a person, without the path.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let text = |error: rusqlite::Error| error.to_string();
        let mut connection = sqlite::connect(path, sqlite::WRITE).map_err(text)?;
        sqlite::prepare(&mut connection, &LAYOUT)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(text)?;
        connection.pragma_update(None, "journal_size_limit", LOG_KEPT).map_err(text)?;
        Ok(Self { connection })
    }

    pub(super) fn begin(&mut self) -> Result<Transaction<'_>, rusqlite::Error> {
        sqlite::begin(&mut self.connection)
    }
}

pub(super) fn get(file: &Connection, store: &str, key: String, now: u64) -> Result<Option<Entry>, rusqlite::Error> {
    let mut select = file.prepare_cached(
        "SELECT version, value FROM entry
         WHERE store = (SELECT id FROM store WHERE name = ?1) AND key = ?2 AND (expires IS NULL OR expires > ?3)",
    )?;
    let found = select.query_row(params![store, key.as_bytes(), now], |row| {
        Ok((row.get(0)?, Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?)))
    });
    Ok(found.optional()?.map(|(version, value)| Entry { key, value, version }))
}

pub(super) fn keys(file: &Connection, store: &str, query: &KeyQuery, now: u64) -> Result<Vec<String>, rusqlite::Error> {
    let (from, to) = range(query);
    let mut select = file.prepare_cached(
        "SELECT key FROM entry
         WHERE store = (SELECT id FROM store WHERE name = ?1) AND key >= ?2 AND key < ?3
             AND (expires IS NULL OR expires > ?4)
         ORDER BY key LIMIT ?5",
    )?;
    let rows = select.query_map(params![store, from, to, now, query.bound()], |row| {
        Ok(String::from_utf8_lossy(row.get_ref(0)?.as_blob()?).into_owned())
    })?;
    rows.collect()
}

/// The first key that a query may give, and the first one beyond its prefix.
fn range(query: &KeyQuery) -> (Vec<u8>, Vec<u8>) {
    let mut from = query.after.clone().into_bytes();
    if query.after < query.prefix {
        from = query.prefix.clone().into_bytes();
    } else {
        // Nothing lies between a key and the same with a zero byte behind it.
        from.push(0);
    }
    let mut to = query.prefix.clone().into_bytes();
    match to.last_mut() {
        // UTF-8 has no byte 0xff, so there is always a next one.
        Some(last) => *last = last.saturating_add(1),
        None => to.push(u8::MAX),
    }
    (from, to)
}

pub(super) fn stores(file: &Connection, now: u64) -> Result<Vec<StoreUsage>, rusqlite::Error> {
    // What has expired and was not taken away yet is subtracted: there is little of it, and it is found by its index.
    let mut select = file.prepare_cached(
        "WITH gone AS (
             SELECT store, count(*) AS entries, sum(length(key) + length(value)) AS bytes
             FROM entry WHERE expires <= ?1 GROUP BY store
         )
         SELECT name, store.entries - coalesce(gone.entries, 0), store.bytes - coalesce(gone.bytes, 0)
         FROM store LEFT JOIN gone ON gone.store = store.id
         WHERE name IS NOT NULL ORDER BY name",
    )?;
    let rows = select
        .query_map([now], |row| Ok(StoreUsage { name: row.get(0)?, entries: row.get(1)?, bytes: row.get(2)? }))?;
    rows.collect()
}

/// What the file's failure is to a caller.
pub(super) fn unavailable(doing: &str, error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable(sqlite::failure("store", doing, error))
}
