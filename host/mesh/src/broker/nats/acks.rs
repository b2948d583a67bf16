//! The messages of all publishers on their way to the server, and its word on each. One task sends what there is at a time:
//! for each message by itself there would be a write to the connection, and a timer.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
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

/// Calls that wait for the task, and messages that it sends together.
const TOGETHER: usize = 256;

/// Messages of which the server has yet to say whether it has them. Its word on so many finds room in the subscription.
const UNDER_WAY: usize = 2_048;

/// How often it is looked for those of which the server says nothing.
const LOOK: Duration = Duration::from_millis(500);

/// What publishers hold.
pub(super) struct Acks(mpsc::Sender<Vec<Unsent>>);

/// A message that is to be sent.
struct Unsent {
    message: Outgoing,
    tells: Tells,
}

/// A message as the server takes it.
pub(super) struct Outgoing {
    pub(super) subject: Subject,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// What is known of the messages of one publisher, who waits for all of them.
struct Outcomes {
    /// Those that are not known to be kept, by their place among them.
    unkept: Vec<(usize, Unkept)>,
    /// Those of which nothing is known yet.
    left: usize,
    told: Option<oneshot::Sender<Vec<(usize, Unkept)>>>,
}

/// Tells the publisher of one message. What is dropped without a word is taken for lost.
struct Tells {
    outcomes: Arc<Mutex<Outcomes>>,
    place: usize,
    is_told: bool,
}

impl Tells {
    fn tell(mut self, outcome: Result<(), Unkept>) {
        self.note(outcome);
    }

    fn note(&mut self, outcome: Result<(), Unkept>) {
        self.is_told = true;
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.unkept.extend(outcome.err().map(|unkept| (self.place, unkept)));
        outcomes.left -= 1;
        if outcomes.left == 0
            && let Some(told) = outcomes.told.take()
        {
            // An error means that the publisher has gone away.
            drop(told.send(std::mem::take(&mut outcomes.unkept)));
        }
    }

    /// Whether nobody waits for it any more.
    fn is_in_vain(&self) -> bool {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.told.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl Drop for Tells {
    fn drop(&mut self) {
        if !self.is_told {
            self.note(Err(Unkept::Lost));
        }
    }
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
        let (queue, waiting, losses) = (VecDeque::new(), BTreeMap::new(), link.losses());
        tokio::spawn(Task { client, stream, inbox, answers, comes, queue, waiting, next: 0 }.run(losses));
        Ok(Self(unsent))
    }

    /// Sends messages in their order, and waits until it is known of each whether the stream has it. Gives those of which it
    /// is not known that it does, by their places.
    pub(super) async fn publish(&self, messages: Vec<Outgoing>) -> Vec<(usize, Unkept)> {
        let (told, hears) = oneshot::channel();
        let left = messages.len();
        if left == 0 {
            return Vec::new();
        }
        let outcomes = Outcomes { unkept: Vec::new(), left, told: Some(told) };
        let outcomes = Arc::new(Mutex::new(outcomes));
        let unsent =
            |(place, message)| Unsent { message, tells: Tells { outcomes: outcomes.clone(), place, is_told: false } };
        let unsent = messages.into_iter().enumerate().map(unsent).collect();
        // A timer for whom there is no room only.
        if let Err(mpsc::error::TrySendError::Full(unsent)) = self.0.try_send(unsent)
            && timeout(ANSWER, self.0.send(unsent)).await.is_err()
        {
            return (0..left).map(|place| (place, Unkept::Silent)).collect();
        }
        drop(outcomes);
        // The task tells of what it can do nothing more for.
        hears.await.unwrap_or_else(|_| (0..left).map(|place| (place, Unkept::Lost)).collect())
    }
}

/// Who waits for word of a message, and since when.
struct Waits {
    tells: Tells,
    since: Instant,
}

/// What sends.
struct Task {
    client: Client,
    stream: String,
    /// Where the server's word comes to, with the number of the message as one word more.
    inbox: String,
    answers: Subscriber,
    comes: mpsc::Receiver<Vec<Unsent>>,
    /// What has come and is not sent.
    queue: VecDeque<Unsent>,
    /// By their numbers, and so in the order in which they were sent.
    waiting: BTreeMap<u64, Waits>,
    next: u64,
}

impl Task {
    async fn run(mut self, mut losses: Losses) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = UNDER_WAY.saturating_sub(self.waiting.len()).min(TOGETHER);
            let (is_more, is_idle) = (!self.queue.is_empty() && room > 0, self.queue.is_empty());
            tokio::select! {
                biased;
                () = losses.next() => self.let_go(),
                _ = looks.tick(), if !self.waiting.is_empty() => self.look(),
                answer = self.answers.next() => {
                    let Some(answer) = answer else { return };
                    self.tell(&answer);
                    let mut more = 1;
                    while more < TOGETHER && let Some(Some(answer)) = self.answers.next().now_or_never() {
                        self.tell(&answer);
                        more += 1;
                    }
                }
                () = std::future::ready(()), if is_more => {
                    tokio::select! {
                        biased;
                        () = losses.next() => self.let_go(),
                        sent = timeout(ANSWER, self.send(room)) => if sent.is_err() { self.let_go() },
                    }
                }
                unsent = self.comes.recv(), if is_idle && room > 0 => {
                    let Some(unsent) = unsent else { return };
                    self.queue.extend(unsent);
                    // Those who were told something at the same time publish their next ones now.
                    tokio::task::yield_now().await;
                    while self.queue.len() < TOGETHER && let Ok(unsent) = self.comes.try_recv() {
                        self.queue.extend(unsent);
                    }
                }
            }
        }
    }

    /// Neither sends nor waits any more. All who wait are told so.
    fn let_go(&mut self) {
        self.waiting.clear();
        self.queue.clear();
    }

    /// Sends up to so many messages.
    async fn send(&mut self, room: usize) {
        let since = Instant::now();
        for _ in 0..room {
            let Some(Unsent { message, tells }) = self.queue.pop_front() else { return };
            // Who has gone away may not want it published any more.
            if tells.is_in_vain() {
                continue;
            }
            let number = self.next;
            self.next += 1;
            self.waiting.insert(number, Waits { tells, since });
            let reply = format!("{}.{number}", self.inbox);
            let Outgoing { subject, headers, payload } = message;
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
            waits.tells.tell(outcome);
        }
    }

    /// Tells those that have waited for too long.
    fn look(&mut self) {
        while let Some(first) = self.waiting.first_entry() {
            if first.get().since.elapsed() < ANSWER {
                return;
            }
            first.remove().tells.tell(Err(Unkept::Silent));
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
