//! Topics, messages and dead letters of a host.

use super::stream::{EventStream, LineStream};
use super::{ANSWER_LIMIT, Answer, Host, HostError, query, segment};
use micro_mesh::broker::MESSAGE_ID;
use reqwest::Method;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Publishing waits for the broker, as long as the host was told to; and then for its answer.
const PUBLISH_LIMIT: Duration = Duration::from_secs(600);

/// `GET /v1/topics`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Topics {
    /// The backend's name.
    pub broker: String,
    /// Every topic, sorted by name.
    pub topics: Vec<TopicLine>,
}

/// A topic in a list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TopicLine {
    /// Its name.
    pub name: String,
    /// Messages that are kept.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The offset that the next message will have.
    pub next: u64,
    /// Groups that get its messages.
    pub groups: u64,
    /// Of the group that is furthest behind.
    pub lag: Option<u64>,
}

/// `GET /v1/topics/{topic}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Messages that are kept.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The offset of the first one that is kept.
    pub first: u64,
    /// The offset that the next message will have.
    pub next: u64,
    /// Who gets its messages.
    pub groups: Vec<Group>,
}

/// Those who share the messages of a topic.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it subscribed to.
    pub pattern: String,
    /// Messages that it has yet to handle.
    pub lag: u64,
    /// Those of them that it has in work.
    pub in_flight: u64,
    /// Subscriptions that are in it.
    pub members: u64,
    /// Messages that it could not do with.
    pub dead_letters: u64,
}

/// What a replay answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Replay {
    /// What the group subscribed to.
    pub pattern: String,
}

/// What taking something away answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Removed {
    /// Whether it was there.
    pub removed: bool,
}

/// `GET /v1/dead-letters`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LetterGroups {
    /// The groups that have some.
    pub groups: Vec<LetterGroup>,
}

/// A group that has dead letters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LetterGroup {
    /// Its name.
    pub group: String,
    /// How many it has.
    pub letters: u64,
}

/// `GET /v1/dead-letters/{group}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Letters {
    /// The oldest first.
    pub letters: Vec<Letter>,
}

/// A message that a group could not do with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Letter {
    /// By which it is named, within its group.
    pub offset: u64,
    /// Where it was published.
    pub topic: String,
    /// The last error.
    pub error: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it died.
    pub died_at: String,
    /// The payload, if it is text.
    pub body: Option<String>,
}

/// How many dead letters were retried or dropped.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Taken {
    /// Let come again.
    pub retried: u64,
    /// Dropped.
    pub dropped: u64,
}

/// A message as the sidecar shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// The topic that it was published to.
    #[serde(rename = "Topic")]
    pub topic: String,
    /// What its publisher said about it.
    #[serde(rename = "Header")]
    pub header: BTreeMap<String, String>,
    /// The payload as base64.
    #[serde(rename = "Body")]
    pub body: String,
}

/// A message to publish.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// What the body is.
    pub content_type: String,
    /// What it belongs together with.
    pub key: Option<String>,
    /// When it is delivered, in milliseconds since 1970.
    pub deliver_at: Option<u64>,
    /// Tells it from all others.
    pub id: Option<String>,
    /// Headers for the subscribers.
    pub header: Vec<(String, String)>,
    /// The payload.
    pub body: Vec<u8>,
}

impl Host {
    /// Publishes a message.
    pub async fn publish(&self, topic: &str, message: Outgoing) -> Result<(), HostError> {
        let deliver_at = message.deliver_at.map(|at| at.to_string());
        let pairs = [("topic", Some(topic)), ("key", message.key.as_deref()), ("deliver_at", deliver_at.as_deref())];
        let pairs: Vec<_> = pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let request = self.open(Method::POST, &format!("/broker?{}", query(&pairs)));
        let mut request = request.timeout(PUBLISH_LIMIT).header("content-type", message.content_type);
        if let Some(id) = message.id {
            request = request.header(MESSAGE_ID, id);
        }
        let request = super::with_metadata(request, &message.header).body(message.body);
        self.send(request).await.map(drop)
    }

    /// Messages as they come.
    pub async fn subscribe(
        &self,
        topic: &str,
        queue: Option<&str>,
        from: Option<&str>,
    ) -> Result<EventStream, HostError> {
        let pairs = [("topic", Some(topic)), ("queue", queue), ("from", from)];
        let pairs: Vec<_> = pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let request = self.open(Method::GET, &format!("/broker?{}", query(&pairs)));
        let response = self.send(request.header("accept", "text/event-stream")).await?;
        Ok(EventStream::new(LineStream::of_messages(response, self.address.clone())))
    }

    /// All topics.
    pub async fn topics(&self) -> Result<Answer<Topics>, HostError> {
        let request = self.admin(Method::GET, "/v1/topics").await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// One topic with its groups.
    pub async fn topic(&self, name: &str) -> Result<Answer<Topic>, HostError> {
        let request = self.admin(Method::GET, &format!("/v1/topics/{}", segment(name))).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// Lets a group go on from somewhere else.
    pub async fn replay(
        &self,
        topic: &str,
        group: &str,
        from: &str,
        pattern: Option<&str>,
    ) -> Result<Answer<Replay>, HostError> {
        let request = self.admin(Method::POST, &format!("/v1/topics/{}/replay", segment(topic))).await?;
        let body = serde_json::json!({ "group": group, "from": from, "pattern": pattern });
        self.answer(request.timeout(ANSWER_LIMIT).json(&body)).await
    }

    /// Forgets a group, and how far it had come.
    pub async fn forget_group(
        &self,
        topic: &str,
        group: &str,
        pattern: Option<&str>,
    ) -> Result<Answer<Removed>, HostError> {
        let pairs: Vec<_> = pattern.map(|pattern| ("pattern", pattern)).into_iter().collect();
        let path = format!("/v1/topics/{}/groups/{}?{}", segment(topic), segment(group), query(&pairs));
        let request = self.admin(Method::DELETE, &path).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// The groups that have dead letters.
    pub async fn letter_groups(&self) -> Result<Answer<LetterGroups>, HostError> {
        let request = self.admin(Method::GET, "/v1/dead-letters").await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// The dead letters of a group, from an offset on.
    pub async fn letters(&self, group: &str, from: u64) -> Result<Answer<Letters>, HostError> {
        let request = self.admin(Method::GET, &format!("/v1/dead-letters/{}?from={from}", segment(group))).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// Lets a dead letter come again, or all of a group.
    pub async fn retry_letters(&self, group: &str, offset: Option<u64>) -> Result<Answer<Taken>, HostError> {
        let path = format!("/v1/dead-letters/{}/retry{}", segment(group), of_one(offset));
        let request = self.admin(Method::POST, &path).await?;
        self.answer(request.timeout(PUBLISH_LIMIT)).await
    }

    /// Drops a dead letter, or all of a group.
    pub async fn drop_letters(&self, group: &str, offset: Option<u64>) -> Result<Answer<Taken>, HostError> {
        let path = format!("/v1/dead-letters/{}{}", segment(group), of_one(offset));
        let request = self.admin(Method::DELETE, &path).await?;
        self.answer(request.timeout(PUBLISH_LIMIT)).await
    }
}

fn of_one(offset: Option<u64>) -> String {
    offset.map(|offset| format!("?offset={offset}")).unwrap_or_default()
}
