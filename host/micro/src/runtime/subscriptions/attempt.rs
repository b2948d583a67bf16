//! One message until it is done with.

use super::letters::{self, ONLY};
use super::{SubscriptionStatus, group};
use crate::runtime::deployment::Deployment;
use crate::runtime::events::Events;
use micro_engine::log::{Log as _, Stream};
use micro_engine::manifest::Subscribe;
use micro_mesh::broker::{
    Abilities, BrokerError, CONTENT_TYPE, Delivered, Delivery, Group, MESSAGE_ID, Pattern, Position, PublishOptions,
    SubscribeOptions,
};
use micro_mesh::call::random_below;
use micro_mesh::trace::{TRACEPARENT, Trace};
use micro_mesh::{Broker, Call, Client, Error, HeaderValue, Payload};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Who calls.
const CALLER: &str = "broker";

/// The longest wait before a message is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The longest wait for a deployment that is still busy or away.
const LONGEST_ABSENCE: Duration = Duration::from_secs(5);

/// Between two tries to put a dead letter where it belongs.
const LETTER_PAUSE: Duration = Duration::from_secs(1);

/// Messages that a subscription takes at least and at most for each that may be in work: those with the same key wait
/// for each other, and must not keep others from coming.
const FEWEST: usize = 64;
const AHEAD: usize = 4;

/// What all messages of one subscription have in common.
pub(super) struct Work {
    pub(super) broker: Arc<dyn Broker>,
    client: Client,
    events: Events,
    pub(super) deployment: Arc<Deployment>,
    pub(super) subscribe: Subscribe,
    group: String,
    /// Messages that are taken before one of them is done with.
    pub(super) prefetch: usize,
    turns: Semaphore,
    handled: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    in_work: AtomicU64,
    problem: Mutex<Option<String>>,
}

/// What a message leaves behind when its work is over.
pub(super) struct Left {
    /// What may go on now.
    pub(super) key: Option<String>,
}

impl Work {
    pub(super) fn new(
        broker: Arc<dyn Broker>,
        client: Client,
        events: Events,
        deployment: Arc<Deployment>,
        subscribe: Subscribe,
    ) -> Work {
        let concurrency = subscribe.concurrency.unwrap_or(1).max(1) as usize;
        Work {
            broker,
            client,
            events,
            group: group(&deployment.name, &subscribe).name,
            deployment,
            subscribe,
            prefetch: (concurrency * AHEAD).max(FEWEST),
            turns: Semaphore::new(concurrency),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            in_work: AtomicU64::new(0),
            problem: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> SubscriptionStatus {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SubscriptionStatus {
            topic: self.subscribe.topic.clone(),
            queue: self.subscribe.queue.clone(),
            group: self.group.clone(),
            endpoint: self.subscribe.endpoint.clone(),
            handled: count(&self.handled),
            failed: count(&self.failed),
            dead: count(&self.dead),
            in_work: count(&self.in_work),
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Notes why there are no messages, and says so where that is news.
    pub(super) fn set_problem(&self, problem: Option<String>) {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(problem) = &problem
            && known.is_none()
        {
            let detail = format!("{}: {problem}", self.subscribe.topic);
            self.events.tell("subscription-failed", &self.deployment.name, None, detail);
        }
        *known = problem;
    }

    pub(super) fn note_in_work(&self, count: u64) {
        self.in_work.store(count, Ordering::Relaxed);
    }

    /// The call that brings a message to its endpoint.
    fn call(&self, delivery: &Delivery, delivered: Arc<Delivered>) -> Call {
        let content_type = match delivery.message.header.get(CONTENT_TYPE) {
            None | Some(micro_mesh::call::JSON) => Cow::Borrowed(micro_mesh::call::JSON),
            Some(other) => Cow::Owned(other.to_owned()),
        };
        let payload = Payload::Bytes { content_type, body: delivery.message.body.clone() };
        let mut call = Call::new(self.deployment.name.clone(), self.subscribe.endpoint.as_str(), payload);
        call.caller = Some(CALLER.into());
        if let Some(place) = delivery.message.header.get(TRACEPARENT.as_str())
            && let Ok(place) = HeaderValue::try_from(place)
        {
            call.header.insert(TRACEPARENT, place);
            if let Some((id, trace)) = Trace::read(&call.header) {
                (call.id, call.trace) = (id, Some(trace));
            }
        }
        call.delivery = Some(delivered);
        call
    }

    /// How long to wait after so many tries, not all at the same moment.
    fn backoff(&self, tries: u32) -> Duration {
        let doubled = doubled(self.subscribe.backoff, tries).min(LONGEST_BACKOFF);
        let longest = u64::try_from(doubled.as_millis()).unwrap_or(u64::MAX);
        let spread = random_below(usize::try_from(longest / 4 + 1).unwrap_or(usize::MAX)) as u64;
        Duration::from_millis(longest - longest / 8 + spread / 2)
    }

    /// Makes sure that dead letters are kept: a broker that keeps messages for groups alone needs one that waits for them.
    pub(super) async fn expect_letters(&self) -> Result<(), BrokerError> {
        let Abilities { durable, replay, .. } = self.broker.abilities();
        if durable && !replay {
            let letters = Pattern::new(letters::topic(&self.group))?;
            let group = Some(Group::durable(letters::GROUP));
            self.broker.subscribe(&letters, SubscribeOptions { group, prefetch: 1, from: Position::Latest }).await?;
        }
        Ok(())
    }

    /// Puts a message among the dead letters of its group. False if the host stops before that was done.
    async fn bury(&self, delivery: &Delivery, tries: u32, error: &Error, stopped: &mut watch::Receiver<bool>) -> bool {
        let mut letter = letters::letter(delivery, tries, error);
        let topic = letters::topic(&self.group);
        loop {
            match self.broker.publish(&topic, letter.clone(), PublishOptions::default()).await {
                Ok(()) => return true,
                // What is told of it takes room as well. Better without its body than in the way of others for ever.
                Err(BrokerError::TooLarge(_)) if !letters::is_cut(&letter) => {
                    letter = letters::cut(&letter);
                    continue;
                }
                Err(error) => self.set_problem(Some(format!("a dead letter cannot be put to {topic}: {error}"))),
            }
            if !pause(LETTER_PAUSE, stopped).await {
                return false;
            }
        }
    }
}

/// Works on a message until it is done with, or until the host stops: then it comes again.
pub(super) async fn handle(work: Arc<Work>, delivery: Delivery, mut stopped: watch::Receiver<bool>) -> Left {
    let key = delivery.message.key().map(str::to_owned);
    if delivery.message.header.get(ONLY).is_some_and(|only| only != work.group) {
        // A dead letter of another group that comes again.
        delivery.ack();
        return Left { key };
    }
    let mut delivered = Arc::new(Delivered {
        topic: delivery.topic.clone(),
        id: id(&delivery),
        // A broker counts how often a message was handed out, and that may be before anybody looked at it.
        attempt: 1,
        published: delivery.published,
        header: delivery.message.header.clone(),
    });
    let mut absences = 0;
    loop {
        let call = work.call(&delivery, delivered.clone());
        let request = call.id;
        let outcome = {
            // The semaphore is never closed.
            let _turn = work.turns.acquire().await;
            if *stopped.borrow() {
                return Left { key };
            }
            work.client.call(call).await
        };
        let Err(error) = outcome else {
            work.handled.fetch_add(1, Ordering::Relaxed);
            delivery.ack();
            return Left { key };
        };
        // Only the host says that trying again may work, of a deployment that is busy or away: no fault of the message.
        let wait = if let Some(again) = error.again {
            absences += 1;
            again.max(doubled(again, absences).min(LONGEST_ABSENCE))
        } else {
            absences = 0;
            work.failed.fetch_add(1, Ordering::Relaxed);
            let (topic, tries, Error { code, detail, .. }) = (&delivery.topic, delivered.attempt, &error);
            let line = format!("message {} of {topic}, try {tries}: {code} {detail}", delivered.id);
            work.deployment.log.line(request, Stream::Host, &line);
            if tries > work.subscribe.retries || is_hopeless(&error) {
                if !work.bury(&delivery, tries, &error, &mut stopped).await {
                    return Left { key };
                }
                work.set_problem(None);
                work.dead.fetch_add(1, Ordering::Relaxed);
                work.events.tell("dead-letter", &work.deployment.name, None, line);
                delivery.ack();
                return Left { key };
            }
            Arc::make_mut(&mut delivered).attempt += 1;
            work.backoff(tries)
        };
        if !pause(wait, &mut stopped).await {
            return Left { key };
        }
    }
}

/// Waits; false if the host stops meanwhile.
async fn pause(time: Duration, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        _ = stopped.wait_for(|is_stopped| *is_stopped) => false,
    }
}

/// What tells a message from all others, the same each time it comes.
fn id(delivery: &Delivery) -> String {
    let header = &delivery.message.header;
    match (header.get(letters::FIRST_ID).or_else(|| header.get(MESSAGE_ID)), delivery.offset) {
        (Some(id), _) => id.to_owned(),
        (None, Some(offset)) => format!("{}/{offset}", delivery.topic),
        (None, None) => uuid::Uuid::new_v4().to_string(),
    }
}

/// A time that is twice as long with each try after the first.
fn doubled(time: Duration, tries: u32) -> Duration {
    time.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX))
}

/// Whether an error says that the message will never be understood.
fn is_hopeless(error: &Error) -> bool {
    matches!(error.code, 400 | 413 | 415 | 422)
}
