//! The tables of the host's database, and how those of older programs become them.

use super::{Takes, interfaces};
use micro_engine::Inspection;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};

/// The layout of the tables, counted up with each change.
const VERSION: i64 = 4;

/// What a start of the host reads is in small rows, apart from what inspection found: ten thousand of them are read in
/// a few milliseconds.
const TABLES: &str = "
CREATE TABLE host (id TEXT NOT NULL);
CREATE TABLE components (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    engine TEXT NOT NULL
);
CREATE TABLE revisions (
    deployment TEXT NOT NULL,
    number INTEGER NOT NULL,
    version TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES components (digest),
    manifest TEXT NOT NULL,
    deployed_at INTEGER NOT NULL,
    previous INTEGER,
    takes TEXT NOT NULL,
    PRIMARY KEY (deployment, number)
) WITHOUT ROWID;
CREATE TABLE deployments (
    name TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    next_revision INTEGER NOT NULL,
    canary INTEGER,
    canary_percent REAL
) WITHOUT ROWID;
";

/// What layout 2 adds: canaries, what services saved for their successors, and how schedules went.
const FROM_1_TO_2: &str = "
ALTER TABLE deployments ADD COLUMN canary INTEGER;
ALTER TABLE deployments ADD COLUMN canary_percent REAL;
";

/// What layout 3 adds: the revision in whose place each came, which is what a rollback goes to.
const FROM_2_TO_3: &str = "
ALTER TABLE revisions ADD COLUMN previous INTEGER;
UPDATE revisions SET previous = (SELECT MAX(o.number) FROM revisions o
    WHERE o.deployment = revisions.deployment AND o.number < revisions.number);
";

/// What layout 4 changes: inspections have a table of their own; who exports and who imports an interface can be looked
/// up, and so can how each revision takes requests.
const FROM_3_TO_4: &str = "
INSERT INTO inspections SELECT deployment, number, inspection FROM revisions;
ALTER TABLE revisions DROP COLUMN inspection;
ALTER TABLE revisions ADD COLUMN takes TEXT NOT NULL DEFAULT '';
";

const STATES: &str = "
CREATE TABLE states (
    deployment TEXT NOT NULL,
    replica INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (deployment, replica)
) WITHOUT ROWID;
CREATE TABLE schedules (
    deployment TEXT NOT NULL,
    key TEXT NOT NULL,
    handled_at INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    last_at INTEGER,
    took_ms INTEGER,
    error TEXT,
    PRIMARY KEY (deployment, key)
) WITHOUT ROWID;
";

/// Interfaces are without their versions, and those that the host itself gives are not among them.
const INSPECTIONS: &str = "
CREATE TABLE inspections (
    deployment TEXT NOT NULL,
    number INTEGER NOT NULL,
    inspection TEXT NOT NULL,
    PRIMARY KEY (deployment, number)
);
CREATE TABLE interfaces (
    interface TEXT NOT NULL,
    is_import INTEGER NOT NULL,
    deployment TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (interface, is_import, deployment, number)
) WITHOUT ROWID;
CREATE INDEX interfaces_by_revision ON interfaces (deployment, number);
CREATE INDEX revisions_by_digest ON revisions (digest);
";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::runtime) enum OpenError {
    #[error("{path} was written by a newer micro (layout {layout}, this one knows {VERSION})", path = path.display())]
    Newer { path: PathBuf, layout: i64 },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Makes the tables, or brings older ones to this layout, in one step.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    match version {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.execute_batch(STATES)?;
            transaction.execute_batch(INSPECTIONS)?;
            transaction.execute("INSERT INTO host VALUES (?1)", [uuid::Uuid::new_v4().to_string()])?;
        }
        1..VERSION => {
            if version == 1 {
                transaction.execute_batch(FROM_1_TO_2)?;
                transaction.execute_batch(STATES)?;
            }
            if version <= 2 {
                transaction.execute_batch(FROM_2_TO_3)?;
            }
            transaction.execute_batch(INSPECTIONS)?;
            transaction.execute_batch(FROM_3_TO_4)?;
            read_inspections(&transaction)?;
        }
        layout => return Err(OpenError::Newer { path: path.to_path_buf(), layout }),
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

/// Notes what the kept revisions of a host that did not do so export and import, and how they take requests.
fn read_inspections(transaction: &Connection) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare("SELECT deployment, number, inspection FROM inspections")?;
    let mut rows = statement.query(params![])?;
    while let Some(row) = rows.next()? {
        let (deployment, number): (String, u64) = (row.get(0)?, row.get(1)?);
        let inspection: Inspection = super::json(row, 2)?;
        interfaces::put(transaction, &deployment, number, &inspection)?;
        transaction.execute(
            "UPDATE revisions SET takes = ?3 WHERE deployment = ?1 AND number = ?2",
            params![deployment, number, Takes::of(&inspection).as_str()],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    /// A database as the program of layout 3 left it.
    const OLD: &str = r#"
        CREATE TABLE host (id TEXT NOT NULL);
        CREATE TABLE components (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, engine TEXT NOT NULL);
        CREATE TABLE revisions (deployment TEXT NOT NULL, number INTEGER NOT NULL, version TEXT NOT NULL,
            digest TEXT NOT NULL REFERENCES components (digest), inspection TEXT NOT NULL, manifest TEXT NOT NULL,
            deployed_at INTEGER NOT NULL, previous INTEGER, PRIMARY KEY (deployment, number)) WITHOUT ROWID;
        CREATE TABLE deployments (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, next_revision INTEGER NOT NULL,
            canary INTEGER, canary_percent REAL) WITHOUT ROWID;
        INSERT INTO host VALUES ('h');
        INSERT INTO components VALUES ('sha256:00', 7, 'lean');
        INSERT INTO deployments VALUES ('users', 2, 3, NULL, NULL);
        INSERT INTO revisions VALUES ('users', 2, '1.0', 'sha256:00',
            '{"digest":"sha256:00","size":7,"manifest":null,"imports":[],"endpoints":[],"other_exports":[],
              "needs":[{"interface":"demo:users/directory@0.1.0","functions":[]}],"engine":"lean"}',
            '{}', 5, 1);
    "#;

    #[test]
    fn what_an_older_program_wrote_is_still_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("micro.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(OLD).unwrap();
        old.execute_batch(STATES).unwrap();
        old.pragma_update(None, "user_version", 3).unwrap();
        drop(old);
        let mut store = Store::open(&path).unwrap();
        let row = store.current_revisions().unwrap().remove(0);
        assert_eq!((&*row.deployment, row.number, row.size, row.previous), ("users", 2, 7, Some(1)));
        assert_eq!(row.takes, Takes::Calls);
        let inspection = interfaces::inspection(&store.connection, "users", 2).unwrap().unwrap();
        assert_eq!(&*inspection.needs[0].interface, "demo:users/directory@0.1.0");
        assert_eq!(interfaces::importers(&store.connection, "demo:users/directory").unwrap(), ["users"]);
        drop(store);
        assert!(Store::open(&path).unwrap().current_revisions().unwrap().len() == 1, "and again");
    }
}
