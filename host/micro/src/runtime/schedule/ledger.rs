//! What of schedules outlives the host: which runs were due and dealt with, and how the last one went.

use super::plan::LastRun;
use crate::runtime::store::Store;
use micro_mesh::Error;
use rusqlite::{Row, params};
use std::sync::{Arc, Mutex, PoisonError};

/// One schedule of one deployment as the database knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) deployment: String,
    /// What the schedule goes by within its deployment, over all revisions.
    pub(super) key: String,
    /// Every run that was due up to then began or was missed, in milliseconds since 1970.
    pub(super) handled_at: i64,
    pub(super) missed: u64,
    pub(super) last: Option<LastRun>,
}

/// The part of the host's database that is about schedules.
#[derive(Clone)]
pub(super) struct Ledger(Arc<Mutex<Store>>);

impl Ledger {
    pub(super) fn new(store: Arc<Mutex<Store>>) -> Ledger {
        Ledger(store)
    }

    /// Everything that is written down.
    pub(super) async fn read(&self) -> anyhow::Result<Vec<Record>> {
        self.with(Store::schedules).await
    }

    /// Writes these down, each in place of what was known of it.
    pub(super) async fn write(&self, records: Vec<Record>) -> anyhow::Result<()> {
        match records.is_empty() {
            true => Ok(()),
            false => self.with(move |store| store.put_schedules(&records)).await,
        }
    }

    /// Lets these be all that is known of a deployment.
    pub(super) async fn replace(&self, deployment: &str, records: Vec<Record>) -> anyhow::Result<()> {
        let deployment = deployment.to_string();
        self.with(move |store| store.replace_schedules(&deployment, &records)).await
    }

    async fn with<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let store = self.0.clone();
        let run = move || operation(&mut store.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(run).await??)
    }
}

impl Store {
    fn schedules(&mut self) -> rusqlite::Result<Vec<Record>> {
        let mut statement = self.connection.prepare(
            "SELECT s.deployment, s.key, s.handled_at, s.missed, s.last_at, s.took_ms, s.error FROM schedules s
             JOIN deployments d ON d.name = s.deployment",
        )?;
        statement.query_map([], record)?.collect()
    }

    /// Nothing is added for what is not there: a deployment may be gone by now.
    fn put_schedules(&mut self, records: &[Record]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for Record { deployment, key, handled_at, missed, last } in records {
            let (at, took_ms, error) = columns(last.as_ref());
            transaction.execute(
                "UPDATE schedules SET handled_at = ?3, missed = ?4, last_at = ?5, took_ms = ?6, error = ?7
                 WHERE deployment = ?1 AND key = ?2",
                params![deployment, key, handled_at, missed, at, took_ms, error],
            )?;
        }
        transaction.commit()
    }

    fn replace_schedules(&mut self, deployment: &str, records: &[Record]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM schedules WHERE deployment = ?1", [deployment])?;
        for Record { deployment, key, handled_at, missed, last } in records {
            let (at, took_ms, error) = columns(last.as_ref());
            transaction.execute(
                "INSERT INTO schedules (deployment, key, handled_at, missed, last_at, took_ms, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![deployment, key, handled_at, missed, at, took_ms, error],
            )?;
        }
        transaction.commit()
    }
}

/// The columns of a last run, with the error in the form that travels.
fn columns(last: Option<&LastRun>) -> (Option<i64>, Option<u64>, Option<String>) {
    let error = last.and_then(|last| last.error.as_ref()).map(Error::to_string);
    (last.map(|last| last.at), last.map(|last| last.took_ms), error)
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let (at, took_ms): (Option<i64>, Option<u64>) = (row.get(4)?, row.get(5)?);
    let error: Option<String> = row.get(6)?;
    let last = at.zip(took_ms).map(|(at, took_ms)| LastRun { at, took_ms, error: error.as_deref().map(Error::parse) });
    Ok(Record { deployment: row.get(0)?, key: row.get(1)?, handled_at: row.get(2)?, missed: row.get(3)?, last })
}
