//! The registry's tables and what is done to them, one transaction per change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::WallMillis;
use crate::record::{Node, Service};
use crate::registry::{Action, Event};
use crate::sqlite::{self, Layout, begin};

/// What went wrong with the file, as text for a person; no caller can do anything about one kind only.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// With a write-ahead log this loses nothing when the process dies; after a power cut the file is whole and may lack the
/// last moments, which services that renew themselves repair.
const LAYOUT: Layout = Layout { number: 1, create: CREATE, synchronous: "NORMAL" };

/// `record` holds whole records, `lease` the nodes that go away by themselves, and `change` the latest events,
/// numbered without gaps, for watchers in other processes.
const CREATE: &str = "
    CREATE TABLE record (
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (name, version)
    );
    CREATE TABLE lease (
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        node TEXT NOT NULL,
        expires INTEGER NOT NULL,
        PRIMARY KEY (name, version, node)
    ) WITHOUT ROWID;
    CREATE INDEX lease_by_expiry ON lease (expires);
    CREATE TABLE change (
        number INTEGER PRIMARY KEY,
        action TEXT NOT NULL,
        body TEXT NOT NULL
    );
";

/// How many events are kept for processes that were slow to look; who is further behind lists again.
const CHANGES_KEPT: i64 = 16_384;
/// How many changes come between two removals of old ones.
const TRIM_EVERY: i64 = 1_024;
/// The pause before due nodes are tried to be removed again after that failed.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Tables {
    connection: Connection,
    /// SQLite's counter of changes made by other connections, as of the last look.
    foreign: i64,
    /// The number of the last change that [`changes`](Self::changes) gave or is about to.
    told: i64,
    /// Own changes that came directly after that number, kept to spare reading them back.
    untold: Vec<Event>,
    /// Whether the file may hold changes beyond these.
    unread: bool,
    /// No node is due before this.
    earliest: Option<WallMillis>,
}

impl Tables {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let mut connection = sqlite::connect(path, sqlite::WRITE)?;
        sqlite::prepare(&mut connection, &LAYOUT)?;

        let mut tables = Self { connection, foreign: 0, told: 0, untold: Vec::new(), unread: false, earliest: None };
        tables.foreign = tables.foreign_changes()?;
        tables.find_earliest()?;
        tables.skip_changes()?;
        Ok(tables)
    }

    /// When [`expire`](Self::expire) has something to do again, as far as known.
    pub(super) fn earliest_expiry(&self) -> Option<WallMillis> {
        self.earliest
    }

    /// Looks for changes of other processes, and removes nodes whose time has passed.
    pub(super) fn notice(&mut self, now: WallMillis) -> Result<(), Failure> {
        let foreign = self.foreign_changes()?;
        if foreign != self.foreign {
            self.foreign = foreign;
            self.unread = true;
            self.find_earliest()?;
        }
        self.expire(now)
    }

    /// Removes nodes whose time has passed.
    pub(super) fn expire(&mut self, now: WallMillis) -> Result<(), Failure> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Ok(());
        }
        let expired = self.remove_due(now).and_then(|()| self.find_earliest());
        if expired.is_err() {
            self.earliest = Some(now.after(RETRY));
        }
        expired
    }

    pub(super) fn register(&mut self, services: &[Arc<Service>], expires: Option<WallMillis>) -> Result<(), Failure> {
        let change = begin(&mut self.connection)?;
        let mut logged = Vec::new();
        for service in services {
            let known = record(&change, &service.name, &service.version)?;
            let action = if known.is_some() { Action::Update } else { Action::Create };
            let mut merged = known.unwrap_or_else(|| Service::new(&service.name, &service.version));
            if merged.merge(service) {
                write(&change, &merged)?;
                logged.push(log(&change, Event { action, service: Arc::clone(service) })?);
            }
            for node in &service.nodes {
                lease(&change, service, &node.id, expires)?;
            }
        }
        change.commit()?;
        self.earliest = self.earliest.into_iter().chain(expires).min();
        self.keep(logged);
        Ok(())
    }

    pub(super) fn deregister(&mut self, service: &Service) -> Result<(), Failure> {
        let change = begin(&mut self.connection)?;
        let removed = remove(&change, &service.name, &service.version, &service.nodes)?;
        change.commit()?;
        self.keep(removed);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Result<Vec<Service>, Failure> {
        let mut select = self.connection.prepare_cached("SELECT body FROM record WHERE name = ?1 ORDER BY version")?;
        let mut rows = select.query([name])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(parse(row.get_ref(0)?.as_str()?)?);
        }
        Ok(records)
    }

    pub(super) fn list(&self) -> Result<Vec<Service>, Failure> {
        let mut select = self.connection.prepare_cached("SELECT body FROM record ORDER BY name, version")?;
        let mut rows = select.query([])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(parse(row.get_ref(0)?.as_str()?)?);
        }
        Ok(records)
    }

    /// The changes since the last call. Fails when some are gone already, and then the caller has to start over.
    pub(super) fn changes(&mut self) -> Result<Vec<Event>, Failure> {
        let mut events = std::mem::take(&mut self.untold);
        if !self.unread {
            return Ok(events);
        }
        let mut select = self
            .connection
            .prepare_cached("SELECT number, action, body FROM change WHERE number > ?1 ORDER BY number")?;
        let mut rows = select.query([self.told])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            if number != self.told + 1 {
                return Err("too many changes since the last look".into());
            }
            let action = action(row.get_ref(1)?.as_str()?)?;
            let service = parse(row.get_ref(2)?.as_str()?)?;
            events.push(Event { action, service: service.into() });
            self.told = number;
        }
        self.unread = false;
        Ok(events)
    }

    /// Drops the own changes that [`changes`](Self::changes) would give, for when nobody listens.
    pub(super) fn forget_changes(&mut self) {
        self.untold.clear();
    }

    /// Counts all changes so far as told.
    pub(super) fn skip_changes(&mut self) -> Result<(), Failure> {
        self.told = self
            .connection
            .prepare_cached("SELECT coalesce(max(number), 0) FROM change")?
            .query_row([], |row| row.get(0))?;
        self.untold.clear();
        self.unread = false;
        Ok(())
    }

    /// Remembers a change that was just committed, unless another process came in between: then the file has to
    /// be read for the order to be right.
    fn keep(&mut self, logged: impl IntoIterator<Item = Logged>) {
        for Logged { number, event } in logged {
            if !self.unread && number == self.told + 1 {
                self.told = number;
                self.untold.push(event);
            } else {
                self.unread = true;
            }
        }
    }

    fn foreign_changes(&self) -> Result<i64, Failure> {
        let mut select = self.connection.prepare_cached("PRAGMA data_version")?;
        Ok(select.query_row([], |row| row.get(0))?)
    }

    fn find_earliest(&mut self) -> Result<(), Failure> {
        let mut select = self.connection.prepare_cached("SELECT min(expires) FROM lease")?;
        let earliest: Option<i64> = select.query_row([], |row| row.get(0))?;
        self.earliest = earliest.map(WallMillis);
        Ok(())
    }

    fn remove_due(&mut self, now: WallMillis) -> Result<(), Failure> {
        let change = begin(&mut self.connection)?;
        let due: Vec<(String, String, String)> = {
            let mut select =
                change.prepare_cached("SELECT name, version, node FROM lease WHERE expires <= ?1 ORDER BY expires")?;
            let due = select.query_map([now.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            due.collect::<Result<_, _>>()?
        };
        let mut logged = Vec::new();
        for (name, version, id) in due {
            let node = Node { id, ..Node::default() };
            logged.extend(remove(&change, &name, &version, &[node])?);
        }
        change.commit()?;
        self.keep(logged);
        Ok(())
    }
}

/// An event and its number in the file.
struct Logged {
    number: i64,
    event: Event,
}

fn record(change: &Transaction, name: &str, version: &str) -> Result<Option<Service>, Failure> {
    let mut select = change.prepare_cached("SELECT body FROM record WHERE name = ?1 AND version = ?2")?;
    let body: Option<String> = select.query_row([name, version], |row| row.get(0)).optional()?;
    body.as_deref().map(parse).transpose()
}

fn write(change: &Transaction, service: &Service) -> Result<(), Failure> {
    change
        .prepare_cached(
            "INSERT INTO record (name, version, body) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET body = excluded.body",
        )?
        .execute(params![service.name, service.version, serde_json::to_string(service)?])?;
    Ok(())
}

fn lease(change: &Transaction, service: &Service, node: &str, expires: Option<WallMillis>) -> Result<(), Failure> {
    let Some(WallMillis(expires)) = expires else {
        return end_lease(change, &service.name, &service.version, node);
    };
    change
        .prepare_cached(
            "INSERT INTO lease (name, version, node, expires) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET expires = excluded.expires",
        )?
        .execute(params![service.name, service.version, node, expires])?;
    Ok(())
}

fn end_lease(change: &Transaction, name: &str, version: &str, node: &str) -> Result<(), Failure> {
    change
        .prepare_cached("DELETE FROM lease WHERE name = ?1 AND version = ?2 AND node = ?3")?
        .execute([name, version, node])?;
    Ok(())
}

/// Takes nodes away, all when none is given; `None` when there were none of them.
fn remove(change: &Transaction, name: &str, version: &str, nodes: &[Node]) -> Result<Option<Logged>, Failure> {
    // A lease whose node is not in the record would come up as due for ever.
    for node in nodes {
        end_lease(change, name, version, &node.id)?;
    }
    let Some(mut kept) = record(change, name, version)? else {
        return Ok(None);
    };
    let gone = kept.take_nodes(nodes);
    if gone.is_empty() {
        return Ok(None);
    }
    for node in &gone {
        end_lease(change, name, version, &node.id)?;
    }
    if kept.nodes.is_empty() {
        change.prepare_cached("DELETE FROM record WHERE name = ?1 AND version = ?2")?.execute([name, version])?;
    } else {
        write(change, &kept)?;
    }
    let service = Arc::new(Service { nodes: gone, ..kept });
    log(change, Event { action: Action::Delete, service }).map(Some)
}

fn log(change: &Transaction, event: Event) -> Result<Logged, Failure> {
    let action = match event.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    change
        .prepare_cached("INSERT INTO change (action, body) VALUES (?1, ?2)")?
        .execute(params![action, serde_json::to_string(&*event.service)?])?;
    // The latest row is never removed, so the next one always gets the number that follows.
    let number = change.last_insert_rowid();
    if number % TRIM_EVERY == 0 {
        change.prepare_cached("DELETE FROM change WHERE number <= ?1")?.execute([number - CHANGES_KEPT])?;
    }
    Ok(Logged { number, event })
}

fn action(text: &str) -> Result<Action, Failure> {
    match text {
        "create" => Ok(Action::Create),
        "update" => Ok(Action::Update),
        "delete" => Ok(Action::Delete),
        other => Err(format!("change {other:?} is none this program knows").into()),
    }
}

fn parse(body: &str) -> Result<Service, Failure> {
    serde_json::from_str(body).map_err(|error| format!("a record in the file: {error}").into())
}
