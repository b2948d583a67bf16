//! The thread that writes: it takes the messages and acknowledgements that wait into one transaction, and when that is on
//! disk, tells the publishers and hands the messages out.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::super::{BrokerError, Clock, Limits, Pattern, Position};
use super::changes::{Cursor, Join, Removal};
use super::group::{Group, Place};
use super::log::Recent;
use super::queue::Woken;
use super::staged::{self, Staged};
use super::tables::{self, unavailable};
use super::{Shared, changes};
use crate::sqlite;

/// The messages that one transaction takes. More would save little: the wait for the disk is shared by this many.
const TOGETHER: usize = 512;

/// The bytes after which a transaction takes no more messages: 4 MiB. Who waits for it waits for all of them.
const TOGETHER_BYTES: usize = 4 * 1_024 * 1_024;

/// How often is looked whether a message is due: the clock may be set.
const LOOK: Duration = Duration::from_millis(100);

/// How long after a failure of the file it is tried again to write what nobody waits for.
const RETRY: Duration = Duration::from_millis(500);

pub(super) type Answer<T> = oneshot::Sender<Result<T, BrokerError>>;

/// What the writer is asked for.
pub(super) enum Request {
    Publish(Publish),
    Subscribe(Join, Answer<Place>),
    Seek {
        pattern: Pattern,
        group: String,
        to: Position,
        answer: Answer<()>,
    },
    Remove(Removal, Answer<bool>),
    /// Do all that came before and stop.
    Close(Answer<()>),
}

/// A message that waits for its transaction.
pub(super) struct Publish {
    pub(super) topic: Box<str>,
    pub(super) header: Bytes,
    pub(super) body: Bytes,
    /// Milliseconds since 1970.
    pub(super) due: Option<u64>,
    pub(super) answer: Answer<()>,
}

impl Publish {
    pub(super) fn bytes(&self) -> usize {
        self.header.len() + self.body.len()
    }
}

/// Where a group stands in some topics, on its way to the file.
struct Moved {
    group: Arc<Group>,
    row: i64,
    cursors: Vec<Cursor>,
}

impl Moved {
    /// The file has not learned of it after all.
    fn mark_again(&self) {
        self.group.mark(&self.cursors.iter().map(|(topic, ..)| *topic).collect::<Vec<_>>());
    }
}

/// What the thread works on.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) recent: Recent,
    /// Bytes of all messages, those for later too.
    pub(super) bytes: u64,
    /// When the next message is due that was published for later.
    pub(super) next_due: Option<u64>,
    /// Whether a publisher was told that there is no room.
    pub(super) is_full: bool,
    /// When to look for what need not be kept.
    pub(super) sweep_at: Instant,
    /// Whether there are removed topics in the file.
    pub(super) has_removed: bool,
    /// Whether a commit waits for the disk.
    is_synchronous: bool,
    /// When to write again what nobody waits for.
    retry_at: Option<Instant>,
}

/// Ends what others wait for when the writer ends, in whatever way.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let Self(shared) = self;
        shared.is_closed.store(true, Ordering::Release);
        shared.queue.close();
        // Askers are told that the broker is closed, by their answers being dropped.
        shared.queue.take(&mut Vec::new(), None);
        // Who waits for room learns that there will be none.
        shared.room.send_modify(|count| *count = count.wrapping_add(1));
        let groups: Vec<_> = shared.state().groups.drain(..).collect();
        for group in groups {
            group.close();
        }
    }
}

impl Writer {
    /// A writer that knows what the file has.
    pub(super) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        limits: Limits,
        clock: Clock,
    ) -> Result<Self, rusqlite::Error> {
        let bytes = changes::load(&connection, &shared)?;
        let next_due = tables::next_due(&connection)?;
        Ok(Self {
            connection,
            shared,
            limits,
            clock,
            recent: Recent::default(),
            bytes,
            next_due,
            is_full: false,
            sweep_at: Instant::now(),
            has_removed: true,
            is_synchronous: true,
            retry_at: None,
        })
    }

    /// Works until it is asked to close, or until nobody can ask any more.
    pub(super) fn serve(mut self) {
        let end = End(self.shared.clone());
        let mut requests = Vec::new();
        let close = loop {
            let woken = self.shared.queue.take(&mut requests, self.alarm());
            if let Some(close) = self.work(&mut requests) {
                break Some(close);
            }
            self.sweep_if_due();
            if woken == Woken::Closed {
                break None;
            }
        };
        drop(end);
        let outcome = self.connection.close().map_err(|(_, error)| unavailable("close", &error));
        if let Some(close) = close {
            drop(close.send(outcome));
        }
    }

    /// Does what it is asked for, in that order, and what is due; gives who wants to be told that it was the last.
    pub(super) fn work(&mut self, requests: &mut Vec<Request>) -> Option<Answer<()>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for request in requests.drain(..) {
            if let Request::Publish(publish) = request {
                bytes += publish.bytes();
                batch.push(publish);
                if batch.len() >= TOGETHER || bytes >= TOGETHER_BYTES {
                    self.publish(std::mem::take(&mut batch));
                    bytes = 0;
                }
                continue;
            }
            self.publish(std::mem::take(&mut batch));
            bytes = 0;
            match request {
                Request::Publish(_) => {}
                Request::Subscribe(join, answer) => drop(answer.send(self.subscribe(join))),
                Request::Seek { pattern, group, to, answer } => drop(answer.send(self.seek(&pattern, &group, to))),
                Request::Remove(removal, answer) => drop(answer.send(self.remove(&removal))),
                Request::Close(close) => return Some(close),
            }
            self.tell_of_room();
        }
        self.publish(batch);
        None
    }

    /// When to do something though nobody asks.
    fn alarm(&self) -> Option<Instant> {
        let now = Instant::now();
        let due = self.next_due.map(|due| {
            let wait = Duration::from_millis(due.saturating_sub(self.clock.now())).min(LOOK);
            (now + wait).max(self.retry_at.unwrap_or(now))
        });
        let sweep = (self.bytes > 0 || self.has_removed).then_some(self.sweep_at);
        [due, sweep, self.retry_at].into_iter().flatten().min()
    }

    /// Publishes what fits.
    fn publish(&mut self, mut batch: Vec<Publish>) {
        self.refuse_what_does_not_fit(&mut batch);
        self.settle(batch);
    }

    /// Publishes messages together, or one by one and without those that are due if the file fails: then a large one that
    /// needs more room than there is does not take small ones with it. A file that is held by somebody else is waited for
    /// once.
    fn settle(&mut self, batch: Vec<Publish>) {
        let moved = self.take_moved();
        let now = self.clock.now();
        let is_due = self.next_due.is_some_and(|due| due <= now);
        let takes_due = is_due && self.retry_at.is_none_or(|at| at <= Instant::now());
        if batch.is_empty() && moved.is_empty() && !is_due {
            self.retry_at = None;
        }
        if batch.is_empty() && moved.is_empty() && !takes_due {
            return;
        }
        match self.commit(&batch, &moved, now, takes_due) {
            Ok(staged) => {
                // What is due and failed is tried again at its time.
                self.retry_at.take_if(|_| takes_due || !is_due);
                if !moved.is_empty() {
                    self.tell_of_room();
                }
                self.hand_out(staged);
                batch.into_iter().for_each(|publish| drop(publish.answer.send(Ok(()))));
            }
            Err(error) => {
                moved.iter().for_each(Moved::mark_again);
                self.retry_at = Some(Instant::now() + RETRY);
                let may_fit = batch.len() > 1 || (takes_due && !batch.is_empty());
                if may_fit && !sqlite::is_held(&error) {
                    return batch.into_iter().for_each(|publish| self.settle(vec![publish]));
                }
                tracing::warn!(%error, "the broker's file could not be written");
                for publish in batch {
                    drop(publish.answer.send(Err(unavailable("write", &error))));
                }
            }
        }
    }

    fn commit(
        &mut self,
        batch: &[Publish],
        moved: &[Moved],
        now: u64,
        takes_due: bool,
    ) -> Result<Staged, rusqlite::Error> {
        self.set_synchronous(!batch.is_empty() || takes_due)?;
        let change = sqlite::begin(&mut self.connection)?;
        let mut staged = Staged::default();
        let together = (TOGETHER, TOGETHER_BYTES);
        let due = if takes_due { staged.put_due(&change, &self.shared, now, together)? } else { 0 };
        let later = staged.put_batch(&change, &self.shared, batch, now)?;
        staged.finish(&change)?;
        for Moved { row, cursors, .. } in moved {
            changes::set_cursors(&change, *row, cursors)?;
        }
        let next_due = if takes_due || later > 0 { tables::next_due(&change)? } else { self.next_due };
        change.commit()?;
        self.next_due = next_due;
        // What was put down for later was counted then.
        self.bytes = (self.bytes + later + staged.bytes).saturating_sub(due);
        Ok(staged)
    }

    /// Whether commits wait for the disk. Acknowledgements need not: without them messages come again.
    pub(super) fn set_synchronous(&mut self, is_synchronous: bool) -> Result<(), rusqlite::Error> {
        if self.is_synchronous != is_synchronous {
            let value = if is_synchronous { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", value)?;
            self.is_synchronous = is_synchronous;
        }
        Ok(())
    }

    /// Hands out what is committed.
    fn hand_out(&mut self, staged: Staged) {
        for staged in staged.topics {
            if staged.is_new {
                staged::register(&mut self.shared.state(), &staged.topic);
            }
            let topic = staged.settle(&mut self.recent);
            let route = topic.log().route.clone();
            route.iter().for_each(|group| group.change(|inner| inner.make_ready(topic.id)));
        }
        self.recent.shrink();
    }

    /// Where the groups stand of which the file does not know.
    fn take_moved(&self) -> Vec<Moved> {
        let groups = std::mem::take(&mut *self.shared.dirty());
        let mut moved = Vec::with_capacity(groups.len());
        for group in groups.iter().filter_map(Weak::upgrade) {
            let mut inner = group.lock();
            let Some(row) = inner.row else { continue };
            let mut cursors = Vec::with_capacity(inner.dirty.len());
            for topic in std::mem::take(&mut inner.dirty) {
                let Some(lane) = inner.lanes.get_mut(&topic) else { continue };
                lane.is_dirty = false;
                cursors.push((topic, lane.position, lane.unacknowledged()));
            }
            drop(inner);
            if !cursors.is_empty() {
                moved.push(Moved { group, row, cursors });
            }
        }
        moved
    }

    /// Lets publishers try again who were told that there is no room.
    pub(super) fn tell_of_room(&mut self) {
        if std::mem::take(&mut self.is_full) {
            self.shared.room.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}
