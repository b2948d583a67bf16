//! What the host must not lose: names, revisions, and what inspection found, in SQLite.

pub(super) mod interfaces;
mod layout;
mod readers;

pub(super) use layout::OpenError;
pub(super) use readers::Readers;

use super::replicas::States;
use super::sites::Takes;
use micro_engine::{Inspection, Manifest};
use rusqlite::{Connection, OptionalExtension, Params, Row, Statement, params};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a change waits for another process to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Revisions that a deployment keeps to roll back to; older ones are forgotten.
pub(super) const KEPT_REVISIONS: u64 = 10;

/// Enough for every statement of a deploy, so that each is compiled once.
const STATEMENTS: usize = 64;

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
    pub(super) manifest: Arc<Manifest>,
    /// Milliseconds since 1970.
    pub(super) deployed_at: i64,
    /// The revision in whose place it came.
    pub(super) previous: Option<u64>,
    pub(super) takes: Takes,
}

/// What a new revision brings.
pub(super) struct NewRevision {
    pub(super) deployment: String,
    pub(super) version: String,
    pub(super) inspection: Arc<Inspection>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) deployed_at: i64,
    /// The share of the calls, in percent, of a revision that is a canary at first.
    pub(super) canary: Option<f64>,
    /// What its instances begin with, in place of what is kept; none leaves that as it is.
    pub(super) states: Option<States>,
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Store, OpenError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // An acknowledged deploy survives the loss of power, not only of the process.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        layout::prepare(&mut connection, path)?;
        Ok(Store { connection })
    }

    /// The id that this data folder was given when it was made.
    pub(super) fn host_id(&self) -> rusqlite::Result<String> {
        self.connection.query_row("SELECT id FROM host", [], |row| row.get(0))
    }

    /// The revision that each deployment runs. Those whose manifests say the same share one.
    pub(super) fn current_revisions(&mut self) -> rusqlite::Result<Vec<RevisionRow>> {
        let mut statement = self.connection.prepare(
            "SELECT r.deployment, r.number, r.version, r.digest, c.size, r.manifest, r.deployed_at, r.previous, r.takes
             FROM deployments d
             JOIN revisions r ON r.deployment = d.name AND r.number = d.revision
             JOIN components c ON c.digest = r.digest",
        )?;
        let mut known: HashMap<String, Arc<Manifest>> = HashMap::new();
        let mut all = Vec::new();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text = row.get_ref(5)?.as_str()?;
            let manifest = match known.get(text) {
                Some(manifest) => manifest.clone(),
                None => {
                    let manifest: Arc<Manifest> = json(row, 5)?;
                    known.insert(text.to_string(), manifest.clone());
                    manifest
                }
            };
            all.push(with_manifest(row, manifest)?);
        }
        Ok(all)
    }

    /// The canary of each deployment that has one, with its share of the calls in percent.
    pub(super) fn canaries(&mut self) -> rusqlite::Result<Vec<(RevisionRow, f64)>> {
        let mut statement = self.connection.prepare(
            "SELECT r.deployment, r.number, r.version, r.digest, c.size, r.manifest, r.deployed_at, r.previous, r.takes, d.canary_percent
             FROM deployments d
             JOIN revisions r ON r.deployment = d.name AND r.number = d.canary
             JOIN components c ON c.digest = r.digest",
        )?;
        statement.query_map([], |row| Ok((revision(row)?, row.get(9)?)))?.collect()
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
            "SELECT r.deployment, r.number, r.version, r.digest, c.size, r.manifest, r.deployed_at, r.previous, r.takes
             FROM revisions r JOIN components c ON c.digest = r.digest
             WHERE r.deployment = ?1 ORDER BY r.number DESC",
        )?;
        statement.query_map([deployment], revision)?.collect()
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
            "INSERT INTO revisions (deployment, number, version, digest, manifest, deployed_at, previous, takes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                new.deployment,
                number,
                new.version,
                new.inspection.digest,
                to_json(&*new.manifest)?,
                new.deployed_at,
                previous,
                Takes::of(&new.inspection).as_str()
            ],
        )?;
        transaction.execute(
            "INSERT INTO inspections VALUES (?1, ?2, ?3)",
            params![new.deployment, number, to_json(&*new.inspection)?],
        )?;
        interfaces::put(&transaction, &new.deployment, number, &new.inspection)?;
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
        let removed = {
            let mut delete = transaction.prepare_cached(
                "DELETE FROM revisions WHERE deployment = ?1 AND number + ?2 <= ?3
                 AND number NOT IN (SELECT revision FROM deployments WHERE name = ?1)
                 AND number NOT IN (SELECT r.previous FROM deployments d
                     JOIN revisions r ON r.deployment = d.name AND r.number = d.revision
                     WHERE d.name = ?1 AND r.previous IS NOT NULL)
                 RETURNING number, digest",
            )?;
            removed(&mut delete, params![new.deployment, KEPT_REVISIONS, number])?
        };
        if let Some(states) = &new.states {
            put_states(&transaction, &new.deployment, states)?;
        }
        let unused = forget(&transaction, &new.deployment, removed)?;
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
        let removed = {
            let mut delete =
                transaction.prepare_cached("DELETE FROM revisions WHERE deployment = ?1 RETURNING number, digest")?;
            removed(&mut delete, params![deployment])?
        };
        transaction.execute("DELETE FROM states WHERE deployment = ?1", [deployment])?;
        transaction.execute("DELETE FROM schedules WHERE deployment = ?1", [deployment])?;
        let unused = forget(&transaction, deployment, removed)?;
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

/// The numbers and digests of the revisions that a statement takes away.
fn removed(delete: &mut Statement<'_>, parameters: impl Params) -> rusqlite::Result<Vec<(u64, String)>> {
    delete.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Forgets the rest of what was known of revisions that are gone. Gives the digests nobody needs now.
fn forget(transaction: &Connection, deployment: &str, revisions: Vec<(u64, String)>) -> rusqlite::Result<Vec<String>> {
    let mut unused = Vec::new();
    for (number, digest) in revisions {
        for table in ["DELETE FROM inspections", "DELETE FROM interfaces"] {
            let mut delete = transaction.prepare_cached(&format!("{table} WHERE deployment = ?1 AND number = ?2"))?;
            delete.execute(params![deployment, number])?;
        }
        // Others may run the same component.
        let mut delete = transaction.prepare_cached(
            "DELETE FROM components WHERE digest = ?1
             AND NOT EXISTS (SELECT 1 FROM revisions WHERE revisions.digest = ?1)",
        )?;
        if delete.execute([&digest])? > 0 {
            unused.push(digest);
        }
    }
    Ok(unused)
}

fn revision(row: &Row<'_>) -> rusqlite::Result<RevisionRow> {
    with_manifest(row, json(row, 5)?)
}

fn with_manifest(row: &Row<'_>, manifest: Arc<Manifest>) -> rusqlite::Result<RevisionRow> {
    Ok(RevisionRow {
        deployment: row.get(0)?,
        number: row.get(1)?,
        version: row.get(2)?,
        digest: row.get(3)?,
        size: row.get(4)?,
        manifest,
        deployed_at: row.get(6)?,
        previous: row.get(7)?,
        takes: takes(row, 8)?,
    })
}

fn takes(row: &Row<'_>, column: usize) -> rusqlite::Result<Takes> {
    let text = row.get_ref(column)?.as_str()?;
    Takes::parse(text).ok_or_else(|| {
        let error = format!("{text:?} is no way to take requests");
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
