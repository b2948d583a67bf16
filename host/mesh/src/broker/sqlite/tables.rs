//! The file's layout, its connections, and the statements.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::{BrokerError, Position};
use super::log::{Record, Topic};
use crate::sqlite::{self, Layout};

/// What a publisher was told survives the loss of power, not only of the process.
const LAYOUT: Layout = Layout { number: 1, create: CREATE, synchronous: "FULL" };

/// `message` lies in the order of its topics and offsets, so that publishing appends and reading goes on. `topic` has what
/// its messages take, kept in the transactions that change it, and the time of its last message. A topic without a name was
/// removed, and its messages are taken away bit by bit. `floor` is one number: no removed topic has given an offset that is
/// not below it. `cursor` says which message a group gets next, and which of those before it are not acknowledged.
const CREATE: &str = "
    CREATE TABLE topic (
        id INTEGER PRIMARY KEY,
        name TEXT UNIQUE,
        first INTEGER NOT NULL,
        next INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        last INTEGER NOT NULL
    );
    CREATE TABLE floor (next INTEGER NOT NULL);
    INSERT INTO floor VALUES (1);
    CREATE TABLE message (
        topic INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        published INTEGER NOT NULL,
        header BLOB NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (topic, seq)
    ) WITHOUT ROWID;
    CREATE TABLE later (
        id INTEGER PRIMARY KEY,
        due INTEGER NOT NULL,
        topic TEXT NOT NULL,
        header BLOB NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX later_by_time ON later (due, id);
    CREATE TABLE grp (
        id INTEGER PRIMARY KEY,
        pattern TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (pattern, name)
    );
    CREATE TABLE cursor (
        grp INTEGER NOT NULL,
        topic INTEGER NOT NULL,
        position INTEGER NOT NULL,
        unacknowledged BLOB NOT NULL,
        PRIMARY KEY (grp, topic)
    ) WITHOUT ROWID;
";

/// The pages in the write-ahead log after which they are written into the file: 16 MiB. Publishers wait for it, some 30 ms;
/// a quarter of the pages costs three quarters of the speed, because the last page of a topic is in there many times.
const CHECKPOINT_PAGES: i64 = 4_096;
/// What the log keeps of the disk after it was written into the file, in bytes.
const LOG_KEPT: i64 = 64 * 1_024 * 1_024;

/// Puts a message into its topic.
pub(super) const INSERT: &str = "INSERT INTO message (topic, seq, published, header, body) VALUES (?1, ?2, ?3, ?4, ?5)";
/// Puts a message down for later.
pub(super) const INSERT_LATER: &str = "INSERT INTO later (due, topic, header, body) VALUES (?1, ?2, ?3, ?4)";
/// Says where a group stands in a topic.
pub(super) const SET_CURSOR: &str =
    "INSERT OR REPLACE INTO cursor (grp, topic, position, unacknowledged) VALUES (?1, ?2, ?3, ?4)";

/// A topic's row.
pub(super) struct TopicRow {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) last: u64,
    /// When its first message was published.
    pub(super) oldest: u64,
}

/// A message that is due.
pub(super) struct Due {
    pub(super) id: i64,
    pub(super) topic: String,
    pub(super) header: Bytes,
    pub(super) body: Bytes,
}

impl Due {
    pub(super) fn bytes(&self) -> usize {
        self.header.len() + self.body.len()
    }
}

/// What was taken away of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// The offset of the first message that is left, and when it was published; none if none is left.
    pub(super) first: Option<(u64, u64)>,
}

/// Opens the connection that writes. The error is a text for a person, without the path.
pub(super) fn open(path: &Path) -> Result<Connection, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let mut connection = sqlite::connect(path, sqlite::WRITE).map_err(text)?;
    sqlite::prepare(&mut connection, &LAYOUT)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(text)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT).map_err(text)?;
    Ok(connection)
}

/// All topics that were not removed.
pub(super) fn topics(file: &Connection) -> Result<Vec<TopicRow>, rusqlite::Error> {
    let mut select = file.prepare(
        "SELECT id, name, first, next, messages, bytes, last,
             coalesce((SELECT published FROM message WHERE topic = id ORDER BY seq LIMIT 1), last)
         FROM topic WHERE name IS NOT NULL",
    )?;
    let rows = select.query_map([], |row| {
        Ok(TopicRow {
            id: row.get(0)?,
            name: row.get(1)?,
            first: row.get(2)?,
            next: row.get(3)?,
            messages: row.get(4)?,
            bytes: row.get(5)?,
            last: row.get(6)?,
            oldest: row.get(7)?,
        })
    })?;
    rows.collect()
}

/// The messages of a topic from an offset on and before another, as many as fit.
pub(super) fn page(
    file: &Connection,
    topic: i64,
    from: u64,
    to: u64,
    (messages, bytes): (usize, usize),
) -> Result<Vec<Record>, rusqlite::Error> {
    let mut select = file.prepare_cached(
        "SELECT seq, published, header, body FROM message WHERE topic = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq",
    )?;
    let mut rows = select.query(params![topic, from, to])?;
    let mut found = Vec::new();
    let mut size = 0;
    while found.len() < messages && size < bytes {
        let Some(row) = rows.next()? else { break };
        let record = record(row)?;
        size += record.size();
        found.push(record);
    }
    Ok(found)
}

/// One message.
pub(super) fn message(file: &Connection, topic: i64, seq: u64) -> Result<Option<Record>, rusqlite::Error> {
    let mut select =
        file.prepare_cached("SELECT seq, published, header, body FROM message WHERE topic = ?1 AND seq = ?2")?;
    select.query_row(params![topic, seq], record).optional()
}

fn record(row: &Row) -> Result<Record, rusqlite::Error> {
    Ok(Record { seq: row.get(0)?, published: row.get(1)?, header: bytes(row, 2)?, body: bytes(row, 3)? })
}

fn bytes(row: &Row, at: usize) -> Result<Bytes, rusqlite::Error> {
    Ok(Bytes::copy_from_slice(row.get_ref(at)?.as_blob()?))
}

/// The offset that a position is in a topic.
pub(super) fn offset(file: &Connection, topic: &Topic, position: Position) -> Result<u64, rusqlite::Error> {
    let (first, next) = topic.bounds();
    let time = match position {
        Position::Latest => return Ok(next),
        Position::Earliest => return Ok(first),
        Position::Offset(offset) => return Ok(offset.max(first).min(next)),
        Position::Time(time) => time,
    };
    // Times rise with offsets.
    let mut select = file.prepare_cached(
        "SELECT seq, published FROM message WHERE topic = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq LIMIT 1",
    )?;
    let (mut low, mut high) = (first, next);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(u64, u64)> =
            select.query_row(params![topic.id, middle, high], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((seq, published)) if published < time => low = seq + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The messages that are due, those first that are longest due: no more than so many, and none after so many bytes.
pub(super) fn due(file: &Connection, now: u64, most: (usize, usize)) -> Result<Vec<Due>, rusqlite::Error> {
    let mut select =
        file.prepare_cached("SELECT id, topic, header, body FROM later WHERE due <= ?1 ORDER BY due, id LIMIT ?2")?;
    let mut rows = select.query(params![now, most.0])?;
    let mut found = Vec::new();
    let mut size = 0;
    while size < most.1 {
        let Some(row) = rows.next()? else { break };
        let due = Due { id: row.get(0)?, topic: row.get(1)?, header: bytes(row, 2)?, body: bytes(row, 3)? };
        size += due.bytes();
        found.push(due);
    }
    Ok(found)
}

/// How many messages there are from an offset on and before another.
pub(super) fn count(file: &Connection, topic: i64, from: u64, to: u64) -> Result<u64, rusqlite::Error> {
    file.prepare_cached("SELECT count(*) FROM message WHERE topic = ?1 AND seq >= ?2 AND seq < ?3")?
        .query_row(params![topic, from, to], |row| row.get(0))
}

/// When the next message is due, if there is one.
pub(super) fn next_due(file: &Connection) -> Result<Option<u64>, rusqlite::Error> {
    file.prepare_cached("SELECT min(due) FROM later")?.query_row([], |row| row.get(0))
}

/// Takes some of a topic's first messages away: those below an offset that were published before a time.
pub(super) fn take(
    change: &Connection,
    topic: i64,
    below: u64,
    before: u64,
    limit: usize,
) -> Result<Taken, rusqlite::Error> {
    let mut taken = Taken::default();
    let mut last = None;
    let mut select = change.prepare_cached(
        "SELECT seq, published, length(header) + length(body) FROM message WHERE topic = ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = select.query(params![topic, limit + 1])?;
    while let Some(row) = rows.next()? {
        let (seq, published): (u64, u64) = (row.get(0)?, row.get(1)?);
        if seq >= below || published >= before || taken.messages >= limit as u64 {
            taken.first = Some((seq, published));
            break;
        }
        taken.messages += 1;
        taken.bytes += row.get::<_, u64>(2)?;
        last = Some(seq);
    }
    drop(rows);
    if let Some(last) = last {
        change.prepare_cached("DELETE FROM message WHERE topic = ?1 AND seq <= ?2")?.execute(params![topic, last])?;
    }
    Ok(taken)
}

/// Takes off a topic's row what was taken away.
pub(super) fn count_off(change: &Connection, topic: i64, taken: &Taken) -> Result<(), rusqlite::Error> {
    change
        .prepare_cached(
            "UPDATE topic SET messages = messages - ?2, bytes = bytes - ?3, first = coalesce(?4, next) WHERE id = ?1",
        )?
        .execute(params![topic, taken.messages, taken.bytes, taken.first.map(|(seq, _)| seq)])?;
    Ok(())
}

/// What the file's failure is to a caller.
pub(super) fn unavailable(doing: &str, error: &rusqlite::Error) -> BrokerError {
    BrokerError::Unavailable(sqlite::failure("broker", doing, error))
}
