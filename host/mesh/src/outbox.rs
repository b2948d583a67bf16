//! The outbox: messages that are kept with the values of a store in one step, and published afterwards.
//!
//! They lie in a store of the host's own until the broker has taken them. A process that ends in between publishes again
//! what it had not taken out yet, with the same id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};
use tokio::time;

use crate::broker::{Broker, BrokerError, MESSAGE_ID, Message, PublishOptions, unsupported};
use crate::call::RequestId;
use crate::store::{
    Change, Clock, KeyQuery, MAX_CHANGES, MAX_CHANGES_BYTES, MAX_VALUE, PutOptions, Refusal, Store, StoreError,
};

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

/// The store that messages wait in.
pub const STORE: &str = "micro:outbox";

/// Before the keys of messages that wait. Behind it stands a number that rises.
const WAITING: &str = "waiting/";

/// Before the keys of messages that the broker will never take. Somebody has to look at them.
const REFUSED: &str = "refused/";

/// Messages that are published at a time, and no more than may be put aside in one step. Each takes two changes at most to
/// be taken out.
const TOGETHER: usize = MAX_CHANGES / 2;

/// How long to wait after the broker has failed; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A message, and the topic that it is published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic.
    pub topic: String,
    /// The message.
    pub message: Message,
    /// When it is delivered, in milliseconds since 1970; at once, if there is none.
    pub deliver_at: Option<u64>,
}

/// Messages between a store and a broker.
pub struct Outbox {
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    clock: Clock,
    /// The number that the newest message was given.
    newest: AtomicU64,
    waiting: AtomicU64,
    came: Notify,
    is_closed: AtomicBool,
    /// Held while messages are published and taken out.
    turn: Mutex<()>,
}

/// What is written before a message's body, on a line of its own.
#[derive(Serialize, Deserialize)]
struct Head {
    topic: String,
    header: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<u64>,
}

/// A message as it lies in the store.
struct Kept {
    key: String,
    value: Bytes,
    outgoing: Outgoing,
}

/// What became of messages that were to be published one after the other.
#[derive(Default)]
struct Outcome {
    /// How they are taken out.
    changes: Vec<Change>,
    taken: u64,
    /// Why those behind them were not tried.
    error: Option<BrokerError>,
}

impl Outbox {
    /// The outbox of a store, with what waits in it already. [`Outbox::relay`] publishes it.
    ///
    /// # Errors
    /// Whatever the store says to being read.
    pub async fn open(store: Arc<dyn Store>, broker: Arc<dyn Broker>, clock: Clock) -> Result<Self, StoreError> {
        let mut waiting = 0;
        let mut query = KeyQuery::prefix(WAITING);
        loop {
            let keys = store.keys(STORE, query.clone()).await?;
            let Some(last) = keys.last() else { break };
            waiting += keys.len() as u64;
            query.after.clone_from(last);
        }
        // Numbers go on behind those that are there, should the clock have been set back.
        let newest = query.after.strip_prefix(WAITING).and_then(|number| number.parse().ok()).unwrap_or(0);
        let (newest, waiting) = (AtomicU64::new(newest), AtomicU64::new(waiting));
        Ok(Self {
            store,
            broker,
            clock,
            newest,
            waiting,
            came: Notify::new(),
            is_closed: AtomicBool::new(false),
            turn: Mutex::default(),
        })
    }

    /// Makes changes and publishes messages: all of it, or nothing. When it returns, the changes are made and the messages
    /// are kept. Gives what [`Store::commit`] gives.
    ///
    /// # Errors
    /// What that refuses, and messages that no broker would take.
    pub async fn commit(
        self: &Arc<Self>,
        mut changes: Vec<Change>,
        messages: Vec<Outgoing>,
    ) -> Result<Vec<u64>, Refusal> {
        let (own, kept) = (changes.len(), messages.len() as u64);
        for message in messages {
            changes.push(self.to_keep(message)?);
        }
        let outbox = self.clone();
        // It goes on when its caller does not, as the store does.
        let made = tokio::spawn(async move {
            // The relay may have taken them out before this goes on.
            outbox.waiting.fetch_add(kept, Ordering::Relaxed);
            let made = outbox.store.commit(changes).await;
            match &made {
                Ok(_) if kept > 0 => outbox.came.notify_one(),
                Ok(_) => {}
                Err(_) => drop(outbox.waiting.fetch_sub(kept, Ordering::Relaxed)),
            }
            made
        });
        match made.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string()).into())) {
            Ok(mut versions) => {
                versions.truncate(own);
                Ok(versions)
            }
            Err(Refusal { change: Some(at), error: StoreError::TooLarge(_) }) if at >= own => {
                let text = "the outbox is full: the broker has yet to take what waits in it, try again when it does";
                Err(StoreError::Unavailable(text.to_owned()).into())
            }
            Err(Refusal { change, error }) => Err(Refusal { change: change.filter(|at| *at < own), error }),
        }
    }

    /// Messages that the broker has yet to take.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Gives messages to the broker as they come, until the outbox is closed.
    pub async fn relay(&self) {
        let mut pause = FIRST_PAUSE;
        while !self.is_closed.load(Ordering::SeqCst) {
            match self.publish_some().await {
                Ok(0) => self.came.notified().await,
                Ok(_) => pause = FIRST_PAUSE,
                Err(error) => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%error, "messages wait in the outbox");
                    }
                    time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    /// Publishes no more, once those that are being published are taken out: what waits then waits for the next time. Does
    /// not wait for a broker that does not answer.
    pub async fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.came.notify_one();
        // Else one of them may come twice, as it may after a crash.
        drop(time::timeout(LONGEST_PAUSE, self.turn.lock()).await);
    }

    /// Publishes the oldest messages and takes them out; says how many there were. Those of one topic and key are published
    /// one after the other.
    async fn publish_some(&self) -> Result<usize, String> {
        let _turn = self.turn.lock().await;
        if self.is_closed.load(Ordering::SeqCst) {
            return Ok(0);
        }
        let query = KeyQuery { limit: TOGETHER as u32, ..KeyQuery::prefix(WAITING) };
        let keys = self.store.keys(STORE, query).await.map_err(|error| error.to_string())?;
        let count = keys.len();
        let mut rows: BTreeMap<(String, Option<String>), Vec<Kept>> = BTreeMap::new();
        let mut all = Outcome::default();
        let mut bytes = 0;
        for key in keys {
            let entry = self.store.get(STORE, &key).await.map_err(|error| error.to_string())?;
            let Some(entry) = entry else { continue };
            bytes += entry.value.len();
            if bytes > MAX_CHANGES_BYTES {
                break;
            }
            match read(&entry.value) {
                Some(outgoing) => {
                    let row = (outgoing.topic.clone(), outgoing.message.key().map(str::to_owned));
                    rows.entry(row).or_default().push(Kept { key, value: entry.value, outgoing });
                }
                None => all.refuse(key, entry.value, "it is no message"),
            }
        }
        for outcome in future::join_all(rows.into_values().map(|row| self.publish(row))).await {
            all.changes.extend(outcome.changes);
            all.taken += outcome.taken;
            all.error = all.error.or(outcome.error);
        }
        if !all.changes.is_empty() {
            self.store.commit(all.changes).await.map_err(|refusal| refusal.to_string())?;
            self.waiting.fetch_sub(all.taken, Ordering::Relaxed);
        }
        match all.error {
            // Others may follow those that went.
            Some(error) if all.taken == 0 => Err(error.to_string()),
            _ => Ok(count),
        }
    }

    /// Publishes messages one after the other, until one has to wait.
    async fn publish(&self, row: Vec<Kept>) -> Outcome {
        let mut outcome = Outcome::default();
        for Kept { key, value, outgoing: Outgoing { topic, message, deliver_at } } in row {
            let options = PublishOptions { deliver_at, ..PublishOptions::default() };
            match self.broker.publish(&topic, message, options).await {
                Ok(()) => outcome.remove(key),
                Err(error @ (BrokerError::Full(_) | BrokerError::Unavailable(_))) => {
                    outcome.error = Some(error);
                    break;
                }
                Err(error) => outcome.refuse(key, value, &error.to_string()),
            }
        }
        outcome
    }

    /// The change that keeps a message.
    fn to_keep(&self, mut outgoing: Outgoing) -> Result<Change, StoreError> {
        let refused = |error: BrokerError| match error {
            BrokerError::TooLarge(text) => StoreError::TooLarge(text),
            BrokerError::BadName(text) => StoreError::BadName(text),
            other => StoreError::Unavailable(other.to_string()),
        };
        crate::broker::topic::check_topic(&outgoing.topic).map_err(refused)?;
        outgoing.message.check(&outgoing.topic).map_err(refused)?;
        if outgoing.deliver_at.is_some() && !self.broker.abilities().delay {
            return Err(refused(unsupported(self.broker.name(), "deliver messages later")));
        }
        if outgoing.message.header.get(MESSAGE_ID).is_none() {
            outgoing.message.header.set(MESSAGE_ID, RequestId::next().to_string());
        }
        let topic = outgoing.topic.clone();
        let value = write(outgoing);
        if value.len() > MAX_VALUE {
            return Err(StoreError::TooLarge(format!(
                "a message for topic {topic:?} has {} bytes with its topic and header, and may have {MAX_VALUE} in the \
                 outbox: publish where the data is, not the data",
                value.len()
            )));
        }
        let key = format!("{WAITING}{:020}", self.number());
        Ok(Change { store: STORE.to_owned(), key, value: Some((value, PutOptions::default())) })
    }

    /// A number that is greater than all before, from the time, so that it is so after a restart as well.
    fn number(&self) -> u64 {
        let now = self.clock.now().saturating_mul(1_000);
        let next = |newest: u64| now.max(newest.saturating_add(1));
        let update = self.newest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |newest| Some(next(newest)));
        update.map_or(now, next)
    }
}

impl Outcome {
    fn remove(&mut self, key: String) {
        self.taken += 1;
        self.changes.push(Change { store: STORE.to_owned(), key, value: None });
    }

    /// Puts a message aside that would stand in the way for ever.
    fn refuse(&mut self, key: String, value: Bytes, why: &str) {
        let aside = format!("{REFUSED}{}", key.trim_start_matches(WAITING));
        tracing::error!(
            store = STORE,
            key = aside,
            why,
            "a message in the outbox cannot be published, and is kept aside"
        );
        // First it makes the room that it then takes.
        self.remove(key);
        self.changes.push(Change { store: STORE.to_owned(), key: aside, value: Some((value, PutOptions::default())) });
    }
}

fn write(Outgoing { topic, message, deliver_at }: Outgoing) -> Bytes {
    let header = message.header.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut out = BytesMut::with_capacity(message.size() + topic.len() + 64).writer();
    // Texts and numbers always go into JSON, and JSON has no line's end of its own.
    drop(serde_json::to_writer(&mut out, &Head { topic, header, deliver_at }));
    let mut out = out.into_inner();
    out.put_u8(b'\n');
    out.put(message.body);
    out.freeze()
}

fn read(value: &Bytes) -> Option<Outgoing> {
    let end = value.iter().position(|byte| *byte == b'\n')?;
    let Head { topic, header, deliver_at } = serde_json::from_slice(value.get(..end)?).ok()?;
    let message = Message { header: header.into_iter().collect(), body: value.slice(end + 1..) };
    Some(Outgoing { topic, message, deliver_at })
}
