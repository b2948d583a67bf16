//! What backends with a SQLite file have in common: how it is opened, and whether it is theirs.

mod readers;

pub(crate) use readers::{ReadError, Readers};

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

/// The flags of a connection that writes, and makes the file if there is none.
pub(crate) const WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_CREATE);

/// How long to wait for another process that is writing. Our writes take milliseconds; a backup may take longer.
const BUSY: Duration = Duration::from_secs(5);
/// Between two tries where SQLite itself does not wait.
const GLANCE: Duration = Duration::from_millis(5);
/// Enough for every statement of a backend, so that each is compiled once per connection.
const STATEMENTS: usize = 32;

/// What a backend's file looks like.
pub(crate) struct Layout {
    /// A file with a higher number comes from a newer program.
    pub(crate) number: i64,
    /// Makes the tables in an empty file.
    pub(crate) create: &'static str,
    /// `FULL`, or `NORMAL` where the last moments before a power cut may be lost.
    pub(crate) synchronous: &'static str,
}

/// Opens a connection. The flags leave out that a path that begins with `file:` is read as a URI.
pub(crate) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    // As an absolute path no name means something else to SQLite, as `:memory:` does.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Sets a file up, with its tables if it is empty. The error is a text for a person, without the path; a file that is not
/// the backend's is left as it is.
pub(crate) fn prepare(connection: &mut Connection, layout: &Layout) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    // The journal's mode stays with the file, so others are refused before.
    is_empty(connection, layout)?;
    write_ahead(connection).map_err(text)?;
    connection.pragma_update(None, "synchronous", layout.synchronous).map_err(text)?;
    let change = begin(connection).map_err(text)?;
    // Another process may have made the tables meanwhile.
    if is_empty(&change, layout)? {
        change.execute_batch(layout.create).map_err(text)?;
        change.pragma_update(None, "user_version", layout.number).map_err(text)?;
    }
    change.commit().map_err(text)
}

/// Takes the write lock at once: a transaction that reads first and writes later could fail in between.
pub(crate) fn begin(connection: &mut Connection) -> Result<Transaction<'_>, rusqlite::Error> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// What a backend's file that fails is to a caller, in words.
pub(crate) fn failure(what: &str, doing: &str, error: &rusqlite::Error) -> String {
    let way_out = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; free room on its disk",
        Some(ErrorCode::SystemIoFailure) => "; see that its disk has room and can be written, then try again",
        _ if is_held(error) => "; another process holds it, try again",
        _ => "",
    };
    format!("{doing} the {what}'s file: {error}{way_out}")
}

/// Whether another process has the file for itself.
pub(crate) fn is_held(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Gives the file a write-ahead log. SQLite does not wait here for others that are just looking at the file.
#[expect(clippy::disallowed_methods, reason = "files are opened on threads that may block")]
fn write_ahead(connection: &Connection) -> Result<(), rusqlite::Error> {
    let began = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && began.elapsed() < BUSY => {
                std::thread::sleep(GLANCE);
            }
            outcome => return outcome,
        }
    }
}

/// Whether the file has no tables yet; fails if it has some that are not ours.
fn is_empty(connection: &Connection, layout: &Layout) -> Result<bool, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let known = layout.number;
    // In this order: another process that makes the tables between the two looks makes them ours.
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(text)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(text)?;
    if found == known {
        return Ok(false);
    }
    if found != 0 {
        return Err(format!(
            "the file has layout {found}, this program knows {known}: use the newer program that wrote it"
        ));
    }
    if tables > 0 {
        return Err("the file is a database of something else, choose another path".to_owned());
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { number: 3, create: "CREATE TABLE ours (x)", synchronous: "NORMAL" };

    #[test]
    fn a_file_of_something_else_keeps_its_journal_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
        let before = std::fs::read(&path).unwrap();
        let mut connection = connect(&path, WRITE).unwrap();
        assert!(prepare(&mut connection, &LAYOUT).unwrap_err().contains("something else"));
        drop(connection);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_is_set_up_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for _ in 0..2 {
            prepare(&mut connect(&path, WRITE).unwrap(), &LAYOUT).unwrap();
        }
        let newer = Layout { number: 2, ..LAYOUT };
        let error = prepare(&mut connect(&path, WRITE).unwrap(), &newer).unwrap_err();
        assert!(error.contains("layout 3, this program knows 2"), "{error}");
    }
}
