//! Connections that only read: what a call or a listing needs does not wait for a deploy to reach the disk.

use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Connections that are kept when nobody reads.
const KEPT: usize = 4;
/// What each may keep of the file, in kibibytes: what is read twice is in the system's cache.
const CACHE_KIB: i64 = 256;
/// Enough for every statement that reads, so that each is compiled once per connection.
const STATEMENTS: usize = 16;

/// Connections to the host's database, made as they are needed.
pub(in crate::runtime) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Readers of a database that is there.
    pub(in crate::runtime) fn new(path: &Path) -> Readers {
        Readers { path: path.to_path_buf(), idle: Mutex::default() }
    }

    /// Reads what was committed before this began. It may wait for the disk: not for a thread that serves others.
    pub(in crate::runtime) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let found = read(&connection);
        let mut idle = self.idle();
        if idle.len() < KEPT {
            idle.push(connection);
        }
        found
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(super::BUSY_TIMEOUT)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    /// Connections are taken out and put in whole, so a poisoned lock is as good as any.
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
