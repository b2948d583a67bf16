//! Connections that only read, lent to one read after the other.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::{connect, failure};

/// The connections of one backend.
pub(crate) struct Readers {
    /// What the file is, as in `store`.
    what: &'static str,
    /// Reads that may happen at once; each connection has a cache.
    count: u32,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// A permit for each connection, so that whoever has one finds a connection.
    turns: Arc<Semaphore>,
}

/// Why nothing was read.
pub(crate) enum ReadError {
    /// The backend was closed.
    Closed,
    /// The file failed, in words for a caller.
    Failed(String),
}

/// A connection on loan. It goes back even if the read panics, and before the permit does.
struct Loan {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Loan {
    fn drop(&mut self) {
        lock(&self.idle).extend(self.connection.take());
    }
}

impl Readers {
    pub(crate) fn open(what: &'static str, path: &Path, count: u32) -> Result<Self, rusqlite::Error> {
        let open = |_| connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let idle = Arc::new(Mutex::new((0..count).map(open).collect::<Result<_, _>>()?));
        Ok(Self { what, count, idle, turns: Arc::new(Semaphore::new(count as usize)) })
    }

    /// Runs a read on a thread that may wait for the disk. It sees all that was committed before it begins.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, ReadError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| ReadError::Closed)?;
        let connection = lock(&self.idle).pop();
        let loan = Loan { connection, idle: Arc::clone(&self.idle), _turn: turn };
        let done = spawn_blocking(move || loan.connection.as_ref().map(read));
        match done.await {
            Ok(Some(result)) => result.map_err(|error| ReadError::Failed(failure(self.what, "read", &error))),
            Ok(None) => Err(ReadError::Closed),
            Err(error) => Err(ReadError::Failed(format!("read the {}'s file: {error}", self.what))),
        }
    }

    /// Waits for the reads that run, and closes the connections.
    pub(crate) async fn close(&self) {
        if let Ok(_all) = self.turns.acquire_many(self.count).await {
            lock(&self.idle).clear();
            self.turns.close();
        }
    }
}

/// Connections are put in and taken out whole, so a poisoned lock is as good as any.
fn lock(idle: &Mutex<Vec<Connection>>) -> MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
