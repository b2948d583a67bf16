//! Topics, who gets their messages, and what nobody could do with.
//!
//! | path | what |
//! |---|---|
//! | `/topics` | all topics, with the room they take, and the broker's name |
//! | `/topics/{topic}` | one, with its groups |
//! | `/topics/{topic}/messages?from=earliest&limit=10` | messages as they were published |
//! | `/topics/{topic}/replay` with `POST`, `{"group", "from", "pattern"}` | lets a group go on from somewhere else |
//! | `/topics/{topic}/groups/{group}?pattern=` with `DELETE` | forgets a group |
//! | `/topics/{topic}` with `DELETE` | forgets a topic with its messages |
//! | `/dead-letters` | groups that have some, and how many |
//! | `/dead-letters/{group}?from=0&limit=100` | those of one group |
//! | `/dead-letters/{group}/retry?offset=` with `POST` | lets one come again, or all |
//! | `/dead-letters/{group}?offset=` with `DELETE` | drops one, or all |
//!
//! A position is `earliest`, `latest`, `offset:12` or `time:1700000000000`, in milliseconds since 1970.

use super::{Given, MAX_REQUEST, Refusal, Sidecar};
use crate::gateway::read_up_to;
use crate::runtime::letter_counts;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micro_mesh::Error;
use micro_mesh::broker::{BrokerError, GroupUsage, ID, Pattern, Position, Remove, Stored, TopicUsage};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Messages that one answer shows at most.
const MAX_SHOWN: usize = 256;

/// Reads a position.
pub(in crate::sidecar) fn position(text: &str) -> Result<Position, Error> {
    let unfit = || {
        let detail = format!("from {text:?}: expected earliest, latest, offset:NUMBER or time:MILLISECONDS");
        Error::bad_request(ID, detail)
    };
    let number = |text: &str| text.parse().map_err(|_| unfit());
    match (text, text.split_once(':')) {
        ("earliest", _) => Ok(Position::Earliest),
        ("latest", _) => Ok(Position::Latest),
        (_, Some(("offset", at))) => number(at).map(Position::Offset),
        (_, Some(("time", at))) => number(at).map(Position::Time),
        _ => Err(unfit()),
    }
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Refusal {
        Refusal(error.into())
    }
}

fn topic_json(TopicUsage { name, messages, bytes, first, next }: &TopicUsage) -> Value {
    json!({ "name": name, "messages": messages, "bytes": bytes, "first": first, "next": next })
}

fn group_json(GroupUsage { name, pattern, lag, in_flight, members }: &GroupUsage) -> Value {
    json!({ "name": name, "pattern": pattern, "lag": lag, "in_flight": in_flight, "members": members })
}

fn message_json(Stored { offset, published, message }: &Stored) -> Value {
    let header: Map<_, _> = message.header.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let published = crate::runtime::rfc3339_text(i64::try_from(*published).unwrap_or(i64::MAX));
    let mut shown = json!({ "offset": offset, "published": published, "header": header });
    match std::str::from_utf8(&message.body) {
        Ok(text) => shown["body"] = text.into(),
        Err(_) => shown["body_base64"] = STANDARD.encode(&message.body).into(),
    }
    shown
}

/// All topics. Those of dead letters are shown apart.
pub(super) async fn list(State(sidecar): State<Sidecar>) -> Result<Response, Refusal> {
    let broker = sidecar.gateway.runtime.broker();
    let topics = broker.topics().await?;
    let mut shown = Vec::with_capacity(topics.len());
    for topic in topics.iter().filter(|topic| !topic.name.starts_with('$')) {
        let groups = broker.groups(&topic.name).await?;
        let mut one = topic_json(topic);
        one["groups"] = groups.len().into();
        one["lag"] = groups.iter().map(|group| group.lag).max().into();
        shown.push(one);
    }
    Ok(Json(json!({ "broker": broker.name(), "topics": shown })).into_response())
}

/// One topic with its groups.
pub(super) async fn one(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
) -> Result<Response, Refusal> {
    let runtime = &sidecar.gateway.runtime;
    let broker = runtime.broker();
    let topics = broker.topics().await?;
    let letters = letter_counts(&topics);
    let topic = topics.into_iter().find(|topic| topic.name == name);
    let groups = broker.groups(&name).await?;
    if topic.is_none() && groups.is_empty() {
        let detail = format!("topic {name}: nothing was published to it, and nobody subscribed");
        return Err(Error::not_found(ID, detail).into());
    }
    let topic = topic.unwrap_or(TopicUsage { name, messages: 0, bytes: 0, first: 1, next: 1 });
    let mut shown = topic_json(&topic);
    let groups = groups.iter().map(|group| {
        let mut shown = group_json(group);
        shown["dead_letters"] = letters.get(&group.name).copied().unwrap_or_default().into();
        shown
    });
    shown["groups"] = groups.collect();
    Ok(Json(shown).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageParameters {
    from: Option<String>,
    limit: Option<usize>,
}

/// Messages as they were published.
pub(super) async fn messages(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
    Given(Query(parameters)): Given<Query<MessageParameters>>,
) -> Result<Response, Refusal> {
    let from = parameters.from.as_deref().map_or(Ok(Position::Earliest), position)?;
    let limit = parameters.limit.unwrap_or(MAX_SHOWN).min(MAX_SHOWN);
    let found = sidecar.gateway.runtime.broker().read(&name, from, limit).await?;
    Ok(Json(json!({ "messages": found.iter().map(message_json).collect::<Vec<_>>() })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    group: String,
    from: String,
    /// What the group subscribed to; the topic, if it is not said.
    pattern: Option<String>,
}

/// Lets a group go on from somewhere else.
pub(super) async fn replay(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
    body: Body,
) -> Result<Response, Refusal> {
    let body = read_up_to(body, MAX_REQUEST).await?;
    let replay: Replay = serde_json::from_slice(&body)
        .map_err(|error| Error::bad_request(ID, format!("expected {{\"group\", \"from\"}}: {error}")))?;
    let broker = sidecar.gateway.runtime.broker();
    let pattern = match replay.pattern {
        Some(pattern) => pattern,
        None => pattern_of(&broker.groups(&name).await?, &name, &replay.group)?,
    };
    broker.seek(&Pattern::new(pattern.as_str())?, &replay.group, position(&replay.from)?).await?;
    Ok(Json(json!({ "group": replay.group, "pattern": pattern, "from": replay.from })).into_response())
}

/// What a group subscribed to that gets messages of a topic.
fn pattern_of(groups: &[GroupUsage], topic: &str, group: &str) -> Result<String, Error> {
    let found: Vec<_> = groups.iter().filter(|known| known.name == group).collect();
    match found.as_slice() {
        [one] => Ok(one.pattern.clone()),
        [] => Err(Error::not_found(ID, format!("topic {topic}: no group {group} gets its messages"))),
        several => {
            let patterns: Vec<_> = several.iter().map(|group| group.pattern.as_str()).collect();
            let detail = format!("group {group} subscribed by {}: name the pattern", patterns.join(" and by "));
            Err(Error::bad_request(ID, detail))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupParameters {
    pattern: Option<String>,
}

/// Forgets a group.
pub(super) async fn forget_group(
    State(sidecar): State<Sidecar>,
    Given(Path((name, group))): Given<Path<(String, String)>>,
    Given(Query(parameters)): Given<Query<GroupParameters>>,
) -> Result<Response, Refusal> {
    let broker = sidecar.gateway.runtime.broker();
    let pattern = match parameters.pattern {
        Some(pattern) => pattern,
        None => pattern_of(&broker.groups(&name).await?, &name, &group)?,
    };
    let removed = broker.remove(Remove::Group(&Pattern::new(pattern)?, &group)).await?;
    Ok(Json(json!({ "removed": removed })).into_response())
}

/// Forgets a topic with all its messages.
pub(super) async fn forget(
    State(sidecar): State<Sidecar>,
    Given(Path(name)): Given<Path<String>>,
) -> Result<Response, Refusal> {
    let removed = sidecar.gateway.runtime.broker().remove(Remove::Topic(&name)).await?;
    Ok(Json(json!({ "removed": removed })).into_response())
}

/// Groups that have dead letters.
pub(super) async fn letters(State(sidecar): State<Sidecar>) -> Result<Response, Refusal> {
    let groups = sidecar.gateway.runtime.letters().groups().await?;
    let groups: Vec<_> = groups.into_iter().map(|(group, count)| json!({ "group": group, "letters": count })).collect();
    Ok(Json(json!({ "groups": groups })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LetterParameters {
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
}

/// The dead letters of a group.
pub(super) async fn letters_of(
    State(sidecar): State<Sidecar>,
    Given(Path(group)): Given<Path<String>>,
    Given(Query(parameters)): Given<Query<LetterParameters>>,
) -> Result<Response, Refusal> {
    let limit = parameters.limit.unwrap_or(MAX_SHOWN);
    let letters = sidecar.gateway.runtime.letters().list(&group, parameters.from, limit).await?;
    Ok(Json(json!({ "letters": letters })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneLetter {
    /// All of them, if none is named.
    offset: Option<u64>,
}

/// Lets dead letters come again.
pub(super) async fn retry(
    State(sidecar): State<Sidecar>,
    Given(Path(group)): Given<Path<String>>,
    Given(Query(OneLetter { offset })): Given<Query<OneLetter>>,
) -> Result<Response, Refusal> {
    let count = sidecar.gateway.runtime.letters().retry(&group, offset).await?;
    Ok(Json(json!({ "retried": count })).into_response())
}

/// Drops dead letters.
pub(super) async fn drop_letters(
    State(sidecar): State<Sidecar>,
    Given(Path(group)): Given<Path<String>>,
    Given(Query(OneLetter { offset })): Given<Query<OneLetter>>,
) -> Result<Response, Refusal> {
    let count = sidecar.gateway.runtime.letters().drop(&group, offset).await?;
    Ok(Json(json!({ "dropped": count })).into_response())
}
