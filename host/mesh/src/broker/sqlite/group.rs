//! Those who share messages, and how the messages come to them.
//!
//! A group holds no messages but those that are with its members and one page of the file. It takes from its topics what
//! they have at hand, and where it is further behind, it reads the file page by page.
//!
//! Locks are taken in this order: the [state](super::State), a group, a topic.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::super::{Delivery, GroupUsage, Pattern, Receipt};
use super::lane::Lane;
use super::log::{Known, Record, Topic};
use super::pages::{Fetch, PAGE, Page};
use super::{Shared, State};

/// Messages of a topic that are handed out before another topic of the group has its turn. A page that is there is handed
/// out to its end, since the next topic may need another one.
const TURN: usize = 128;

/// A group, or one alone where there is no name.
pub(super) struct Group {
    pub(super) pattern: Pattern,
    pub(super) name: Option<String>,
    pub(super) shared: Arc<Shared>,
    inner: Mutex<Inner>,
}

/// What changes of a group.
#[derive(Default)]
pub(super) struct Inner {
    /// The row of a group that is remembered.
    pub(super) row: Option<i64>,
    pub(super) members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
    /// Deliveries that may be handed out now, to all members together.
    free: usize,
    /// By the ids of their topics.
    pub(super) lanes: HashMap<i64, Lane>,
    /// The lanes that have something to be handed out, in the order of their turns.
    ready: VecDeque<i64>,
    /// What the first of them has handed out in its turn.
    in_turn: usize,
    pub(super) page: Option<Page>,
    /// Whether a page is on its way.
    pub(super) is_reading: bool,
    /// The lanes that the file has to learn of.
    pub(super) dirty: Vec<i64>,
    is_closed: bool,
}

/// A subscription.
pub(super) struct Member {
    id: u64,
    deliveries: mpsc::Sender<Delivery>,
    /// Deliveries that it may be handed now.
    free: usize,
}

/// What is to be done when the group is unlocked again.
#[derive(Default)]
pub(super) struct After {
    pub(super) fetch: Option<Fetch>,
    /// For who left meanwhile. They give themselves back.
    undelivered: Vec<Delivery>,
    is_dirty: bool,
}

/// A delivery that is with a member.
struct Handed {
    group: Arc<Group>,
    topic: i64,
    seq: u64,
    epoch: u32,
    member: u64,
}

/// How far a lane was served.
enum Served {
    All,
    Some,
    NoRoom,
    NeedsFile,
}

impl Group {
    pub(super) fn new(shared: Arc<Shared>, pattern: Pattern, name: Option<String>, row: Option<i64>) -> Arc<Self> {
        Arc::new(Self { pattern, name, shared, inner: Mutex::new(Inner { row, ..Inner::default() }) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the group, and hands out what there is then.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut after = After::default();
        let mut inner = self.lock();
        let outcome = change(&mut inner);
        self.hand_out(&mut inner, &mut after);
        drop(inner);
        self.finish(after);
        outcome
    }

    /// Does what has to be done with the group unlocked.
    fn finish(self: &Arc<Self>, after: After) {
        drop(after.undelivered);
        if after.is_dirty {
            self.shared.dirty().push(Arc::downgrade(self));
            self.shared.queue.acks();
        }
        if let Some(fetch) = after.fetch {
            fetch.start(self.clone());
        }
    }

    /// Hands out what there is, as far as there is room for it.
    fn hand_out(self: &Arc<Self>, inner: &mut Inner, after: &mut After) {
        while inner.free > 0 {
            let Some(&topic) = inner.ready.front() else { return };
            match self.serve(inner, topic, after) {
                Served::All => {
                    inner.ready.pop_front();
                    if let Some(lane) = inner.lanes.get_mut(&topic) {
                        lane.is_ready = false;
                    }
                }
                Served::Some => inner.ready.rotate_left(1),
                Served::NoRoom | Served::NeedsFile => return,
            }
            inner.in_turn = 0;
        }
    }

    fn serve(self: &Arc<Self>, inner: &mut Inner, topic: i64, after: &mut After) -> Served {
        let Inner { members, turn, free, lanes, in_turn, page, is_reading, .. } = inner;
        let Some(lane) = lanes.get_mut(&topic) else { return Served::All };
        let topic = lane.topic.clone();
        let log = topic.log();
        let is_over = |in_turn: usize, page: &Option<Page>| {
            let has_page = || page.as_ref().is_some_and(|page| page.topic == topic.id);
            in_turn >= TURN && (in_turn >= TURN + PAGE.0 || !has_page())
        };
        while !is_over(*in_turn, page) {
            // Before a message is taken, which would be missing then.
            let Some(at) = find_room(members, turn, free) else { return Served::NoRoom };
            let next = match page.as_mut().filter(|page| page.topic == topic.id) {
                Some(page) => page.next(lane),
                None => None,
            };
            if page.as_ref().is_some_and(Page::is_used_up) {
                *page = None;
            }
            let record = match (next, lane.first_released()) {
                (Some(record), _) => record,
                (None, Some(seq)) => match log.recent_at(seq) {
                    Known::Here(record) => record,
                    Known::Gone => {
                        lane.acknowledge(seq);
                        continue;
                    }
                    Known::Unknown => return need_file(lane, log.next, page, is_reading, after),
                },
                (None, None) if lane.position >= log.next => return Served::All,
                (None, None) => match log.recent_from(lane.position) {
                    Some(record) => record.clone(),
                    None if log.recent_covers(lane.position) => {
                        lane.position = log.next;
                        return Served::All;
                    }
                    None => return need_file(lane, log.next, page, is_reading, after),
                },
            };
            let Some(member) = members.get_mut(at) else { return Served::NoRoom };
            member.free = member.free.saturating_sub(1);
            *free = free.saturating_sub(1);
            *in_turn += 1;
            let attempt = lane.hand_out(record.seq);
            let handed =
                Handed { group: self.clone(), topic: topic.id, seq: record.seq, epoch: lane.epoch, member: member.id };
            let delivery = delivery(&topic, &record, attempt, handed);
            if let Err(error) = member.deliveries.try_send(delivery) {
                after.undelivered.push(error.into_inner());
            }
        }
        Served::Some
    }

    /// Puts somebody in.
    pub(super) fn join(self: &Arc<Self>, deliveries: mpsc::Sender<Delivery>, prefetch: usize) -> u64 {
        let id = self.shared.next_member();
        self.change(|inner| {
            inner.members.push(Member { id, deliveries, free: prefetch });
            inner.free += prefetch;
        });
        id
    }

    /// Takes somebody out, and a group with them that nobody is in any more, unless it is remembered. Who left is to be
    /// dropped when nothing is locked any more: with them goes what was on its way to them, and gives itself back.
    fn leave(self: &Arc<Self>, state: &mut State, id: u64) -> Option<Member> {
        let mut inner = self.lock();
        let at = inner.members.iter().position(|member| member.id == id)?;
        let member = inner.members.swap_remove(at);
        inner.free = inner.free.saturating_sub(member.free);
        if inner.members.is_empty() {
            inner.page = None;
            if inner.row.is_none() {
                drop(inner);
                state.groups.retain(|group| !Arc::ptr_eq(group, self));
                self.close();
            }
        }
        Some(member)
    }

    /// Lets the group have a topic.
    pub(super) fn add_lane(self: &Arc<Self>, lane: Lane) {
        let topic = lane.topic.clone();
        self.change(|inner| {
            inner.lanes.insert(topic.id, lane);
            inner.make_ready(topic.id);
        });
        topic.add_group(self);
    }

    /// Notes that the file has to learn where the group stands in these topics.
    pub(super) fn mark(self: &Arc<Self>, topics: &[i64]) {
        let mut inner = self.lock();
        let was_dirty = !inner.dirty.is_empty();
        topics.iter().for_each(|topic| inner.mark(*topic));
        let is_news = !was_dirty && !inner.dirty.is_empty();
        drop(inner);
        if is_news {
            self.shared.dirty().push(Arc::downgrade(self));
        }
    }

    /// Ends all subscriptions, and forgets where the group stood.
    pub(super) fn close(self: &Arc<Self>) {
        let mut inner = self.lock();
        let members = std::mem::take(&mut inner.members);
        let lanes = std::mem::take(&mut inner.lanes);
        *inner = Inner { is_closed: true, ..Inner::default() };
        drop(inner);
        drop(members);
        lanes.values().for_each(|lane| lane.topic.remove_group(self));
    }

    /// How the group stands in a topic; none for one without a name.
    pub(super) fn usage(&self, topic: &Topic) -> Option<(GroupUsage, u64)> {
        let name = self.name.clone()?;
        let inner = self.lock();
        let lane = inner.lanes.get(&topic.id)?;
        let position = lane.position.max(topic.bounds().0);
        let usage = GroupUsage {
            name,
            pattern: self.pattern.to_string(),
            lag: lane.lag(),
            in_flight: lane.in_flight() as u64,
            members: inner.members.len() as u64,
        };
        Some((usage, position))
    }

    /// How the group waits for a topic that is not there yet; none for one without a name.
    pub(super) fn waiting(&self) -> Option<GroupUsage> {
        let (name, pattern) = (self.name.clone()?, self.pattern.to_string());
        let members = self.lock().members.len() as u64;
        Some(GroupUsage { name, pattern, lag: 0, in_flight: 0, members })
    }

    fn done(self: &Arc<Self>, handed: &Handed, is_acknowledged: bool) {
        let mut after = After::default();
        let mut inner = self.lock();
        inner.give_room(handed.member);
        let is_dirty_now = !inner.dirty.is_empty();
        // What was handed out before the place was set may have been handed out again since.
        if let Some(lane) = inner.lanes.get_mut(&handed.topic).filter(|lane| lane.epoch == handed.epoch) {
            if is_acknowledged {
                if lane.acknowledge(handed.seq) {
                    inner.mark(handed.topic);
                }
            } else if lane.release(handed.seq) {
                inner.make_ready(handed.topic);
            }
        }
        after.is_dirty = !is_dirty_now && !inner.dirty.is_empty();
        self.hand_out(&mut inner, &mut after);
        drop(inner);
        self.finish(after);
    }
}

impl Inner {
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Notes that a topic has something for the group, if it has.
    pub(super) fn make_ready(&mut self, topic: i64) {
        if let Some(lane) = self.lanes.get_mut(&topic)
            && !lane.is_ready
            && lane.has_more()
        {
            lane.is_ready = true;
            self.ready.push_back(topic);
        }
    }

    /// Puts a topic first, whose page is there.
    pub(super) fn make_first(&mut self, topic: i64) {
        self.ready.retain(|known| *known != topic);
        if let Some(lane) = self.lanes.get_mut(&topic) {
            lane.is_ready = true;
            self.ready.push_front(topic);
        }
    }

    /// Notes that the file has to learn where the group stands, if it is remembered.
    pub(super) fn mark(&mut self, topic: i64) {
        if self.row.is_some()
            && let Some(lane) = self.lanes.get_mut(&topic)
            && !std::mem::replace(&mut lane.is_dirty, true)
        {
            self.dirty.push(topic);
        }
    }

    fn give_room(&mut self, member: u64) {
        if let Some(member) = self.members.iter_mut().find(|known| known.id == member) {
            member.free += 1;
            self.free += 1;
        }
    }
}

/// Whose turn it is of those who have room.
fn find_room(members: &mut [Member], turn: &mut usize, free: &mut usize) -> Option<usize> {
    for _ in 0..members.len() {
        *turn = turn.wrapping_add(1) % members.len();
        let member = members.get_mut(*turn)?;
        // Who left says so in a moment.
        if member.free > 0 && member.deliveries.is_closed() {
            *free = free.saturating_sub(member.free);
            member.free = 0;
        }
        if member.free > 0 {
            return Some(*turn);
        }
    }
    *free = 0;
    None
}

/// Has a page read that the lane needs, if none is on its way.
fn need_file(lane: &Lane, end: u64, page: &mut Option<Page>, is_reading: &mut bool, after: &mut After) -> Served {
    if !*is_reading {
        *is_reading = true;
        *page = None;
        after.fetch = Some(Fetch::new(lane, end));
    }
    Served::NeedsFile
}

fn delivery(topic: &Topic, record: &Record, attempt: u32, handed: Handed) -> Delivery {
    let mut delivery = Delivery::new(topic.name.clone(), record.message(), Some(Box::new(handed)));
    delivery.offset = Some(record.seq);
    delivery.published = Some(record.published);
    delivery.attempt = attempt;
    delivery
}

impl Receipt for Handed {
    fn ack(&mut self) {
        self.group.done(self, true);
    }

    fn release(&mut self) {
        self.group.done(self, false);
    }
}

/// A subscription's place in its group.
pub(super) struct Place {
    pub(super) group: Arc<Group>,
    pub(super) id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.group.leave(&mut self.group.shared.state(), self.id);
        drop(left);
    }
}
