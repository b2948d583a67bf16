//! The stores in a file: what was acknowledged is on disk and survives the host, the process and the loss of power.
//!
//! One thread owns the connection that writes. While it waits for the disk, changes queue up, and it takes them
//! together into its next transaction ([`writer`]), so that many callers share one wait. Reads go past it over a few
//! connections of their own ([`Readers`]); with a write-ahead log neither waits for the other.
//!
//! Times to live are kept as wall-clock times, the only clock that goes on while nothing runs.

mod changes;
mod tables;
mod writer;

use std::path::PathBuf;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::sqlite::Readers;

use super::{
    Change, Clock, Entry, KeyQuery, Limits, PutOptions, Refusal, Store, StoreError, StoreUsage, check, closed,
};
use tables::Tables;

use writer::{Answer, Job, Part, Place, Put, Request, Writer};

#[cfg(test)]
#[path = "../sqlite_tests.rs"]
mod tests;

/// The name of this backend.
pub const NAME: &str = "sqlite";

/// Changes that may wait for the writer; who comes then waits for a place among them.
const QUEUE: usize = 256;

/// Reads that may happen at once. A read takes microseconds unless the disk is asked; each connection has a cache.
const READERS: u32 = 4;

/// Stores in a SQLite file.
pub struct Sqlite {
    clock: Clock,
    changes: mpsc::Sender<Request>,
    readers: Readers,
}

impl Sqlite {
    /// Opens the file, or creates it. Its folder must exist.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be opened, is no database, or was written by a newer version of
    /// this program.
    pub async fn open(path: impl Into<PathBuf>, limits: Limits, clock: Clock) -> Result<Self, StoreError> {
        let path = path.into();
        let (changes, requests) = mpsc::channel(QUEUE);
        let (opened, answer) = oneshot::channel();
        let time = clock.clone();
        // The thread ends when the store, which holds the only sender, is closed or dropped.
        let spawned = thread::Builder::new().name("store".to_owned()).spawn(move || {
            let failed = |cause: String| StoreError::Unavailable(format!("open store {}: {cause}", path.display()));
            let tables = Tables::open(&path).map_err(failed);
            let ready = tables.and_then(|tables| {
                Ok((tables, Readers::open("store", &path, READERS).map_err(|e| failed(e.to_string()))?))
            });
            match ready {
                Ok((tables, readers)) => {
                    // Nobody waiting any more means the sender is gone too, which ends the writer.
                    drop(opened.send(Ok(readers)));
                    Writer::new(tables, limits, time).serve(requests);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        if let Err(error) = spawned {
            return Err(StoreError::Unavailable(format!("start the store's thread: {error}")));
        }
        let readers = answer.await.unwrap_or_else(|_| Err(closed()))?;
        Ok(Self { clock, changes, readers })
    }

    /// Hands a change to the writer and waits until it is on disk.
    async fn change<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Change(job(Answer::new(answer)));
        self.changes.send(request).await.map_err(|_| closed())?;
        // Requests that the writer had not taken when it stopped are dropped with their answers.
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    fn to_put(&self, store: String, key: String, value: Bytes, options: PutOptions) -> Put {
        let expires = options.ttl.map(|ttl| self.clock.after(ttl));
        Put { at: Place { store, key }, value, expires, if_version: options.if_version }
    }
}

#[async_trait]
impl Store for Sqlite {
    fn name(&self) -> &str {
        NAME
    }

    async fn get(&self, store: &str, key: &str) -> Result<Option<Entry>, StoreError> {
        check::store_name(store)?;
        check::key(store, key)?;
        let now = self.clock.now();
        let (store, key) = (store.to_owned(), key.to_owned());
        Ok(self.readers.read(move |file| tables::get(file, &store, key, now)).await?)
    }

    async fn put(&self, store: &str, key: &str, value: Bytes, options: PutOptions) -> Result<u64, StoreError> {
        check::store_name(store)?;
        check::key(store, key)?;
        check::value(store, key, value.len())?;
        let put = self.to_put(store.to_owned(), key.to_owned(), value, options);
        self.change(|answer| Job::Put(put, answer)).await
    }

    async fn delete(&self, store: &str, key: &str) -> Result<bool, StoreError> {
        check::store_name(store)?;
        check::key(store, key)?;
        let (store, key) = (store.to_owned(), key.to_owned());
        self.change(|answer| Job::Delete(Place { store, key }, answer)).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<u64>, Refusal> {
        check::changes(&changes)?;
        let part = |Change { store, key, value }| match value {
            Some((value, options)) => Part::Put(self.to_put(store, key, value, options)),
            None => Part::Delete(Place { store, key }),
        };
        let parts = changes.into_iter().map(part).collect();
        self.change(|answer| Job::Commit(parts, answer)).await?
    }

    async fn keys(&self, store: &str, query: KeyQuery) -> Result<Vec<String>, StoreError> {
        check::store_name(store)?;
        let now = self.clock.now();
        let store = store.to_owned();
        Ok(self.readers.read(move |file| tables::keys(file, &store, &query, now)).await?)
    }

    async fn stores(&self) -> Result<Vec<StoreUsage>, StoreError> {
        let now = self.clock.now();
        Ok(self.readers.read(move |file| tables::stores(file, now)).await?)
    }

    async fn remove_store(&self, store: &str) -> Result<bool, StoreError> {
        check::store_name(store)?;
        let store = store.to_owned();
        self.change(|answer| Job::RemoveStore { store, answer }).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        // The readers go first: the last connection to go writes the log into the file and leaves the file alone.
        self.readers.close().await;
        let (closed, answer) = oneshot::channel();
        if self.changes.send(Request::Close(closed)).await.is_ok() {
            // A writer that is gone without an answer was asked to close by somebody else.
            answer.await.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}
