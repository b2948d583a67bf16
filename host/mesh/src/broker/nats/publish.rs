//! Publishing to a stream: again and again for as long as the publisher has patience, and once in what is kept.

use std::borrow::Cow;
use std::collections::HashSet;

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::ErrorCode;
use async_nats::{Subject, jetstream};
use bytes::Bytes;
use futures::future;
use tokio::time::Instant;

use super::acks::{Outgoing, Unkept};
use super::check_own;
use super::core::{check_size, too_large};
use super::jetstream::{JetStream, now, unique};
use super::link::ANSWER;
use super::stream::{Refusal, is_full};
use crate::broker::closing::{DAY, Held};
use crate::broker::together::{Waves, since};
use crate::broker::topic::check_topic;
use crate::broker::{Broker, BrokerError, MESSAGE_ID, Message, PublishOptions, closed, envelope, unsupported};

/// How often room is made in one attempt to publish a message, which may be larger than what was taken away for it.
const ROOMS: usize = 10;

/// A message as it is published, again and again with the same id.
struct Publishing<'a> {
    topic: &'a str,
    /// Where the server takes it, which is the topic unless it is for later.
    subject: Subject,
    payload: Bytes,
    id: String,
    /// The time for which it is, as the server takes it, if it is for later.
    at: Option<String>,
}

impl Publishing<'_> {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, self.id.as_str());
        if let Some(at) = &self.at {
            headers.insert("Nats-Schedule", at.as_str());
            headers.insert("Nats-Schedule-Target", self.topic);
        }
        headers
    }

    fn outgoing(&self) -> Outgoing {
        Outgoing { subject: self.subject.clone(), headers: self.headers(), payload: self.payload.clone() }
    }
}

impl JetStream {
    pub(super) async fn publish_and_wait(
        &self,
        topic: &str,
        message: Message,
        options: PublishOptions,
    ) -> Result<(), BrokerError> {
        check_topic(topic)?;
        check_own(topic)?;
        let held = self.stream().link.hold()?;
        let publishing = self.publishing(topic, Subject::from(topic), &message, options.deliver_at)?;
        self.publish_patiently(&held, &publishing, options).await
    }

    /// Publishes messages to one topic: those of a list that are not for the same key on their way together.
    pub(super) async fn publish_many(
        &self,
        topic: &str,
        messages: Vec<(Message, PublishOptions)>,
    ) -> Vec<(usize, BrokerError)> {
        let all = |error: BrokerError| (0..messages.len()).map(|place| (place, error.clone())).collect();
        if let Err(error) = check_topic(topic).and_then(|()| check_own(topic)) {
            return all(error);
        }
        let held = match self.stream().link.hold() {
            Ok(held) => held,
            Err(error) => return all(error),
        };
        let (began, subject) = (Instant::now(), Subject::from(topic));
        let mut waves = Waves::new(topic, messages);
        loop {
            let wave = waves.next();
            if wave.is_empty() {
                return waves.unpublished();
            }
            let mut unpublished = Vec::new();
            let (mut now, mut singly) = (Vec::with_capacity(wave.len()), Vec::new());
            // Those that are for later need more than that the stream takes the topic.
            let is_ready = match self.see_to(topic).await {
                Ok(()) => self.stream().link.is_connected(),
                Err(BrokerError::Full(_) | BrokerError::Unavailable(_)) => false,
                Err(error) => {
                    waves.failed(wave.into_iter().map(|(place, _)| (place, error.clone())).collect());
                    continue;
                }
            };
            for (place, (message, options)) in wave {
                match self.publishing(topic, subject.clone(), &message, options.deliver_at) {
                    Ok(publishing) if is_ready && publishing.at.is_none() => now.push((place, publishing, options)),
                    Ok(publishing) => singly.push((place, publishing, options)),
                    Err(error) => unpublished.push((place, error)),
                }
            }
            let unkept =
                self.acks().publish(now.iter().map(|(_, publishing, _)| publishing.outgoing()).collect()).await;
            let unkept: HashSet<_> = unkept.into_iter().map(|(at, _)| at).collect();
            let again = now.into_iter().enumerate().filter(|(at, _)| unkept.contains(at));
            singly.extend(again.map(|(_, publishing)| publishing));
            let mut tries = Vec::with_capacity(singly.len());
            for (place, publishing, options) in &singly {
                tries.push(self.publish_singly(&held, *place, publishing, since(began, *options)));
            }
            unpublished.extend(future::join_all(tries).await.into_iter().flatten());
            waves.failed(unpublished);
        }
    }

    async fn publish_singly(
        &self,
        held: &Held,
        place: usize,
        publishing: &Publishing<'_>,
        options: PublishOptions,
    ) -> Option<(usize, BrokerError)> {
        Some((place, self.publish_patiently(held, publishing, options).await.err()?))
    }

    /// A message as it is published.
    fn publishing<'a>(
        &self,
        topic: &'a str,
        subject: Subject,
        message: &Message,
        deliver_at: Option<u64>,
    ) -> Result<Publishing<'a>, BrokerError> {
        message.check(topic)?;
        let link = &self.stream().link;
        let payload = envelope::write(topic, message)?;
        check_size(link, topic, payload.len())?;
        // The server knows ids across all topics, and a message may be published to several.
        let id = message.header.get(MESSAGE_ID).map_or_else(|| unique(&link.client).into(), plain);
        let id = format!("{topic}:{id}");
        let (subject, at) = match deliver_at.filter(|at| *at > now()) {
            Some(at) => (self.stream().later(&unique(&link.client)).into(), Some(self.scheduled(topic, at)?)),
            None => (subject, None),
        };
        Ok(Publishing { topic, subject, payload, id, at })
    }

    /// Publishes for as long as the publisher has patience.
    async fn publish_patiently(
        &self,
        held: &Held,
        publishing: &Publishing<'_>,
        options: PublishOptions,
    ) -> Result<(), BrokerError> {
        let patience = options.patience.min(DAY);
        let deadline = Instant::now() + patience;
        let attempt = || async {
            match self.attempt(publishing, deadline).await {
                Err(error @ (BrokerError::Full(_) | BrokerError::Unavailable(_))) => Err(error),
                decided => Ok(decided),
            }
        };
        match held.patiently(patience, attempt).await {
            Err(_) if held.is_over() && !patience.is_zero() => Err(closed()),
            outcome => outcome.flatten(),
        }
    }

    async fn attempt(&self, publishing: &Publishing<'_>, deadline: Instant) -> Result<(), BrokerError> {
        let stream = self.stream();
        stream.link.connected(deadline.saturating_duration_since(Instant::now())).await?;
        let mut rooms = 0;
        let mut was_told_otherwise = false;
        loop {
            self.see_to(publishing.topic).await?;
            if publishing.at.is_some() {
                self.see_to(&stream.later(">")).await?;
            }
            let made = stream.room_made();
            let Some((_, unkept)) = self.acks().publish(vec![publishing.outgoing()]).await.pop() else { return Ok(()) };
            match &unkept {
                Unkept::Refused(refusal)
                    if is_full(refusal.error_code()) && rooms < ROOMS && stream.make_room(made).await =>
                {
                    rooms += 1;
                    continue;
                }
                // The stream is not what it was: somebody may have changed it, or taken it away.
                Unkept::Nobody | Unkept::Elsewhere(_) => {
                    stream.forget();
                    if !was_told_otherwise {
                        was_told_otherwise = true;
                        continue;
                    }
                }
                // Where others listen, the server does not say that no stream does.
                Unkept::Silent => stream.forget(),
                _ => {}
            }
            return Err(self.failed(publishing, unkept));
        }
    }

    /// Sees to it that the stream keeps a topic. What it was once seen to keep is not asked after: what is said of the
    /// message says more.
    async fn see_to(&self, topic: &str) -> Result<(), BrokerError> {
        let stream = self.stream();
        if stream.has_kept(topic) {
            return Ok(());
        }
        stream.link.answered(ANSWER * 2, stream.keep(topic)).await.map(drop)
    }

    /// What is said to a publisher of whose message it is not known that it is kept.
    fn failed(&self, publishing: &Publishing<'_>, unkept: Unkept) -> BrokerError {
        let (link, topic) = (&self.stream().link, publishing.topic);
        let cause = match unkept {
            Unkept::TooLarge => return too_large(link, topic, publishing.payload.len()),
            Unkept::Refused(refusal) => return self.refused(topic, &refusal),
            Unkept::Nobody => return link.lost(&format!("no stream takes topic {topic} at the moment")),
            Unkept::Elsewhere(stream) => {
                return link.lost(&format!("topic {topic} is kept by stream {stream} at the moment, and not by ours"));
            }
            Unkept::Strange(cause) => format!("the answer is not a stream's, {cause}"),
            Unkept::Lost => "the connection was lost before the server answered".to_owned(),
            Unkept::Silent => "the server answers nothing".to_owned(),
        };
        link.lost(&format!("publish to topic {topic}: {cause}; it may have been kept all the same"))
    }

    /// What is said to a publisher whose message was not taken.
    fn refused(&self, topic: &str, refusal: &jetstream::Error) -> BrokerError {
        if refusal.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM {
            return BrokerError::TooLarge(format!(
                "a message for topic {topic:?} is larger than stream {} of broker {} takes: raise its max_msg_size, or \
                 publish where the data is, not the data",
                self.stream().name,
                self.stream().link.shown
            ));
        }
        if is_full(refusal.error_code()) {
            return BrokerError::Full(format!(
                "topic {topic}: stream {} of broker {} has no room ({refusal}): let the groups catch up, take old messages \
                 away, or give it more room",
                self.stream().name,
                self.stream().link.shown
            ));
        }
        self.stream().error("publish to", Refusal::No(refusal.error_code(), refusal.to_string()))
    }

    /// A time as the server takes it to publish a message then.
    fn scheduled(&self, topic: &str, at: u64) -> Result<String, BrokerError> {
        if !self.abilities().delay {
            return Err(unsupported(self.name(), "publish for later, but to a stream that allows message schedules"));
        }
        let age = u64::try_from(self.max_age().as_millis()).unwrap_or(u64::MAX);
        if at.saturating_sub(now()) >= age {
            return Err(BrokerError::Unsupported(format!(
                "topic {topic}: a message cannot wait for longer than stream {} keeps any: keep messages longer, or publish \
                 it later",
                self.stream().name
            )));
        }
        let time = async_nats::datetime::from_nanos(i128::from(at) * 1_000_000)
            .map_err(|error| BrokerError::BadName(format!("{at} is no time: {error}; give milliseconds since 1970")))?;
        Ok(format!(
            "@at {:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond()
        ))
    }
}

/// An id as a header of NATS can have it, which takes no line breaks.
fn plain(id: &str) -> Cow<'_, str> {
    if id.chars().any(char::is_control) { id.replace(char::is_control, "_").into() } else { id.into() }
}
