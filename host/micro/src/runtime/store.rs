//! What the host must not lose: names, revisions, and what inspection found, in SQLite.

use super::replicas::States;
use micro_engine::{Inspection, Manifest};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a change waits for another process to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Revisions that a deployment keeps to roll back to; older ones are forgotten.
pub(super) const KEPT_REVISIONS: u64 = 10;

/// The layout of the tables, counted up with each change.
const SCHEMA_VERSION: i64 = 3;

const SCHEMA: &str = "
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
    inspection TEXT NOT NULL,
    manifest TEXT NOT NULL,
    deployed_at INTEGER NOT NULL,
    previous INTEGER,
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

/// The database, on one connection.
pub(super) struct Store {
    pub(super) connection: Connection,
}

/// A revision as the database knows it.
#[derive(Debug, Clone)]
pub(super) struct RevisionRow {
    pub(super) deployment: String,
    pub(super) number: u64,
    pub(super) version: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) manifest: Manifest,
    /// Milliseconds since 1970.
    pub(super) deployed_at: i64,
    /// The revision in whose place it came.
    pub(super) previous: Option<u64>,
}

/// What a new revision brings.
pub(super) struct NewRevision {
    pub(super) deployment: String,
    pub(super) version: String,
    pub(super) inspection: Inspection,
    pub(super) manifest: Manifest,
    pub(super) deployed_at: i64,
    /// The share of the calls, in percent, of a revision that is a canary at first.
    pub(super) canary: Option<f64>,
    /// What its instances begin with, in place of what is kept; none leaves that as it is.
    pub(super) states: Option<States>,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("{path} was written by a newer micro (layout {layout}, this one knows {SCHEMA_VERSION})", path = path.display())]
    Newer { path: PathBuf, layout: i64 },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Store, OpenError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // An acknowledged deploy survives the loss of power, not only of the process.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => {
                let transaction = connection.transaction()?;
                transaction.execute_batch(SCHEMA)?;
                transaction.execute_batch(STATES)?;
                transaction.execute("INSERT INTO host VALUES (?1)", [uuid::Uuid::new_v4().to_string()])?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                transaction.commit()?;
            }
            1 | 2 => {
                let transaction = connection.transaction()?;
                if version == 1 {
                    transaction.execute_batch(FROM_1_TO_2)?;
                    transaction.execute_batch(STATES)?;
                }
                transaction.execute_batch(FROM_2_TO_3)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                transaction.commit()?;
            }
            SCHEMA_VERSION => {}
            layout => return Err(OpenError::Newer { path: path.to_path_buf(), layout }),
        }
        Ok(Store { connection })
    }

    /// The id that this data folder was given when it was made.
    pub(super) fn host_id(&self) -> rusqlite::Result<String> {
        self.connection.query_row("SELECT id FROM host", [], |row| row.get(0))
    }

    /// The revision that each deployment runs.
    pub(super) fn current_revisions(&mut self) -> rusqlite::Result<Vec<RevisionRow>> {
        let mut statement = self.connection.prepare(
            "SELECT r.deployment, r.number, r.version, r.digest, c.size, r.manifest, r.deployed_at, r.previous
             FROM deployments d
             JOIN revisions r ON r.deployment = d.name AND r.number = d.revision
             JOIN components c ON c.digest = r.digest",
        )?;
        statement.query_map([], revision)?.collect()
    }

    /// The canary of each deployment that has one, with its share of the calls in percent.
    pub(super) fn canaries(&mut self) -> rusqlite::Result<Vec<(RevisionRow, f64)>> {
        let mut statement = self.connection.prepare(
            "SELECT r.deployment, r.number, r.version, r.digest, c.size, r.manifest, r.deployed_at, r.previous, d.canary_percent
             FROM deployments d
             JOIN revisions r ON r.deployment = d.name AND r.number = d.canary
             JOIN components c ON c.digest = r.digest",
        )?;
        statement.query_map([], |row| Ok((revision(row)?, row.get(8)?)))?.collect()
    }

    /// What the instances of a service saved when they last handed over, by their places.
    pub(super) fn states(&mut self, deployment: &str) -> rusqlite::Result<States> {
        let mut statement =
            self.connection.prepare("SELECT replica, state FROM states WHERE deployment = ?1 ORDER BY replica")?;
        let mut states = States::new();
        let mut rows = statement.query([deployment])?;
        while let Some(row) = rows.next()? {
            states.resize(row.get(0)?, None);
            states.push(row.get(1)?);
        }
        Ok(states)
    }

    /// Keeps what the instances of a service saved, in place of what they saved before.
    pub(super) fn set_states(&mut self, deployment: &str, states: &[Option<Vec<u8>>]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        put_states(&transaction, deployment, states)?;
        transaction.commit()
    }

    /// The components that some revision needs.
    pub(super) fn digests(&mut self) -> rusqlite::Result<HashSet<String>> {
        let mut statement = self.connection.prepare("SELECT digest FROM components")?;
        statement.query_map([], |row| row.get(0))?.collect()
    }

    /// The kept revisions of one deployment, newest first.
    pub(super) fn revisions(&mut self, deployment: &str) -> rusqlite::Result<Vec<RevisionRow>> {
        let mut statement = self.connection.prepare(
            "SELECT r.deployment, r.number, r.version, r.digest, c.size, r.manifest, r.deployed_at, r.previous
             FROM revisions r JOIN components c ON c.digest = r.digest
             WHERE r.deployment = ?1 ORDER BY r.number DESC",
        )?;
        statement.query_map([deployment], revision)?.collect()
    }

    /// What inspection found in one revision's component.
    pub(super) fn inspection(&mut self, deployment: &str, number: u64) -> rusqlite::Result<Option<Inspection>> {
        let mut statement =
            self.connection.prepare_cached("SELECT inspection FROM revisions WHERE deployment = ?1 AND number = ?2")?;
        statement.query_row(params![deployment, number], |row| json(row, 0)).optional()
    }

    /// Adds a revision and makes it the current one, or the canary, in one step. Gives its number, that of the
    /// revision in whose place it came, and the digests nobody needs now.
    pub(super) fn add_revision(&mut self, new: &NewRevision) -> rusqlite::Result<(u64, Option<u64>, Vec<String>)> {
        let transaction = self.connection.transaction()?;
        let number: u64 = transaction
            .query_row("SELECT next_revision FROM deployments WHERE name = ?1", [&new.deployment], |row| row.get(0))
            .optional()?
            .unwrap_or(1);
        // A canary comes in nobody's place yet.
        let previous: Option<u64> = match new.canary {
            Some(_) => None,
            None => transaction
                .query_row("SELECT revision FROM deployments WHERE name = ?1", [&new.deployment], |row| row.get(0))
                .optional()?,
        };
        transaction.execute(
            "INSERT INTO components VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![new.inspection.digest, new.inspection.size as u64, new.inspection.engine.as_str()],
        )?;
        transaction.execute(
            "INSERT INTO revisions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                new.deployment,
                number,
                new.version,
                new.inspection.digest,
                to_json(&new.inspection)?,
                to_json(&new.manifest)?,
                new.deployed_at,
                previous
            ],
        )?;
        match new.canary {
            None => transaction.execute(
                "INSERT INTO deployments (name, revision, next_revision) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, next_revision = excluded.next_revision,
                     canary = NULL, canary_percent = NULL",
                params![new.deployment, number, number + 1],
            )?,
            Some(percent) => transaction.execute(
                "UPDATE deployments SET next_revision = ?3, canary = ?2, canary_percent = ?4 WHERE name = ?1",
                params![new.deployment, number, number + 1, percent],
            )?,
        };
        transaction.execute(
            "DELETE FROM revisions WHERE deployment = ?1 AND number + ?2 <= ?3
             AND number NOT IN (SELECT revision FROM deployments WHERE name = ?1)
             AND number NOT IN (SELECT r.previous FROM deployments d
                 JOIN revisions r ON r.deployment = d.name AND r.number = d.revision
                 WHERE d.name = ?1 AND r.previous IS NOT NULL)",
            params![new.deployment, KEPT_REVISIONS, number],
        )?;
        if let Some(states) = &new.states {
            put_states(&transaction, &new.deployment, states)?;
        }
        let unused = remove_unused(&transaction)?;
        transaction.commit()?;
        Ok((number, previous, unused))
    }

    /// The number that the next revision gets.
    pub(super) fn next_number(&mut self, deployment: &str) -> rusqlite::Result<u64> {
        let mut statement = self.connection.prepare("SELECT next_revision FROM deployments WHERE name = ?1")?;
        Ok(statement.query_row([deployment], |row| row.get(0)).optional()?.unwrap_or(1))
    }

    /// Makes a kept revision the current one; there is no canary then. `states` is what its instances begin with, in
    /// place of what is kept.
    pub(super) fn set_current(
        &mut self,
        deployment: &str,
        number: u64,
        states: Option<&[Option<Vec<u8>>]>,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "UPDATE revisions SET previous = (SELECT revision FROM deployments WHERE name = ?1)
             WHERE deployment = ?1 AND number = ?2 AND previous IS NULL
             AND number > (SELECT revision FROM deployments WHERE name = ?1)",
            params![deployment, number],
        )?;
        transaction.execute(
            "UPDATE deployments SET revision = ?2, canary = NULL, canary_percent = NULL WHERE name = ?1",
            params![deployment, number],
        )?;
        if let Some(states) = states {
            put_states(&transaction, deployment, states)?;
        }
        transaction.commit()
    }

    /// Forgets a deployment with all its revisions. Gives the digests nobody needs now.
    pub(super) fn remove(&mut self, deployment: &str) -> rusqlite::Result<Vec<String>> {
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM deployments WHERE name = ?1", [deployment])?;
        transaction.execute("DELETE FROM revisions WHERE deployment = ?1", [deployment])?;
        transaction.execute("DELETE FROM states WHERE deployment = ?1", [deployment])?;
        transaction.execute("DELETE FROM schedules WHERE deployment = ?1", [deployment])?;
        let unused = remove_unused(&transaction)?;
        transaction.commit()?;
        Ok(unused)
    }
}

fn put_states(transaction: &Connection, deployment: &str, states: &[Option<Vec<u8>>]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM states WHERE deployment = ?1", [deployment])?;
    for (replica, state) in states.iter().enumerate() {
        let Some(state) = state else { continue };
        transaction.execute("INSERT INTO states VALUES (?1, ?2, ?3)", params![deployment, replica as u64, state])?;
    }
    Ok(())
}

fn remove_unused(transaction: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = transaction
        .prepare("DELETE FROM components WHERE digest NOT IN (SELECT digest FROM revisions) RETURNING digest")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn revision(row: &Row<'_>) -> rusqlite::Result<RevisionRow> {
    Ok(RevisionRow {
        deployment: row.get(0)?,
        number: row.get(1)?,
        version: row.get(2)?,
        digest: row.get(3)?,
        size: row.get(4)?,
        manifest: json(row, 5)?,
        deployed_at: row.get(6)?,
        previous: row.get(7)?,
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
