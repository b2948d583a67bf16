//! What stands between a consumer of the server and one subscription: it asks for as many messages as the subscription
//! has room for, hands them over, and tells the server what became of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::{Message as Raw, StatusCode, Subject};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tracing::{debug, warn};

use super::inbox::{ASKED, Inbox, RETURNED};
use super::is_named;
use super::jetstream::{Member, Reader};
use super::link::{ANSWER, Watch};
use super::stream::Stream;
use crate::broker::{BrokerError, Delivery, Done, Told};

/// How often the server hears that deliveries are still worked on; a third of the time it waits for that.
const PROGRESS: Duration = Duration::from_secs(10);

/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(30);

/// When a request must have been answered, if only with the word that nothing came; and what was given back be known.
const OVERDUE: Duration = Duration::from_secs(40);

/// How soon a consumer that is gone is looked for, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long a subscription that ends waits for the rest of what was sent to it.
const LAST: Duration = Duration::from_secs(2);

/// Messages and outcomes that are looked at before it is looked whether all is over.
const TOGETHER: usize = 64;

/// What the server is told of a delivery: it is done with.
const ACK: &[u8] = b"+ACK";

/// It is given back.
const NAK: &[u8] = b"-NAK";

/// It is worked on.
const WORKING: &[u8] = b"+WPI";

/// What the server says to those who asked a consumer that is taken away.
const DELETED: &str = "Consumer Deleted";

/// A subscription's task.
pub(super) struct Pump {
    stream: Arc<Stream>,
    reader: Reader,
    prefetch: usize,
    inbox: Inbox,
    /// That of the connection before, while something asked for there may come, and until when.
    former: Option<(Inbox, Instant)>,
    outcomes: mpsc::Receiver<Done>,
    report: mpsc::Sender<Done>,
    /// What was handed over and not decided: where its outcome is told, if still anywhere, and its place in the stream.
    /// In the order in which it came, so that it is given back in that order.
    held: BTreeMap<u64, (Option<Subject>, u64)>,
    next: u64,
    /// Messages that were asked for and have not come.
    asked: usize,
    asked_at: Instant,
    /// Messages that were given back, and the server has not yet said that it knows.
    returning: usize,
    returned_at: Instant,
    /// When to look for the consumer again, and how long after that.
    retry: Option<(Instant, Duration)>,
    /// Since when the consumer and its stream may be others than they were, or gone.
    doubted: Instant,
    /// Messages that were given back after the subscription was dropped.
    given_back: usize,
    /// The place of the last message that came.
    last: u64,
    /// Its subject, and as a topic if the pattern names it.
    topic: Option<(Subject, Option<Arc<str>>)>,
}

/// What happens next to a pump.
enum Step {
    Left,
    Outcome(Option<Done>),
    Message(Option<Raw>),
    Tick,
    Reconnected(u64),
    Retry,
    Closed,
}

impl Pump {
    pub(super) fn new(stream: Arc<Stream>, reader: Reader, prefetch: usize, inbox: Inbox) -> Self {
        let (report, outcomes) = mpsc::channel(prefetch);
        let last = reader.from.saturating_sub(1);
        Self {
            stream,
            reader,
            prefetch,
            inbox,
            former: None,
            outcomes,
            report,
            held: BTreeMap::new(),
            next: 0,
            asked: 0,
            asked_at: Instant::now(),
            returning: 0,
            returned_at: Instant::now(),
            retry: None,
            doubted: Instant::now(),
            given_back: 0,
            last,
            topic: None,
        }
    }

    /// Runs until the subscription is dropped and all its deliveries are decided, or the broker is closed.
    pub(super) async fn run(mut self, deliveries: mpsc::Sender<Delivery>, mut watch: Watch, member: Member) {
        let mut ticks = interval_at(Instant::now() + PROGRESS, PROGRESS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut joined = Some((deliveries, member));
        let mut left_at = Instant::now();
        loop {
            let deliveries = joined.as_ref().map(|(deliveries, _)| deliveries);
            let is_leaving = deliveries.is_none();
            if is_leaving && (self.inbox.is_over || left_at.elapsed() > ANSWER) && self.held.is_empty() {
                break;
            }
            if !is_leaving {
                if self.inbox.is_over {
                    break;
                }
                self.ask().await;
            }
            let retry_at = self.retry.map_or_else(Instant::now, |(at, _)| at);
            let step = tokio::select! {
                biased;
                () = watch.closed() => Step::Closed,
                () = left(deliveries) => Step::Left,
                outcome = self.outcomes.recv() => Step::Outcome(outcome),
                message = self.inbox.next(), if !self.inbox.is_over => Step::Message(message),
                message = late(&mut self.former) => Step::Message(Some(message)),
                connected = watch.other() => Step::Reconnected(connected),
                () = sleep_until(retry_at), if self.retry.is_some() && !is_leaving => Step::Retry,
                _ = ticks.tick() => Step::Tick,
            };
            match step {
                Step::Closed => break,
                Step::Left => {
                    // What was handed over at the last moment goes with the other end, and is given back.
                    joined = None;
                    left_at = Instant::now();
                    let _ = timeout(ANSWER, self.inbox.finish(2 * self.prefetch)).await;
                }
                Step::Outcome(Some(outcome)) => {
                    self.settle(outcome, is_leaving).await;
                    for _ in 1..TOGETHER {
                        let Ok(outcome) = self.outcomes.try_recv() else { break };
                        self.settle(outcome, is_leaving).await;
                    }
                }
                Step::Message(Some(message)) => {
                    self.take(message, deliveries).await;
                    for _ in 1..TOGETHER {
                        let Some(message) = self.inbox.try_next() else { break };
                        self.take(message, deliveries).await;
                    }
                }
                Step::Message(None) | Step::Outcome(None) => {}
                Step::Tick => {
                    self.former.take_if(|(_, until)| until.elapsed() > Duration::ZERO);
                    self.tell_progress().await;
                    // Only then what the server may take long to answer.
                    let _ = timeout(ANSWER, self.look_after()).await;
                }
                Step::Reconnected(connected) => {
                    watch.know(connected);
                    self.begin_anew(deliveries).await;
                }
                Step::Retry => self.look_for_consumer().await,
            }
        }
        let _ = timeout(ANSWER, self.give_back()).await;
        drop(joined);
        let _ = timeout(ANSWER, self.reader.leave(&self.stream, self.given_back)).await;
    }

    /// Begins on another connection. It may be to another server, or to one without what it had.
    async fn begin_anew(&mut self, deliveries: Option<&mpsc::Sender<Delivery>>) {
        (self.asked, self.returning) = (0, 0);
        self.doubt(Duration::ZERO);
        if deliveries.is_none() {
            return self.tell_progress().await;
        }
        // The server counts by itself what it sends on each connection. What waited for this one may ask for the other inbox.
        if let Ok(Ok(inbox)) = timeout(ANSWER, Inbox::open(&self.stream.link.client)).await {
            self.former = Some((std::mem::replace(&mut self.inbox, inbox), Instant::now() + OVERDUE));
        }
    }

    /// Tells what was decided at the end, and gives back everything else, that others need not wait for it.
    async fn give_back(&mut self) {
        let mut late = Vec::new();
        if !self.inbox.is_over {
            // The server would give back to this one what is given back before it has forgotten it.
            self.inbox.finish(2 * self.prefetch).await;
            let rest = async {
                while let Some(message) = self.inbox.next().await {
                    late.extend(message.reply);
                }
            };
            if timeout(LAST, rest).await.is_err() {
                self.inbox.abandon().await;
            }
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.settle(outcome, true).await;
        }
        let held = std::mem::take(&mut self.held).into_values().filter_map(|(reply, _)| reply);
        for reply in held.chain(late) {
            self.given_back += 1;
            self.send(reply, None, Bytes::from_static(NAK)).await;
        }
    }

    /// Asks for as many messages as there is room for.
    async fn ask(&mut self) {
        let room = self.prefetch.saturating_sub(self.held.len() + self.asked + self.returning);
        // A few at a time are worth a request, and none is out where messages could come.
        if room == 0 || self.retry.is_some() || (self.asked > 0 && room < self.prefetch.div_ceil(2)) {
            return;
        }
        let expires = u64::try_from(EXPIRES.as_nanos()).unwrap_or(u64::MAX);
        let request = json!({ "batch": room, "expires": expires }).to_string();
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream.name, self.reader.name);
        self.asked += room;
        self.asked_at = Instant::now();
        self.send(subject.into(), Some(self.inbox.place(ASKED)), request.into()).await;
    }

    /// Takes what the server sent.
    async fn take(&mut self, message: Raw, deliveries: Option<&mpsc::Sender<Delivery>>) {
        // Whoever publishes can put what looks like a status into a message: the server's own come to the inbox.
        if let Some(about) = self.inbox.end_of(&message.subject) {
            return self.heed(about, &message);
        }
        let Some(reply) = message.reply.clone() else { return };
        let Some((attempt, offset, published)) = place(&reply) else {
            warn!("broker {}: a message without its place: {reply}", self.stream.link.shown);
            return;
        };
        self.asked = self.asked.saturating_sub(1);
        self.last = offset;
        if let Some((_, wait)) = &mut self.retry {
            *wait = RETRY.0;
        }
        let Some(topic) = self.topic(&message.subject) else {
            return self.send(reply, None, Bytes::from_static(ACK)).await;
        };
        // More than there is room for comes where a request still stood that was taken for lost.
        let Some(deliveries) = deliveries.filter(|_| self.held.len() < self.prefetch) else {
            self.last = self.last.min(offset.saturating_sub(1));
            self.given_back += usize::from(deliveries.is_none());
            return self.send(reply, None, Bytes::from_static(NAK)).await;
        };
        let number = self.next;
        self.next += 1;
        self.held.insert(number, (Some(reply), offset));
        let read = super::message(&message.payload, message.headers.as_ref());
        let ticket = Told { serial: number, done: self.report.clone() };
        let mut delivery = Delivery::new(topic, read, Some(Box::new(ticket)));
        delivery.offset = Some(offset);
        delivery.published = millis(published);
        delivery.attempt = attempt;
        // One that finds no room, or nobody any more, is dropped here and so given back.
        let _ = deliveries.try_send(delivery);
    }

    /// The topic of a message, if it is one that the pattern names.
    fn topic(&mut self, subject: &Subject) -> Option<Arc<str>> {
        match &self.topic {
            Some((known, topic)) if known == subject => topic.clone(),
            _ => {
                let topic = is_named(&self.reader.pattern, subject).then(|| subject.as_str().into());
                self.topic.insert((subject.clone(), topic)).1.clone()
            }
        }
    }

    /// Heeds what the server says of a request, or of what was given back.
    fn heed(&mut self, about: &str, message: &Raw) {
        let status = message.status;
        if about == RETURNED {
            self.returning = self.returning.saturating_sub(1);
        } else {
            let pending = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
            let pending = pending.and_then(|count| count.as_str().parse().ok()).unwrap_or(self.asked);
            let is_over = status.is_some_and(|status| status != StatusCode::IDLE_HEARTBEAT);
            self.asked = self.asked.saturating_sub(if is_over { pending } else { 0 });
        }
        let Some(status) = status else { return };
        if status == StatusCode::IDLE_HEARTBEAT || status == StatusCode::TIMEOUT {
            return;
        }
        let said = message.description.as_deref().unwrap_or_default();
        debug!("broker {}: consumer {}: {status} {said}", self.stream.link.shown, self.reader.name);
        if said == DELETED {
            self.void();
        }
        if self.retry.is_none() {
            self.doubt(RETRY.0);
        }
    }

    /// Looks for the consumer and its stream after this time.
    fn doubt(&mut self, wait: Duration) {
        let now = Instant::now();
        (self.doubted, self.retry) = (now, Some((now + wait, RETRY.0)));
    }

    /// Takes what is held for what no consumer waits for: one of the same name would take word of it for word of what it gave
    /// to somebody else.
    fn void(&mut self) {
        self.held.values_mut().for_each(|(reply, _)| *reply = None);
    }

    async fn settle(&mut self, Done { serial: number, is_acked }: Done, is_leaving: bool) {
        let Some((Some(reply), offset)) = self.held.remove(&number) else { return };
        if is_acked {
            return self.send(reply, None, Bytes::from_static(ACK)).await;
        }
        // The next one is asked for when the server has this one back, so that this one comes first again.
        self.last = self.last.min(offset.saturating_sub(1));
        self.given_back += usize::from(is_leaving);
        self.returning += 1;
        self.returned_at = Instant::now();
        self.send(reply, Some(self.inbox.place(RETURNED)), Bytes::from_static(NAK)).await;
    }

    /// Tells the server that what is held is worked on, and stops waiting for answers that should have been here.
    async fn tell_progress(&mut self) {
        if !self.stream.link.is_connected() {
            return;
        }
        if self.returned_at.elapsed() > OVERDUE {
            self.returning = 0;
        }
        if self.asked_at.elapsed() > OVERDUE {
            self.asked = 0;
        }
        let replies: Vec<_> = self.held.values().filter_map(|(reply, _)| reply.clone()).collect();
        for reply in replies {
            self.send(reply, None, Bytes::from_static(WORKING)).await;
        }
    }

    /// Sees to it that the stream keeps what is subscribed to, and that it is still the consumer whose messages are held.
    async fn look_after(&mut self) {
        if !self.stream.link.is_connected() {
            return;
        }
        if let Err(error) = self.stream.keep(self.reader.pattern.as_str()).await {
            debug!("{error}");
        }
        // One that is taken away ends the requests to it, and so is heard of where there are any.
        if self.asked > 0 || self.retry.is_some() || self.held.values().all(|(reply, _)| reply.is_none()) {
            return;
        }
        match self.stream.consumer(&self.reader.name).await {
            Ok(Some(info)) if self.reader.born == Some(info.created) => {}
            Ok(Some(info)) => {
                self.void();
                self.reader.born = Some(info.created);
            }
            Ok(None) => self.doubt(Duration::ZERO),
            Err(refusal) => debug!("{}", self.stream.error("look after a group in", refusal)),
        }
    }

    /// Sees to it that there is a consumer, after requests to it failed or another server may be there.
    async fn look_for_consumer(&mut self) {
        let Some((_, wait)) = self.retry.take() else { return };
        if let Err(error) = self.find_consumer().await {
            warn!("{error}");
            let wait = (wait * 2).min(RETRY.1);
            self.retry = Some((Instant::now() + wait, wait));
            return;
        }
        // Nothing was heard of what is held for as long as the connection was lost.
        self.tell_progress().await;
    }

    async fn find_consumer(&mut self) -> Result<(), BrokerError> {
        let stream = &self.stream;
        stream.forget_before(self.doubted);
        let info = match stream.keep(self.reader.pattern.as_str()).await? {
            Some(info) => info,
            None => stream.info().await.map_err(|refusal| stream.error("subscribe to", refusal))?,
        };
        let (last, last_seq) = (self.last, info.state.last_seq);
        let held = self.held.values().map(|(_, offset)| *offset).min();
        let mut first = held.map_or(last + 1, |held| held.min(last + 1)).max(1);
        let is_other = info.created != self.reader.made;
        if is_other {
            // What is held is of a stream that is gone. In this one the same place is another message's.
            self.void();
            (self.reader.made, self.last) = (info.created, 0);
        }
        if is_other || first > last_seq + 1 {
            // The server has lost the end of it, and what is there now may be new.
            first = 1;
        }
        let born = self.reader.born;
        let policy = DeliverPolicy::ByStartSequence { start_sequence: first };
        self.reader.ensure(&self.stream, policy).await?;
        if self.reader.born != born {
            self.void();
        }
        Ok(())
    }

    async fn send(&self, subject: Subject, reply: Option<String>, payload: Bytes) {
        let client = &self.stream.link.client;
        let sent = match reply {
            Some(reply) => client.publish_with_reply(subject, reply, payload).await,
            None => client.publish(subject, payload).await,
        };
        if let Err(error) = sent {
            debug!("broker {}: {error}", self.stream.link.shown);
        }
    }
}

/// The next message that comes to an inbox that is not asked for any more.
async fn late(former: &mut Option<(Inbox, Instant)>) -> Raw {
    match former {
        Some((inbox, _)) if !inbox.is_over => match inbox.next().await {
            Some(message) => message,
            None => std::future::pending().await,
        },
        _ => std::future::pending().await,
    }
}

/// Waits until nobody takes deliveries any more, where somebody did.
async fn left(deliveries: Option<&mpsc::Sender<Delivery>>) {
    match deliveries {
        Some(deliveries) => deliveries.closed().await,
        None => std::future::pending().await,
    }
}

/// Milliseconds since 1970, of nanoseconds.
pub(super) fn millis(nanos: i128) -> Option<u64> {
    u64::try_from(nanos / 1_000_000).ok()
}

/// How often a message was handed out, its place in the stream and the nanosecond at which it was published, by where its
/// outcome is told: below `$JS.ACK` and the names of the stream and the consumer, before which newer servers may put a
/// domain and an account.
fn place(reply: &str) -> Option<(u32, u64, i128)> {
    let dots = reply.bytes().filter(|byte| *byte == b'.').count();
    let names = if dots > 8 { 4 } else { 2 };
    let mut numbers = reply.strip_prefix("$JS.ACK.")?.split('.').skip(names);
    let attempt = numbers.next()?.parse().ok()?;
    let offset = numbers.next()?.parse().ok()?;
    let published = numbers.nth(1)?.parse().ok()?;
    Some((attempt, offset, published))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_message_is_where_its_outcome_is_told() {
        let place_of = Some((2, 7, 1_700_000_000_000_000_000));
        assert_eq!(place("$JS.ACK.micro.g:t.2.7.5.1700000000000000000.3"), place_of);
        assert_eq!(place("$JS.ACK._.hash.micro.g:t.2.7.5.1700000000000000000.3.token"), place_of);
        for reply in ["", "_INBOX.x", "$JS.ACK.micro.g:t.2.7.5", "$JS.ACK.micro.g:t.a.7.5.1.3"] {
            assert_eq!(place(reply), None, "{reply}");
        }
    }
}
