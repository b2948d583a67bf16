//! The messages of all publishers on their way to the server, and its word on each. One task sends what there is at a time:
//! for each message by itself there would be a write to the connection, and a timer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{Client, HeaderMap, Message as Raw, StatusCode, Subject, Subscriber, jetstream};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::link::{ANSWER, Link, Losses};
use crate::broker::BrokerError;

/// Messages that wait for the task, and that it sends together.
const TOGETHER: usize = 256;

/// Messages of which the server has yet to say whether it has them. Its word on so many finds room in the subscription.
const UNDER_WAY: usize = 2_048;

/// How often it is looked for those of which the server says nothing.
const LOOK: Duration = Duration::from_millis(500);

/// What publishers hold.
pub(super) struct Acks(mpsc::Sender<Unsent>);

/// A message that is to be sent.
struct Unsent {
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
    told: oneshot::Sender<Result<(), Unkept>>,
}

/// Why it is not known that the server has a message.
#[derive(Debug)]
pub(super) enum Unkept {
    /// It cannot be sent with its headers.
    TooLarge,
    /// No stream and nobody else takes what is published there.
    Nobody,
    /// Another stream of this name has it.
    Elsewhere(String),
    /// The stream does not take it.
    Refused(jetstream::Error),
    /// Who answered is no stream, for this reason.
    Strange(String),
    /// The connection was lost before there was an answer.
    Lost,
    /// There was none in time.
    Silent,
}

/// What a stream says of a message.
#[derive(Deserialize)]
struct Word<'a> {
    /// Empty where it is none.
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    error: Option<jetstream::Error>,
}

impl Acks {
    /// Begins to send what is published over a connection, for as long as it is there.
    pub(super) async fn begin(link: &Link, stream: &str) -> Result<Self, BrokerError> {
        let (client, stream) = (link.client.clone(), stream.to_owned());
        let inbox = client.new_inbox();
        let answers = timeout(ANSWER, client.subscribe(format!("{inbox}.*"))).await;
        let answers = answers.map_err(|_| link.lost("the server answers nothing"))?;
        let answers = answers.map_err(|error| link.lost(&error.to_string()))?;
        let (unsent, comes) = mpsc::channel(TOGETHER);
        let (waiting, losses) = (BTreeMap::new(), link.losses());
        tokio::spawn(Task { client, stream, inbox, answers, comes, waiting, next: 0 }.run(losses));
        Ok(Self(unsent))
    }

    /// Sends a message, and waits until the stream has it.
    pub(super) async fn publish(&self, subject: Subject, headers: HeaderMap, payload: Bytes) -> Result<(), Unkept> {
        let (told, hears) = oneshot::channel();
        let unsent = Unsent { subject, headers, payload, told };
        // A timer for whom there is no room only.
        if let Err(mpsc::error::TrySendError::Full(unsent)) = self.0.try_send(unsent) {
            timeout(ANSWER, self.0.send(unsent)).await.map_err(|_| Unkept::Silent)?.map_err(|_| Unkept::Lost)?;
        }
        // The task lets go of what it can do nothing more for.
        hears.await.unwrap_or(Err(Unkept::Lost))
    }
}

/// Who waits for word of a message, and since when.
struct Waits {
    told: oneshot::Sender<Result<(), Unkept>>,
    since: Instant,
}

/// What sends.
struct Task {
    client: Client,
    stream: String,
    /// Where the server's word comes to, with the number of the message as one word more.
    inbox: String,
    answers: Subscriber,
    comes: mpsc::Receiver<Unsent>,
    /// By their numbers, and so in the order in which they were sent.
    waiting: BTreeMap<u64, Waits>,
    next: u64,
}

impl Task {
    async fn run(mut self, mut losses: Losses) {
        let mut batch = Vec::with_capacity(TOGETHER);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = UNDER_WAY.saturating_sub(self.waiting.len()).min(TOGETHER);
            tokio::select! {
                biased;
                () = losses.next() => self.waiting.clear(),
                answer = self.answers.next() => {
                    let Some(answer) = answer else { return };
                    self.tell(&answer);
                    let mut more = 1;
                    while more < TOGETHER && let Some(Some(answer)) = self.answers.next().now_or_never() {
                        self.tell(&answer);
                        more += 1;
                    }
                }
                count = self.comes.recv_many(&mut batch, room), if room > 0 => {
                    if count == 0 {
                        return;
                    }
                    // Those who were told something at the same time publish their next ones now.
                    tokio::task::yield_now().await;
                    while batch.len() < room && let Ok(unsent) = self.comes.try_recv() {
                        batch.push(unsent);
                    }
                    tokio::select! {
                        biased;
                        () = losses.next() => self.waiting.clear(),
                        _ = timeout(ANSWER, self.send(&mut batch)) => {}
                    }
                    batch.clear();
                }
                _ = looks.tick(), if !self.waiting.is_empty() => self.look(),
            }
        }
    }

    async fn send(&mut self, batch: &mut Vec<Unsent>) {
        let since = Instant::now();
        for Unsent { subject, headers, payload, told } in batch.drain(..) {
            // Who has gone away may not want it published any more.
            if told.is_closed() {
                continue;
            }
            let number = self.next;
            self.next += 1;
            self.waiting.insert(number, Waits { told, since });
            let reply = format!("{}.{number}", self.inbox);
            let Err(error) = self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await else {
                continue;
            };
            let unkept = match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Unkept::TooLarge,
                _ => Unkept::Lost,
            };
            self.answer(number, Err(unkept));
        }
    }

    /// Hands on what was said of a message.
    fn tell(&mut self, answer: &Raw) {
        let number = answer.subject.as_str().strip_prefix(&self.inbox).and_then(|rest| rest.strip_prefix('.'));
        let Some(number) = number.and_then(|number| number.parse().ok()) else { return };
        let outcome = match answer.status {
            Some(StatusCode::NO_RESPONDERS) => Err(Unkept::Nobody),
            _ => read(&answer.payload, &self.stream),
        };
        self.answer(number, outcome);
    }

    fn answer(&mut self, number: u64, outcome: Result<(), Unkept>) {
        if let Some(waits) = self.waiting.remove(&number) {
            // An error means that the publisher has gone away.
            drop(waits.told.send(outcome));
        }
    }

    /// Tells those that have waited for too long.
    fn look(&mut self) {
        while let Some(first) = self.waiting.first_entry() {
            if first.get().since.elapsed() < ANSWER {
                return;
            }
            drop(first.remove().told.send(Err(Unkept::Silent)));
        }
    }
}

/// Whether the stream has it.
fn read(payload: &[u8], stream: &str) -> Result<(), Unkept> {
    match serde_json::from_slice(payload) {
        Ok(Word { error: Some(refusal), .. }) => Err(Unkept::Refused(refusal)),
        Ok(Word { stream: name, .. }) if name == stream => Ok(()),
        Ok(Word { stream: name, .. }) if name.is_empty() => Err(Unkept::Strange("it names no stream".to_owned())),
        Ok(Word { stream: name, .. }) => Err(Unkept::Elsewhere(name.into_owned())),
        Err(error) => Err(Unkept::Strange(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_stream_is_understood_and_that_of_others_is_not_taken_for_it() {
        let read = |text: &str| read(text.as_bytes(), "micro");
        assert!(read(r#"{"stream":"micro", "seq":7}"#).is_ok());
        assert!(read(r#"{"stream":"micro", "domain":"hub", "seq":7,"duplicate": true}"#).is_ok());
        assert!(matches!(read(r#"{"stream":"other","seq":7}"#), Err(Unkept::Elsewhere(name)) if name == "other"));
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"micro","seq":0}"#;
        let full = read(full);
        assert!(matches!(&full, Err(Unkept::Refused(error)) if error.error_code().0 == 10_077), "{full:?}");
        for strange in ["", "+OK", "{}", r#"{"stream":7}"#] {
            assert!(matches!(read(strange), Err(Unkept::Strange(_))), "{strange}");
        }
    }
}
