//! Dead letters: messages that failed again and again, kept for somebody to look at.
//!
//! Each group has a topic for its own, [`topic`]. A letter is the message as it was, with what happened to it in its
//! header. One that comes again is published to its first topic, for its group alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micro_mesh::broker::topic::DEAD_LETTERS;
use micro_mesh::broker::{
    BrokerError, Delivery, MESSAGE_ID, Message, Position, PublishOptions, Remove, Stored, TopicUsage,
};
use micro_mesh::{Broker, Error};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;
use uuid::Uuid;

/// Who keeps the letters, where the broker keeps messages for groups alone.
pub(super) const GROUP: &str = "letters";

/// What a letter's header says of its death.
const TOPIC: &str = "micro-dead-topic";
const ERROR: &str = "micro-dead-error";
const TRIES: &str = "micro-dead-tries";
const DIED: &str = "micro-dead-at";

/// The bytes of the body that a letter had no room for.
const CUT: &str = "micro-dead-body-bytes";

/// The id of a message that comes again, before it was given another for the broker.
pub(super) const FIRST_ID: &str = "micro-first-id";

/// The one group that a message is for.
pub(super) const ONLY: &str = "micro-only-group";

/// Letters that are looked at together.
const PAGE: usize = 256;

/// The longest error that a letter tells.
const MAX_ERROR: usize = 1024;

/// The topic of a group's dead letters.
pub(super) fn topic(group: &str) -> String {
    format!("{DEAD_LETTERS}{group}")
}

/// The letter that a message becomes.
pub(super) fn letter(delivery: &Delivery, tries: u32, error: &Error) -> Message {
    let error = format!("{} {}", error.code, error.detail);
    let error: String = error.chars().take(MAX_ERROR).collect();
    let mut letter = delivery.message.clone();
    // What only the host says: a publisher that says it is not heard.
    for name in [ONLY, CUT] {
        letter.header.remove(name);
    }
    letter
        .with(TOPIC, &*delivery.topic)
        .with(ERROR, error)
        .with(TRIES, tries.to_string())
        .with(DIED, humantime::format_rfc3339_millis(SystemTime::now()).to_string())
}

/// The same letter without what its publisher gave it: there is no room for that.
pub(super) fn cut(letter: &Message) -> Message {
    let told = [TOPIC, ERROR, TRIES, DIED].into_iter().filter_map(|name| Some((name, letter.header.get(name)?)));
    Message { header: told.collect(), ..Message::default() }.with(CUT, letter.body.len().to_string())
}

/// Whether a letter was cut.
pub(super) fn is_cut(letter: &Message) -> bool {
    letter.header.get(CUT).is_some()
}

/// The dead letters of a host.
#[derive(Clone)]
pub struct Letters {
    broker: Arc<dyn Broker>,
}

/// One dead letter as the admin API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// By which it is named, within its group.
    pub offset: u64,
    /// The group that could not do with it.
    pub group: String,
    /// Where it was published.
    pub topic: String,
    /// The last error.
    pub error: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it died.
    pub died_at: String,
    /// What its publisher said about it.
    pub header: BTreeMap<String, String>,
    /// The payload, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The same as base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl Letters {
    pub(in crate::runtime) fn new(broker: Arc<dyn Broker>) -> Letters {
        Letters { broker }
    }

    /// How many dead letters each group has, of those that have some.
    pub async fn groups(&self) -> Result<BTreeMap<String, u64>, BrokerError> {
        Ok(letter_counts(&self.broker.topics().await?))
    }

    /// The dead letters of a group, the oldest first.
    pub async fn list(&self, group: &str, from: u64, limit: usize) -> Result<Vec<DeadLetter>, BrokerError> {
        let letters = self.broker.read(&topic(group), Position::Offset(from), limit.min(PAGE)).await?;
        Ok(letters.into_iter().map(|stored| show(group, stored)).collect())
    }

    /// Lets a letter of a group come again, or all of them; gives how many there were.
    pub async fn retry(&self, group: &str, offset: Option<u64>) -> Result<u64, BrokerError> {
        self.take(group, offset, true).await
    }

    /// Drops a letter of a group, or all of them; gives how many there were.
    pub async fn drop(&self, group: &str, offset: Option<u64>) -> Result<u64, BrokerError> {
        self.take(group, offset, false).await
    }

    async fn take(&self, group: &str, offset: Option<u64>, again: bool) -> Result<u64, BrokerError> {
        let letters = topic(group);
        // Letters that come while this goes on are left for the next time.
        let end =
            self.broker.topics().await?.into_iter().find(|usage| usage.name == letters).map_or(0, |usage| usage.next);
        let (mut from, mut count) = (offset.unwrap_or(0), 0);
        loop {
            let page =
                self.broker.read(&letters, Position::Offset(from), if offset.is_some() { 1 } else { PAGE }).await?;
            let Some(last) = page.last().map(|stored| stored.offset) else { return Ok(count) };
            for Stored { offset: at, message, .. } in page {
                if offset.is_some_and(|offset| offset != at) || at >= end {
                    return Ok(count);
                }
                if again && !self.publish_again(group, message).await? {
                    continue;
                }
                count += u64::from(self.broker.remove(Remove::Message(&letters, at)).await?);
            }
            if offset.is_some() {
                return Ok(count);
            }
            from = last + 1;
        }
    }

    /// False for what is no letter, or has lost its body: that stays where it is.
    async fn publish_again(&self, group: &str, mut message: Message) -> Result<bool, BrokerError> {
        let is_cut = is_cut(&message);
        let Some(first) = message.header.remove(TOPIC).filter(|_| !is_cut) else { return Ok(false) };
        for name in [ERROR, TRIES, DIED] {
            message.header.remove(name);
        }
        // With its old id a broker that knows messages by it would take it for one that it has already.
        let id = message.header.remove(MESSAGE_ID);
        if let (Some(id), None) = (id, message.header.get(FIRST_ID)) {
            message.header.set(FIRST_ID, id);
        }
        message.header.set(MESSAGE_ID, Uuid::new_v4().to_string());
        self.broker.publish(&first, message.with(ONLY, group), PublishOptions::default()).await?;
        Ok(true)
    }
}

/// How many dead letters each group has, of those that have some, by the topics that there are.
pub fn letter_counts(topics: &[TopicUsage]) -> BTreeMap<String, u64> {
    let counted = topics.iter().filter(|topic| topic.messages > 0);
    counted.filter_map(|topic| Some((topic.name.strip_prefix(DEAD_LETTERS)?.to_owned(), topic.messages))).collect()
}

fn show(group: &str, Stored { offset, mut message, .. }: Stored) -> DeadLetter {
    let mut take = |name| message.header.remove(name).unwrap_or_default();
    let (topic, error, tries, died_at) = (take(TOPIC), take(ERROR), take(TRIES), take(DIED));
    let header = message.header.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let body = std::str::from_utf8(&message.body).ok().map(str::to_owned);
    let body_base64 = body.is_none().then(|| STANDARD.encode(&message.body));
    let tries = tries.parse().unwrap_or_default();
    DeadLetter { offset, group: group.to_owned(), topic, error, tries, died_at, header, body, body_base64 }
}
