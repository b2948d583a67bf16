//! Topics in this process alone: the fastest broker. A message comes to who is there, at most once, and is gone with the
//! process.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::future::select_all;
use rpds::HashTrieMapSync;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use super::topic::{check_group, check_topic};
use super::{
    Abilities, Broker, BrokerError, Clock, Delivery, GroupUsage, Message, Pattern, Position, PublishOptions,
    SubscribeOptions, Subscription, Taken, TopicUsage, closed, sorted, unsupported,
};

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;

/// The name of this backend.
pub const NAME: &str = "memory";

/// Topics whose groups are kept at hand; the groups of others are looked for with each message.
const ROUTES: usize = 10_000;

/// The broker in this process.
#[derive(Default)]
pub struct Memory {
    shared: Arc<Shared>,
    clock: Clock,
}

/// The groups that get messages of a topic.
type Route = Arc<[Arc<Group>]>;

#[derive(Default)]
struct Shared {
    groups: Mutex<Vec<Arc<Group>>>,
    /// For each topic that was published to since the groups last changed.
    routes: ArcSwap<HashTrieMapSync<Arc<str>, Route>>,
    /// As many topics as there are routes at most.
    topics: Mutex<BTreeSet<Arc<str>>>,
    is_closed: AtomicBool,
}

/// Those who share messages; one alone where there is no name.
struct Group {
    pattern: Pattern,
    name: Option<String>,
    members: ArcSwap<Vec<Member>>,
    next: AtomicUsize,
    /// Told when somebody joins.
    joined: Notify,
}

#[derive(Clone)]
struct Member {
    deliveries: mpsc::Sender<Delivery>,
    /// A permit for each delivery that may be unacknowledged.
    room: Arc<Semaphore>,
    prefetch: usize,
}

/// Somebody who gets a message, and the permit for it.
type Room = (Member, OwnedSemaphorePermit);

/// All members have as many messages as they take.
struct NoRoom;

/// How long a publisher waits for all groups together, and since when.
struct Patience {
    all: Duration,
    since: Option<Instant>,
}

/// A subscription's place in its group.
struct Place {
    shared: Weak<Shared>,
    group: Arc<Group>,
    room: Arc<Semaphore>,
}

impl Memory {
    /// A broker without topics.
    pub fn new(clock: Clock) -> Self {
        Self { shared: Arc::default(), clock }
    }
}

impl Shared {
    fn open(&self) -> Result<(), BrokerError> {
        if self.is_closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    fn groups(&self) -> MutexGuard<'_, Vec<Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The groups that get messages of a topic.
    fn route(&self, topic: &str) -> (Arc<str>, Route) {
        if let Some((topic, groups)) = self.routes.load().get_key_value(topic) {
            return (topic.clone(), groups.clone());
        }
        // Held until the route is there, so that no group that comes meanwhile is missing.
        let known = self.groups();
        let found: Route = known.iter().filter(|group| group.pattern.matches(topic)).cloned().collect();
        let topic: Arc<str> = topic.into();
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.len() < ROUTES {
            topics.insert(topic.clone());
        }
        let routes = self.routes.load();
        if routes.size() < ROUTES {
            self.routes.store(Arc::new(routes.insert(topic.clone(), found.clone())));
        }
        (topic, found)
    }
}

impl Group {
    /// Room for one message, with somebody who has some now; none where nobody is there.
    fn room(&self) -> Result<Option<Room>, NoRoom> {
        let members = self.members.load();
        let count = members.len();
        if count == 0 {
            return Ok(None);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut turn = (0..count).filter_map(|at| members.get(first.wrapping_add(at) % count));
        let found = turn.find_map(|member| Some((member.clone(), member.room.clone().try_acquire_owned().ok()?)));
        found.map(Some).ok_or(NoRoom)
    }

    /// Waits for whoever has room first; none where nobody is there.
    async fn wait_for_room(&self) -> Option<Room> {
        loop {
            // Listened to first, so that nobody who joins from now on is missed.
            let joined = self.joined.notified();
            let members = self.members.load_full();
            let room = async {
                match &members[..] {
                    [] => None,
                    [member] => Some((member, member.room.clone().acquire_owned().await)),
                    many => {
                        let rooms = many.iter().map(|member| Box::pin(member.room.clone().acquire_owned()));
                        let (permit, at, _) = select_all(rooms).await;
                        Some((many.get(at)?, permit))
                    }
                }
            };
            tokio::select! {
                biased;
                room = room => match room? {
                    (member, Ok(permit)) => return Some((member.clone(), permit)),
                    // Who leaves closes their room, and the others are asked.
                    (_, Err(_)) => {}
                },
                () = joined => {}
            }
        }
    }
}

impl Patience {
    /// As [`Group::room`], after waiting for it as long as the publisher still likes.
    async fn room(&mut self, group: &Group, topic: &str) -> Result<Option<Room>, BrokerError> {
        if let Ok(found) = group.room() {
            return Ok(found);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = self.all.saturating_sub(since.elapsed());
        timeout(left, group.wait_for_room()).await.map_err(|_| {
            BrokerError::Full(format!(
                "topic {topic}: subscribers have as many messages as they take; publish slower, or let more subscribe"
            ))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut groups = shared.groups();
        let members = self.group.members.load();
        let stay: Vec<_> = members.iter().filter(|member| !Arc::ptr_eq(&member.room, &self.room)).cloned().collect();
        let is_empty = stay.is_empty();
        self.group.members.store(Arc::new(stay));
        // Who waits for room asks another one.
        self.room.close();
        if is_empty {
            groups.retain(|group| !Arc::ptr_eq(group, &self.group));
            shared.routes.store(Arc::default());
        }
    }
}

#[async_trait]
impl Broker for Memory {
    fn name(&self) -> &str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities { list: true, ..Abilities::default() }
    }

    async fn publish(&self, topic: &str, message: Message, options: PublishOptions) -> Result<(), BrokerError> {
        check_topic(topic)?;
        message.check(topic)?;
        if options.deliver_at.is_some() {
            return Err(unsupported(NAME, "publish for later"));
        }
        let (topic, groups) = self.shared.route(topic);
        // All get it or none, as far as nobody leaves meanwhile: a publisher that is told of an error may publish again.
        let mut patience = Patience { all: options.patience, since: None };
        let mut rooms = Vec::with_capacity(groups.len());
        for group in groups.iter() {
            rooms.extend(patience.room(group, &topic).await?.map(|room| (group, room)));
        }
        // Who was waited for may have left because of that.
        self.shared.open()?;
        let published = Some(self.clock.now());
        let last = rooms.len().saturating_sub(1);
        let mut message = Some(message);
        for (at, (group, room)) in rooms.into_iter().enumerate() {
            let mut message = if at == last { message.take() } else { message.clone() };
            let mut found = Some(room);
            while let Some((member, room)) = found {
                let receipt = Box::new(Taken(Some(room)));
                let mut delivery = Delivery::new(topic.clone(), message.unwrap_or_default(), Some(receipt));
                delivery.published = published;
                // The channel has room for each permit, unless its subscriber left meanwhile: then another one gets it.
                let Err(error) = member.deliveries.try_send(delivery) else { break };
                message = Some(std::mem::take(&mut error.into_inner().message));
                found = patience.room(group, &topic).await?;
            }
        }
        Ok(())
    }

    async fn subscribe(&self, pattern: &Pattern, options: SubscribeOptions) -> Result<Subscription, BrokerError> {
        let name = options.group.map(|group| group.name);
        name.as_deref().map_or(Ok(()), check_group)?;
        if !matches!(options.from, Position::Latest) {
            return Err(unsupported(NAME, "read old messages"));
        }
        let prefetch = options.prefetch.clamp(1, Semaphore::MAX_PERMITS);
        let (deliveries, received) = mpsc::channel(prefetch);
        let room = Arc::new(Semaphore::new(prefetch));
        let member = Member { deliveries, room: room.clone(), prefetch };
        let mut groups = self.shared.groups();
        self.shared.open()?;
        let known =
            groups.iter().find(|group| name.is_some() && group.name == name && group.pattern == *pattern).cloned();
        let group = known.unwrap_or_else(|| {
            let group = Arc::new(Group {
                pattern: pattern.clone(),
                name,
                members: ArcSwap::default(),
                next: AtomicUsize::new(0),
                joined: Notify::new(),
            });
            groups.push(group.clone());
            self.shared.routes.store(Arc::default());
            group
        });
        let members = group.members.load().iter().cloned().chain([member]).collect();
        group.members.store(Arc::new(members));
        group.joined.notify_waiters();
        Ok(Subscription::new(received, Place { shared: Arc::downgrade(&self.shared), group, room }))
    }

    async fn topics(&self) -> Result<Vec<TopicUsage>, BrokerError> {
        self.shared.open()?;
        let topics = self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = |name: &Arc<str>| TopicUsage { name: name.to_string(), messages: 0, bytes: 0, first: 1, next: 1 };
        Ok(topics.iter().map(usage).collect())
    }

    async fn groups(&self, topic: &str) -> Result<Vec<GroupUsage>, BrokerError> {
        check_topic(topic)?;
        self.shared.open()?;
        let groups = self.shared.groups();
        let groups = groups.iter().filter(|group| group.pattern.matches(topic));
        let usage = groups.filter_map(|group| {
            let members = group.members.load();
            let taken = |member: &Member| member.prefetch.saturating_sub(member.room.available_permits()) as u64;
            let in_flight = members.iter().map(taken).sum();
            let pattern = group.pattern.to_string();
            let members = members.len() as u64;
            Some(GroupUsage { name: group.name.clone()?, pattern, lag: in_flight, in_flight, members })
        });
        Ok(sorted(usage.collect()))
    }

    async fn close(&self) -> Result<(), BrokerError> {
        let mut groups = self.shared.groups();
        self.shared.is_closed.store(true, Ordering::Release);
        for group in groups.drain(..) {
            group.members.swap(Arc::default()).iter().for_each(|member| member.room.close());
        }
        self.shared.routes.store(Arc::default());
        Ok(())
    }
}
