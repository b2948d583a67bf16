//! Connections that only read, lent to one read after the other.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::super::{BrokerError, closed};
use super::tables;
use crate::sqlite;

/// Reads that may happen at once. A page takes less than a millisecond unless the disk is asked.
const READERS: u32 = 3;

pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    /// A permit for each connection, so that whoever has one finds a connection.
    turns: Arc<Semaphore>,
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
    pub(super) fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let idle: Vec<_> =
            (0..READERS).map(|_| sqlite::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), turns: Arc::new(Semaphore::new(READERS as usize)) })
    }

    /// Runs a read on a thread that may wait for the disk. It sees all that was committed before it begins.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| closed())?;
        let connection = lock(&self.idle).pop();
        let loan = Loan { connection, idle: Arc::clone(&self.idle), _turn: turn };
        match spawn_blocking(move || loan.connection.as_ref().map(read)).await {
            Ok(Some(result)) => result.map_err(|error| tables::unavailable("read", &error)),
            Ok(None) => Err(closed()),
            Err(error) => Err(BrokerError::Unavailable(format!("read the broker's file: {error}"))),
        }
    }

    /// Waits for the reads that run, and closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(_all) = self.turns.acquire_many(READERS).await {
            lock(&self.idle).clear();
            self.turns.close();
        }
    }
}

/// Connections are put in and taken out whole, so a poisoned lock is as good as any.
fn lock(idle: &Mutex<Vec<Connection>>) -> MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
