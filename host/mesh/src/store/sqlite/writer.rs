//! The thread that writes: it takes the changes that wait into one transaction, and answers when that is on disk.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::super::{Clock, Limits, Refusal, StoreError};
use super::changes::{self, SWEPT};
use super::tables::{Tables, unavailable};
use crate::sqlite;

/// The changes that one transaction takes. More would save little: the wait for the disk is shared by this many.
const TOGETHER: usize = SWEPT as usize;

/// The bytes after which a transaction takes no more changes: 8 MiB. Who waits for it waits for all of them.
const TOGETHER_BYTES: usize = 8 * 1_024 * 1_024;

/// What the writer is asked for.
pub(super) enum Request {
    Change(Job),
    /// Do all that came before and stop.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A change that waits for its transaction.
pub(super) enum Job {
    Put(Put, Answer<u64>),
    Delete(Place, Answer<bool>),
    RemoveStore {
        store: String,
        answer: Answer<bool>,
    },
    /// All of it, or nothing.
    Commit(Vec<Part>, Answer<Result<Vec<u64>, Refusal>>),
}

/// One of several changes that are made together.
pub(super) enum Part {
    Put(Put),
    Delete(Place),
}

/// Where a value lies.
pub(super) struct Place {
    pub(super) store: String,
    pub(super) key: String,
}

/// A value to be put.
pub(super) struct Put {
    pub(super) at: Place,
    pub(super) value: Bytes,
    /// Milliseconds since 1970.
    pub(super) expires: Option<u64>,
    pub(super) if_version: Option<u64>,
}

/// What becomes of a change, kept back until it is on disk.
pub(super) struct Answer<T> {
    outcome: Option<Result<T, StoreError>>,
    asker: oneshot::Sender<Result<T, StoreError>>,
}

impl<T> Answer<T> {
    pub(super) fn new(asker: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { outcome: None, asker }
    }

    /// Tells the outcome, which the asker may have stopped waiting for.
    fn tell(self) {
        if let Some(outcome) = self.outcome {
            drop(self.asker.send(outcome));
        }
    }

    fn fail(self, error: StoreError) {
        drop(self.asker.send(Err(error)));
    }
}

/// What the thread works on.
pub(super) struct Writer {
    pub(super) tables: Tables,
    limits: Limits,
    clock: Clock,
    /// Whether there may be entries that are absent and still in the file.
    is_more_to_sweep: bool,
}

/// The changes of one transaction, and who wants to be told that it was the last one.
#[derive(Default)]
struct Batch {
    changes: Vec<Job>,
    bytes: usize,
    close: Option<oneshot::Sender<Result<(), StoreError>>>,
}

impl Writer {
    pub(super) fn new(tables: Tables, limits: Limits, clock: Clock) -> Self {
        Self { tables, limits, clock, is_more_to_sweep: true }
    }

    /// Works until it is asked to close, or until nobody can ask any more.
    pub(super) fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            self.sweep_until_asked(&requests);
            let Some(first) = requests.blocking_recv() else {
                return;
            };
            let batch = Batch::gather(first, &mut requests);
            self.settle(batch.changes);
            if let Some(close) = batch.close {
                // Askers from now on are told that the store is closed, by their answers being dropped.
                drop(requests);
                let closed = self.tables.connection.close();
                drop(close.send(closed.map_err(|(_, error)| unavailable("close", &error))));
                return;
            }
        }
    }

    /// Does the changes together, or one by one if the file fails: then one that needs room, say, does not take those
    /// with it that need none. A file that is held by somebody else is waited for once, not for each change.
    pub(super) fn settle(&mut self, mut changes: Vec<Job>) {
        match self.commit(&mut changes) {
            Ok(()) => changes.into_iter().for_each(Job::tell),
            Err(error) if changes.len() > 1 && !sqlite::is_held(&error) => {
                changes.into_iter().for_each(|change| self.settle(vec![change]));
            }
            Err(error) => {
                tracing::warn!(%error, "the store's file could not be written");
                changes.into_iter().for_each(|change| change.fail(unavailable("write", &error)));
            }
        }
    }

    fn commit(&mut self, changes: &mut [Job]) -> Result<(), rusqlite::Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let transaction = self.tables.begin()?;
        for change in changes {
            change.apply(&transaction, &self.limits, now)?;
        }
        let is_more = changes::sweep(&transaction, now)?;
        transaction.commit()?;
        self.is_more_to_sweep = is_more;
        Ok(())
    }

    /// Takes away what is left of absent entries, a little at a time, while there is nothing else to do.
    fn sweep_until_asked(&mut self, requests: &mpsc::Receiver<Request>) {
        while self.is_more_to_sweep && requests.is_empty() && !requests.is_closed() {
            self.is_more_to_sweep = self.sweep().unwrap_or_else(|error| {
                tracing::warn!(%error, "expired entries could not be taken out of the store's file");
                false
            });
        }
    }

    pub(super) fn sweep(&mut self) -> Result<bool, rusqlite::Error> {
        let now = self.clock.now();
        let transaction = self.tables.begin()?;
        let is_more = changes::sweep(&transaction, now)?;
        transaction.commit()?;
        Ok(is_more)
    }
}

impl Batch {
    /// The request and those that wait behind it, as far as they fit into one transaction.
    fn gather(first: Request, requests: &mut mpsc::Receiver<Request>) -> Self {
        let mut batch = Self::default();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Change(change) => {
                    batch.bytes += change.bytes();
                    batch.changes.push(change);
                }
                Request::Close(close) => {
                    batch.close = Some(close);
                    return batch;
                }
            }
            let is_full = batch.changes.len() >= TOGETHER || batch.bytes >= TOGETHER_BYTES;
            next = if is_full { None } else { requests.try_recv().ok() };
        }
        batch
    }
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(put, _) => put.value.len(),
            Self::Delete(..) | Self::RemoveStore { .. } => 0,
            Self::Commit(parts, _) => parts.iter().map(Part::bytes).sum(),
        }
    }

    fn apply(&mut self, transaction: &rusqlite::Transaction, limits: &Limits, now: u64) -> Result<(), rusqlite::Error> {
        match self {
            Self::Put(put, answer) => answer.outcome = Some(changes::put(transaction, put, limits, now)?),
            Self::Delete(at, answer) => answer.outcome = Some(Ok(changes::delete(transaction, at, now)?)),
            Self::RemoveStore { store, answer } => {
                answer.outcome = Some(Ok(changes::remove_store(transaction, store)?));
            }
            Self::Commit(parts, answer) => {
                answer.outcome = Some(Ok(changes::all_or_none(transaction, parts, limits, now)?));
            }
        }
        Ok(())
    }

    fn tell(self) {
        match self {
            Self::Put(_, answer) => answer.tell(),
            Self::Delete(_, answer) | Self::RemoveStore { answer, .. } => answer.tell(),
            Self::Commit(_, answer) => answer.tell(),
        }
    }

    fn fail(self, error: StoreError) {
        match self {
            Self::Put(_, answer) => answer.fail(error),
            Self::Delete(_, answer) | Self::RemoveStore { answer, .. } => answer.fail(error),
            Self::Commit(_, answer) => answer.fail(error),
        }
    }
}

impl Part {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.value.len(),
            Self::Delete(_) => 0,
        }
    }
}
