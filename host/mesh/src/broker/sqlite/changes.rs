//! What is done to topics and groups beside publishing: first in the file, then in memory. All of it happens on the
//! writer's thread, one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::mpsc;

use super::super::{BrokerError, Delivery, Group as Sharing, Pattern, Position};
use super::group::{Group, Place};
use super::lane::Lane;
use super::log::Topic;
use super::tables::{self, SET_CURSOR, Taken, unavailable};
use super::writer::Writer;
use super::{Shared, State};
use crate::sqlite;

/// Who wants to subscribe.
pub(super) struct Join {
    pub(super) pattern: Pattern,
    pub(super) group: Option<Sharing>,
    pub(super) prefetch: usize,
    pub(super) from: Position,
    pub(super) deliveries: mpsc::Sender<Delivery>,
}

/// Where a group stands in a topic: the topic's id, the position, and as [`Lane::unacknowledged`] gives it, what is before
/// the position and not acknowledged.
pub(super) type Cursor = (i64, u64, Vec<u8>);

/// What is to be taken away.
pub(super) enum Removal {
    Topic(String),
    Message(String, u64),
    Group(Pattern, String),
}

/// Reads topics and groups from the file; gives the bytes of all messages.
pub(super) fn load(file: &Connection, shared: &Arc<Shared>) -> Result<u64, rusqlite::Error> {
    let mut bytes: u64 =
        file.query_row("SELECT coalesce(sum(length(header) + length(body)), 0) FROM later", [], |row| row.get(0))?;
    let mut state = shared.state();
    for row in tables::topics(file)? {
        bytes += row.bytes;
        let topic = Arc::new(Topic::new(row));
        state.topics.insert(topic.name.clone(), topic);
    }
    let mut select = file.prepare("SELECT id, pattern, name FROM grp")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let groups: Vec<(i64, String, String)> = rows.collect::<Result<_, _>>()?;
    let mut select = file.prepare("SELECT topic, position, unacknowledged FROM cursor WHERE grp = ?1")?;
    for (row, pattern, name) in groups {
        let pattern = match Pattern::new(pattern) {
            Ok(pattern) => pattern,
            Err(error) => {
                tracing::warn!(%error, "a group in the broker's file is left alone");
                continue;
            }
        };
        let rows = select.query_map([row], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        let cursors: HashMap<i64, (u64, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        let group = Group::new(shared.clone(), pattern, Some(name), Some(row));
        for topic in matching(&state, &group.pattern) {
            let lane = match cursors.get(&topic.id) {
                Some((position, unacknowledged)) => Lane::restored(topic, *position, unacknowledged),
                None => first(topic),
            };
            group.add_lane(lane);
        }
        state.groups.push(group);
    }
    Ok(bytes)
}

fn matching(state: &State, pattern: &Pattern) -> Vec<Arc<Topic>> {
    match pattern.topic() {
        Some(topic) => state.topics.get(topic).cloned().into_iter().collect(),
        None => state.topics.values().filter(|topic| pattern.matches(&topic.name)).cloned().collect(),
    }
}

/// A place at the beginning of a topic.
fn first(topic: Arc<Topic>) -> Lane {
    let (first, _) = topic.bounds();
    Lane::new(topic, first)
}

/// A group by its pattern and its name.
fn find(state: &State, pattern: &Pattern, name: Option<&str>) -> Option<Arc<Group>> {
    let is_it = |group: &&Arc<Group>| group.name.as_deref() == name && group.pattern == *pattern;
    name.and_then(|_| state.groups.iter().find(is_it).cloned())
}

impl Writer {
    pub(super) fn subscribe(&mut self, join: Join) -> Result<Place, BrokerError> {
        let Join { pattern, group, prefetch, from, deliveries } = join;
        let is_durable = group.as_ref().is_some_and(|group| group.durable);
        let name = group.map(|group| group.name);
        // Locked until somebody is in it, so that it does not vanish meanwhile.
        let state = self.shared.state();
        if let Some(group) = find(&state, &pattern, name.as_deref()) {
            let id = group.join(deliveries, prefetch);
            drop(state);
            let place = Place { group, id };
            if is_durable && place.group.lock().row.is_none() {
                self.remember(&place.group)?;
            }
            return Ok(place);
        }
        let topics = matching(&state, &pattern);
        drop(state);
        let failed = |error: rusqlite::Error| unavailable("write", &error);
        let places = topics.into_iter().map(|topic| {
            let position = tables::offset(&self.connection, &topic, from)?;
            Ok((topic, position))
        });
        let places: Vec<_> = places.collect::<Result<_, _>>().map_err(failed)?;
        let row = match &name {
            Some(name) if is_durable => {
                let cursors: Vec<_> = places.iter().map(|(topic, position)| (topic.id, *position, vec![])).collect();
                Some(self.insert_group(&pattern, name, &cursors).map_err(failed)?)
            }
            _ => None,
        };
        let group = Group::new(self.shared.clone(), pattern, name, row);
        for (topic, position) in places {
            group.add_lane(Lane::new(topic, position));
        }
        let mut state = self.shared.state();
        state.groups.push(group.clone());
        let id = group.join(deliveries, prefetch);
        drop(state);
        Ok(Place { group, id })
    }

    /// Lets a group be remembered that was not so far.
    fn remember(&mut self, group: &Arc<Group>) -> Result<(), BrokerError> {
        let Some(name) = group.name.clone() else { return Ok(()) };
        let cursors: Vec<_> = {
            let inner = group.lock();
            inner.lanes.iter().map(|(topic, lane)| (*topic, lane.position, lane.unacknowledged())).collect()
        };
        let row = self.insert_group(&group.pattern, &name, &cursors).map_err(|error| unavailable("write", &error))?;
        group.lock().row = Some(row);
        // What was acknowledged since.
        group.mark(&cursors.iter().map(|(topic, ..)| *topic).collect::<Vec<_>>());
        self.shared.queue.acks();
        Ok(())
    }

    fn insert_group(&mut self, pattern: &Pattern, name: &str, cursors: &[Cursor]) -> Result<i64, rusqlite::Error> {
        self.set_synchronous(true)?;
        let change = sqlite::begin(&mut self.connection)?;
        change
            .prepare_cached("INSERT INTO grp (pattern, name) VALUES (?1, ?2)")?
            .execute(params![pattern.as_str(), name])?;
        let row = change.last_insert_rowid();
        set_cursors(&change, row, cursors)?;
        change.commit()?;
        Ok(row)
    }

    pub(super) fn seek(&mut self, pattern: &Pattern, name: &str, to: Position) -> Result<(), BrokerError> {
        let Some(group) = find(&self.shared.state(), pattern, Some(name)) else {
            return Err(BrokerError::BadName(format!(
                "group {name} of pattern {pattern} not found: subscribe as it first, or look at the groups of a topic"
            )));
        };
        let failed = |error: rusqlite::Error| unavailable("write", &error);
        let topics = matching(&self.shared.state(), pattern);
        let places = topics.iter().map(|topic| Ok((topic.id, tables::offset(&self.connection, topic, to)?, vec![])));
        let places: Vec<Cursor> = places.collect::<Result<_, _>>().map_err(failed)?;
        let row = group.lock().row;
        if let Some(row) = row {
            self.set_synchronous(true).map_err(failed)?;
            let change = sqlite::begin(&mut self.connection).map_err(failed)?;
            set_cursors(&change, row, &places).map_err(failed)?;
            change.commit().map_err(failed)?;
        }
        group.change(|inner| {
            inner.page = None;
            for (topic, position, _) in places {
                if let Some(lane) = inner.lanes.get_mut(&topic) {
                    lane.seek(position);
                }
                inner.make_ready(topic);
            }
        });
        Ok(())
    }

    pub(super) fn remove(&mut self, removal: &Removal) -> Result<bool, BrokerError> {
        let removed = self.set_synchronous(true).and_then(|()| match removal {
            Removal::Topic(topic) => self.remove_topic(topic),
            Removal::Message(topic, seq) => self.remove_message(topic, *seq),
            Removal::Group(pattern, name) => self.remove_group(pattern, name),
        });
        removed.map_err(|error| unavailable("write", &error))
    }

    /// Takes the name off a topic. Its messages may be many, and are taken away later.
    fn remove_topic(&mut self, name: &str) -> Result<bool, rusqlite::Error> {
        let topic = self.shared.topic(name);
        let change = sqlite::begin(&mut self.connection)?;
        let later: Option<u64> = change
            .prepare_cached("SELECT sum(length(header) + length(body)) FROM later WHERE topic = ?1")?
            .query_row([name], |row| row.get(0))?;
        change.prepare_cached("DELETE FROM later WHERE topic = ?1")?.execute([name])?;
        let route = match &topic {
            Some(topic) => {
                let (_, next) = topic.bounds();
                change.prepare_cached("UPDATE topic SET name = NULL WHERE id = ?1")?.execute([topic.id])?;
                change.prepare_cached("UPDATE floor SET next = max(next, ?1)")?.execute([next])?;
                let route = topic.log().route.clone();
                let mut delete = change.prepare_cached("DELETE FROM cursor WHERE grp = ?1 AND topic = ?2")?;
                for row in route.iter().filter_map(|group| group.lock().row) {
                    delete.execute([row, topic.id])?;
                }
                Some(route)
            }
            None => None,
        };
        change.commit()?;
        self.bytes = self.bytes.saturating_sub(later.unwrap_or(0));
        let (Some(topic), Some(route)) = (topic, route) else { return Ok(later.is_some()) };
        self.shared.state().topics.remove(&topic.name);
        for group in route.iter() {
            group.change(|inner| {
                inner.lanes.remove(&topic.id);
                inner.page.take_if(|page| page.topic == topic.id);
            });
        }
        self.bytes = self.bytes.saturating_sub(topic.empty());
        self.has_removed = true;
        Ok(true)
    }

    fn remove_message(&mut self, name: &str, seq: u64) -> Result<bool, rusqlite::Error> {
        let Some(topic) = self.shared.topic(name) else { return Ok(false) };
        let change = sqlite::begin(&mut self.connection)?;
        let bytes: Option<u64> = change
            .prepare_cached(
                "DELETE FROM message WHERE topic = ?1 AND seq = ?2 RETURNING length(header) + length(body)",
            )?
            .query_row(params![topic.id, seq.min(i64::MAX.unsigned_abs())], |row| row.get(0))
            .optional()?;
        let Some(bytes) = bytes else { return Ok(false) };
        let first = change
            .prepare_cached("SELECT seq, published FROM message WHERE topic = ?1 ORDER BY seq LIMIT 1")?
            .query_row([topic.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let taken = Taken { messages: 1, bytes, first };
        tables::count_off(&change, topic.id, &taken)?;
        change.commit()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        let route = {
            let mut log = topic.log();
            log.forget(seq);
            log.taken(&taken);
            log.route.clone()
        };
        for group in route.iter() {
            group.change(|inner| {
                inner.page.take_if(|page| page.topic == topic.id);
                if let Some(lane) = inner.lanes.get_mut(&topic.id) {
                    lane.remove(seq);
                }
            });
            group.mark(&[topic.id]);
        }
        self.shared.queue.acks();
        Ok(true)
    }

    fn remove_group(&mut self, pattern: &Pattern, name: &str) -> Result<bool, rusqlite::Error> {
        let Some(group) = find(&self.shared.state(), pattern, Some(name)) else { return Ok(false) };
        let row = group.lock().row;
        if let Some(row) = row {
            let change = sqlite::begin(&mut self.connection)?;
            change.prepare_cached("DELETE FROM grp WHERE id = ?1")?.execute([row])?;
            change.prepare_cached("DELETE FROM cursor WHERE grp = ?1")?.execute([row])?;
            change.commit()?;
        }
        self.shared.state().groups.retain(|known| !Arc::ptr_eq(known, &group));
        group.close();
        Ok(true)
    }
}

/// Says where a group stands.
pub(super) fn set_cursors(change: &Connection, row: i64, cursors: &[Cursor]) -> Result<(), rusqlite::Error> {
    let mut set = change.prepare_cached(SET_CURSOR)?;
    for (topic, position, unacknowledged) in cursors {
        set.execute(params![row, topic, position, unacknowledged])?;
    }
    Ok(())
}
