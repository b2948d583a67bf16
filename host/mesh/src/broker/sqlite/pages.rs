//! Messages that a group reads from the file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::sleep;

use super::group::Group;
use super::lane::Lane;
use super::log::{Record, Topic};
use super::tables;
use crate::broker::BrokerError;

#[cfg(test)]
#[path = "../sqlite_pages_tests.rs"]
mod tests;

/// The messages that a page has at most, and the bytes after which it has no more.
pub(super) const PAGE: (usize, usize) = (256, 512 * 1_024);

/// How long to wait before a page is read again that could not be read.
const RETRY: Duration = Duration::from_millis(250);

/// Messages of one topic that were read and are not handed out yet.
pub(super) struct Page {
    pub(super) topic: i64,
    records: VecDeque<Record>,
    /// Whether it goes on where the lane stands; otherwise its messages were given back.
    is_range: bool,
}

/// What is to be read.
#[derive(Clone)]
pub(super) struct Fetch {
    topic: Arc<Topic>,
    epoch: u32,
    removals: u32,
    /// Messages that were given back; if there are none, those from `from` on and before `to`.
    seqs: Vec<u64>,
    from: u64,
    to: u64,
}

impl Page {
    /// The next message that the lane hands out, if it is in here.
    pub(super) fn next(&mut self, lane: &Lane) -> Option<Record> {
        let Some(released) = lane.first_released() else {
            // They are behind all that the lane has handed out: nothing else moves it on while the page is there.
            return self.records.pop_front_if(|_| self.is_range);
        };
        // A page that goes on behind what was given back comes later, or is read again.
        while !self.is_range && self.records.front().is_some_and(|record| record.seq < released) {
            self.records.pop_front();
        }
        self.records.pop_front_if(|record| record.seq == released)
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.records.is_empty()
    }
}

impl Fetch {
    /// What the lane needs next, of what is before `end`.
    pub(super) fn new(lane: &Lane, end: u64) -> Self {
        let seqs = lane.released(PAGE.0);
        let (topic, epoch, removals) = (lane.topic.clone(), lane.epoch, lane.removals);
        Self { topic, epoch, removals, seqs, from: lane.position, to: end }
    }

    /// Reads it, and has it handed out.
    pub(super) fn start(self, group: Arc<Group>) {
        let runtime = group.shared.runtime.clone();
        runtime.spawn(async move {
            loop {
                let fetch = self.clone();
                match group.shared.readers.read(move |file| fetch.read(file)).await {
                    Ok(records) => return self.arrive(&group, records),
                    Err(_) if group.shared.is_closed() || group.lock().is_closed() => return,
                    Err(error) => {
                        let error = BrokerError::from(error);
                        tracing::warn!(%error, "messages for a group could not be read, trying again");
                        sleep(RETRY).await;
                    }
                }
            }
        });
    }

    fn read(&self, file: &Connection) -> Result<Vec<Record>, rusqlite::Error> {
        if self.seqs.is_empty() {
            return tables::page(file, self.topic.id, self.from, self.to, PAGE);
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        for seq in &self.seqs {
            if let Some(record) = tables::message(file, self.topic.id, *seq)? {
                bytes += record.size();
                records.push(record);
            }
            if bytes >= PAGE.1 {
                break;
            }
        }
        Ok(records)
    }

    fn arrive(self, group: &Arc<Group>, records: Vec<Record>) {
        let last = records.last().map(|record| record.seq);
        let bytes: usize = records.iter().map(Record::size).sum();
        let is_full = records.len() >= PAGE.0 || bytes >= PAGE.1;
        group.change(|inner| {
            inner.is_reading = false;
            let topic = self.topic.id;
            // Otherwise it is read again, if the topic is still there; another one may have been given its number.
            let is_current = |lane: &&mut Lane| {
                Arc::ptr_eq(&lane.topic, &self.topic) && (lane.epoch, lane.removals) == (self.epoch, self.removals)
            };
            let Some(lane) = inner.lanes.get_mut(&topic).filter(is_current) else { return };
            let is_range = self.seqs.is_empty();
            if is_range && records.is_empty() && lane.first_released().is_none() {
                lane.position = lane.position.max(self.to);
            }
            if !is_range {
                // Those that were asked for and are not there were taken away.
                let read = |seq: u64| !is_full || last.is_some_and(|last| seq <= last);
                let is_here = |seq: u64| records.binary_search_by_key(&seq, |record| record.seq).is_ok();
                self.seqs.iter().filter(|seq| read(**seq) && !is_here(**seq)).for_each(|seq| {
                    lane.acknowledge(*seq);
                });
            }
            if !records.is_empty() {
                inner.page = Some(Page { topic, records: records.into(), is_range });
            }
            inner.make_first(topic);
        });
    }
}
