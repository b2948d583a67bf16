//! What is taken away because it need not be kept: old messages while there is nothing else to do, and when there is no
//! room, the oldest ones that are there. What a remembered group has yet to acknowledge always stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::OptionalExtension;

use super::super::BrokerError;
use super::log::Topic;
use super::tables::{self, Taken};
use super::writer::{Publish, Writer};
use crate::sqlite;

/// The messages that are taken away at a time, which publishers may have to wait for.
const STEP: usize = 256;

/// How often is looked for old messages.
const LOOK: Duration = Duration::from_secs(1);

/// Between two steps while there is more to be taken away.
const PAUSE: Duration = Duration::from_millis(5);

impl Writer {
    /// Takes away a little of what need not be kept, if it is time for that.
    pub(super) fn sweep_if_due(&mut self) {
        let now = Instant::now();
        if now < self.sweep_at || (self.bytes == 0 && !self.has_removed) {
            return;
        }
        let pause = match self.sweep() {
            Ok(true) => PAUSE,
            Ok(false) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "old messages could not be taken out of the broker's file");
                LOOK
            }
        };
        self.sweep_at = Instant::now() + pause;
    }

    /// Takes some away; says whether there may be more.
    fn sweep(&mut self) -> Result<bool, rusqlite::Error> {
        if self.has_removed {
            self.has_removed = self.take_removed()?;
            return Ok(true);
        }
        let age = u64::try_from(self.limits.max_age.as_millis()).unwrap_or(u64::MAX);
        let before = self.clock.now().saturating_sub(age);
        let Some((topic, floor)) = self.oldest().filter(|(topic, _)| topic.log().oldest < before) else {
            return Ok(false);
        };
        self.take(&topic, floor, before)?;
        self.tell_of_room();
        Ok(true)
    }

    /// Takes away messages of a removed topic; says whether there may be more.
    fn take_removed(&mut self) -> Result<bool, rusqlite::Error> {
        self.set_synchronous(false)?;
        let change = sqlite::begin(&mut self.connection)?;
        let removed: Option<i64> = change
            .prepare_cached("SELECT id FROM topic WHERE name IS NULL LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        let Some(topic) = removed else { return Ok(false) };
        let taken = tables::take(&change, topic, u64::MAX, u64::MAX, STEP)?;
        if taken.first.is_none() {
            change.prepare_cached("DELETE FROM topic WHERE id = ?1")?.execute([topic])?;
        }
        change.commit()?;
        Ok(true)
    }

    /// The topic whose first message is the oldest that may be taken away, and the offset of the first one that may not.
    fn oldest(&self) -> Option<(Arc<Topic>, u64)> {
        let topics: Vec<_> = self.shared.state().topics.values().cloned().collect();
        let mut found: Option<(u64, Arc<Topic>, u64)> = None;
        for topic in topics {
            let (first, oldest, messages, route) = {
                let log = topic.log();
                (log.first, log.oldest, log.messages, log.route.clone())
            };
            if messages == 0 || found.as_ref().is_some_and(|(known, ..)| *known <= oldest) {
                continue;
            }
            let floors = route.iter().filter_map(|group| {
                let inner = group.lock();
                inner.row.and_then(|_| Some(inner.lanes.get(&topic.id)?.floor()))
            });
            let floor = floors.min().unwrap_or(u64::MAX);
            if first < floor {
                found = Some((oldest, topic, floor));
            }
        }
        found.map(|(_, topic, floor)| (topic, floor))
    }

    fn take(&mut self, topic: &Topic, below: u64, before: u64) -> Result<Taken, rusqlite::Error> {
        self.set_synchronous(false)?;
        let change = sqlite::begin(&mut self.connection)?;
        let taken = tables::take(&change, topic.id, below, before, STEP)?;
        tables::count_off(&change, topic.id, &taken)?;
        change.commit()?;
        topic.log().taken(&taken);
        self.bytes = self.bytes.saturating_sub(taken.bytes);
        Ok(taken)
    }

    /// Answers those for whose messages there is no room and none can be made.
    pub(super) fn refuse_what_does_not_fit(&mut self, batch: &mut Vec<Publish>) {
        let wanted = batch.iter().map(|publish| publish.bytes() as u64).sum();
        if self.fits(wanted) {
            return;
        }
        while let Some((topic, floor)) = self.oldest() {
            match self.take(&topic, floor, u64::MAX) {
                Ok(taken) if taken.messages > 0 && !self.fits(wanted) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "no room could be made in the broker's file");
                    break;
                }
            }
        }
        let mut taken = 0;
        let mut fitting = Vec::with_capacity(batch.len());
        let mut holder = None;
        for publish in batch.drain(..) {
            let bytes = publish.bytes() as u64;
            if self.fits(taken + bytes) {
                taken += bytes;
                fitting.push(publish);
                continue;
            }
            self.is_full = true;
            let holder = holder.get_or_insert_with(|| self.holder());
            let (topic, kept, limit) = (&publish.topic, self.bytes, self.limits.max_bytes);
            let error = BrokerError::Full(format!(
                "topic {topic}: no room for a message of {bytes} bytes, the broker keeps {kept} of at most {limit}; {holder}"
            ));
            drop(publish.answer.send(Err(error)));
        }
        *batch = fitting;
    }

    fn fits(&self, more: u64) -> bool {
        self.bytes.saturating_add(more) <= self.limits.max_bytes
    }

    /// Who holds up the messages that cannot be taken away, and the way out.
    fn holder(&self) -> String {
        let groups = self.shared.state().groups.clone();
        let mut worst: Option<(u64, String)> = None;
        for group in groups {
            let inner = group.lock();
            if inner.row.is_none() {
                continue;
            }
            for lane in inner.lanes.values() {
                let lag = lane.lag();
                if lag > worst.as_ref().map_or(0, |(known, _)| *known) {
                    let (name, topic) = (group.name.as_deref().unwrap_or_default(), &lane.topic.name);
                    worst = Some((lag, format!("group {name} has yet to acknowledge {lag} messages of topic {topic}")));
                }
            }
        }
        match worst {
            Some((_, who)) => format!("{who}: let it catch up, remove it, or let the broker keep more"),
            None => "what it keeps is for later or on its way: wait, or let the broker keep more".to_owned(),
        }
    }
}
