//! Publishing to a stream: again and again for as long as the publisher has patience, and once in what is kept.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use std::error::Error;
use tokio::time::{Instant, sleep};

use super::check_own;
use super::core::{check_size, too_large};
use super::jetstream::{JetStream, now, unique};
use super::link::ANSWER;
use super::stream::{Refusal, is_full};
use crate::broker::topic::check_topic;
use crate::broker::{Broker, BrokerError, MESSAGE_ID, Message, PublishOptions, closed, envelope, unsupported};

/// How often room is made for one message, which may be larger than what was taken away for it.
const ROOMS: usize = 10;

/// How soon a message that was not taken is published again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl JetStream {
    pub(super) async fn publish_and_wait(
        &self,
        topic: &str,
        message: Message,
        options: PublishOptions,
    ) -> Result<(), BrokerError> {
        check_topic(topic)?;
        check_own(topic)?;
        message.check(topic)?;
        let held = self.stream().link.hold()?;
        let payload = envelope::write(topic, &message)?;
        let size = payload.len();
        check_size(&self.stream().link, topic, size)?;
        // The server knows ids across all topics, and a message may be published to several.
        let id = message.header.get(MESSAGE_ID).map_or_else(|| unique(&self.stream().link.client), str::to_owned);
        let publish =
            PublishMessage::build().payload(payload).header(NATS_MESSAGE_ID, format!("{topic}:{}", plain(&id)));
        let (subject, publish) = match options.deliver_at.filter(|at| *at > now()) {
            Some(at) => (self.stream().later(&unique(&self.stream().link.client)), self.scheduled(topic, at, publish)?),
            None => (topic.to_owned(), publish),
        };
        let deadline = Instant::now() + options.patience;
        let mut wait = RETRY.0;
        let mut rooms = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let made = self.stream().room_made();
            let error = match self.publish_once(topic, &subject, (publish.clone(), size), left).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if matches!(error, BrokerError::Full(_)) && rooms < ROOMS && self.stream().make_room(made).await {
                rooms += 1;
                continue;
            }
            let may_pass = matches!(error, BrokerError::Full(_) | BrokerError::Unavailable(_));
            let left = deadline.saturating_duration_since(Instant::now());
            if !may_pass || left.is_zero() {
                return Err(error);
            }
            tokio::select! {
                biased;
                () = held.over() => return Err(closed()),
                () = sleep(wait.min(left)) => {}
            }
            wait = (wait * 2).min(RETRY.1);
        }
    }

    async fn publish_once(
        &self,
        topic: &str,
        subject: &str,
        (publish, size): (PublishMessage, usize),
        patience: Duration,
    ) -> Result<(), BrokerError> {
        let stream = self.stream();
        stream.link.connected(patience).await?;
        // A second time where the stream is not what it was: somebody may have changed it, or taken it away.
        for _ in 0..2 {
            stream.link.answered(ANSWER * 2, stream.keep(topic)).await?;
            if subject != topic {
                stream.link.answered(ANSWER * 2, stream.keep(&stream.later(">"))).await?;
            }
            let send = async {
                Ok(match stream.context.send_publish(subject.to_owned(), publish.clone()).await {
                    Ok(answer) => answer.await,
                    Err(error) => Err(error),
                })
            };
            match stream.link.answered(ANSWER * 2, send).await? {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == PublishErrorKind::StreamNotFound => stream.forget(),
                Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    return Err(too_large(&stream.link, topic, size));
                }
                Err(error) => return Err(self.refused(topic, &error)),
            }
        }
        Err(stream.link.lost(&format!("no stream takes topic {topic} at the moment")))
    }

    /// What is said to a publisher whose message was not taken.
    fn refused(&self, topic: &str, error: &PublishError) -> BrokerError {
        let Some(refusal) = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()) else {
            return self
                .stream()
                .link
                .lost(&format!("publish to topic {topic}: {error}; it may have been kept all the same"));
        };
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

    /// The message as one that the server publishes at its time.
    fn scheduled(&self, topic: &str, at: u64, publish: PublishMessage) -> Result<PublishMessage, BrokerError> {
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
        let at = format!(
            "@at {:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond()
        );
        Ok(publish.header("Nats-Schedule", at).header("Nats-Schedule-Target", topic))
    }
}

/// An id as a header of NATS can have it, which takes no line breaks.
fn plain(id: &str) -> String {
    id.chars().map(|char| if char.is_control() { '_' } else { char }).collect()
}
