//! What a transaction does to topics, until it is committed.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::lane::Lane;
use super::log::{Recent, Record, Topic};
use super::tables::{self, TopicRow};
use super::writer::Publish;
use super::{Shared, State};

/// The latest moment that SQLite can hold, in milliseconds since 1970.
const LATEST: u64 = i64::MAX.unsigned_abs();

/// The messages that are put into topics with one transaction.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) topics: Vec<StagedTopic>,
    /// Where a topic stands among them.
    places: HashMap<Arc<str>, usize>,
    pub(super) bytes: u64,
}

/// A topic's new messages.
pub(super) struct StagedTopic {
    pub(super) topic: Arc<Topic>,
    pub(super) is_new: bool,
    next: u64,
    bytes: u64,
    last: u64,
    pub(super) records: Vec<Record>,
}

impl Staged {
    /// Puts messages that are due into their topics; gives their bytes.
    pub(super) fn put_due(
        &mut self,
        change: &Connection,
        shared: &Shared,
        now: u64,
        limit: (usize, usize),
    ) -> Result<u64, rusqlite::Error> {
        let mut insert = change.prepare_cached(tables::INSERT)?;
        let mut delete = change.prepare_cached("DELETE FROM later WHERE id = ?1")?;
        let mut bytes = 0;
        for due in tables::due(change, now, limit)? {
            delete.execute([due.id])?;
            bytes += due.bytes() as u64;
            self.put(change, &mut insert, shared, (&due.topic, due.header, due.body), now)?;
        }
        Ok(bytes)
    }

    /// Puts messages into their topics, or down for later; gives the bytes of the latter.
    pub(super) fn put_batch(
        &mut self,
        change: &Connection,
        shared: &Shared,
        batch: &[Publish],
        now: u64,
    ) -> Result<u64, rusqlite::Error> {
        let mut insert = change.prepare_cached(tables::INSERT)?;
        let mut later = 0;
        for publish in batch {
            let Publish { topic, header, body, .. } = publish;
            match publish.due.filter(|due| *due > now) {
                None => self.put(change, &mut insert, shared, (topic, header.clone(), body.clone()), now)?,
                Some(due) => {
                    later += publish.bytes() as u64;
                    change.prepare_cached(tables::INSERT_LATER)?.execute(params![
                        due.min(LATEST),
                        topic,
                        &header[..],
                        &body[..]
                    ])?;
                }
            }
        }
        Ok(later)
    }

    /// Puts a message into its topic.
    fn put(
        &mut self,
        change: &Connection,
        insert: &mut CachedStatement<'_>,
        shared: &Shared,
        (topic, header, body): (&str, Bytes, Bytes),
        now: u64,
    ) -> Result<(), rusqlite::Error> {
        let place = match self.places.get(topic) {
            Some(place) => *place,
            None => self.begin(change, shared, topic)?,
        };
        let Some(staged) = self.topics.get_mut(place) else { return Ok(()) };
        // Times rise with offsets, whatever the clock does.
        staged.last = staged.last.max(now);
        let record = Record { seq: staged.next, published: staged.last, header, body };
        insert.execute(params![staged.topic.id, record.seq, record.published, &record.header[..], &record.body[..]])?;
        staged.next += 1;
        staged.bytes += record.size() as u64;
        self.bytes += record.size() as u64;
        staged.records.push(record);
        Ok(())
    }

    fn begin(&mut self, change: &Connection, shared: &Shared, name: &str) -> Result<usize, rusqlite::Error> {
        let known = shared.topic(name);
        let is_new = known.is_none();
        let topic = match known {
            Some(topic) => topic,
            None => Arc::new(create(change, name)?),
        };
        let (next, last) = {
            let log = topic.log();
            (log.next, log.last)
        };
        let place = self.topics.len();
        self.places.insert(topic.name.clone(), place);
        self.topics.push(StagedTopic { topic, is_new, next, bytes: 0, last, records: Vec::new() });
        Ok(place)
    }

    /// Writes what the topics take now.
    pub(super) fn finish(&self, change: &Connection) -> Result<(), rusqlite::Error> {
        let mut update = change.prepare_cached(
            "UPDATE topic SET next = ?2, last = ?3, messages = messages + ?4, bytes = bytes + ?5 WHERE id = ?1",
        )?;
        for staged in &self.topics {
            let StagedTopic { topic, next, last, bytes, records, .. } = staged;
            update.execute(params![topic.id, next, last, records.len(), bytes])?;
        }
        Ok(())
    }
}

impl StagedTopic {
    /// Notes in memory what is committed now.
    pub(super) fn settle(self, recent: &mut Recent) -> Arc<Topic> {
        let Self { topic, next, bytes, last, records, .. } = self;
        let mut log = topic.log();
        if log.messages == 0
            && let Some(first) = records.first()
        {
            (log.first, log.oldest) = (first.seq, first.published);
        }
        log.next = next;
        log.last = last;
        log.messages += records.len() as u64;
        log.bytes += bytes;
        recent.push(&topic, &mut log, records);
        drop(log);
        topic
    }
}

/// Makes a topic's row. Offsets begin behind those that a removed topic of that name may have given.
fn create(change: &Connection, name: &str) -> Result<Topic, rusqlite::Error> {
    let floor: Option<u64> =
        change.prepare_cached("SELECT next FROM floor")?.query_row([], |row| row.get(0)).optional()?;
    let next = floor.unwrap_or(1);
    change
        .prepare_cached("INSERT INTO topic (name, first, next, messages, bytes, last) VALUES (?1, ?2, ?2, 0, 0, 0)")?
        .execute(params![name, next])?;
    let row = TopicRow {
        id: change.last_insert_rowid(),
        name: name.to_owned(),
        first: next,
        next,
        messages: 0,
        bytes: 0,
        last: 0,
        oldest: 0,
    };
    Ok(Topic::new(row))
}

/// Makes a topic known, and those groups find it that it is for.
pub(super) fn register(state: &mut State, topic: &Arc<Topic>) {
    state.topics.insert(topic.name.clone(), topic.clone());
    let (first, _) = topic.bounds();
    for group in state.groups.iter().filter(|group| group.pattern.matches(&topic.name)) {
        group.add_lane(Lane::new(topic.clone(), first));
    }
}
