//! Many messages in one go, and the order of those with the same key.

use std::collections::HashMap;

use futures::{StreamExt, future, stream};
use tokio::time::Instant;

use super::{Broker, BrokerError, Message, PublishOptions};

/// Messages of one list that are on their way to the broker at a time.
const UNDER_WAY: usize = 32;

/// A message and its place among all.
pub(super) type Placed = (usize, (Message, PublishOptions));

/// Publishes messages each for itself, those of a key one after the other. See [`Broker::publish_all`].
pub(super) async fn publish_each<B: Broker + ?Sized>(
    broker: &B,
    topic: &str,
    messages: Vec<(Message, PublishOptions)>,
) -> Vec<(usize, BrokerError)> {
    let began = Instant::now();
    let mut waves = Waves::new(topic, messages);
    loop {
        let wave = waves.next();
        if wave.is_empty() {
            return waves.unpublished();
        }
        let tries = stream::iter(wave).map(|placed| publish_one(broker, topic, placed, began));
        waves.failed(tries.buffer_unordered(UNDER_WAY).filter_map(future::ready).collect().await);
    }
}

/// The place of a message that was not published, and why.
async fn publish_one<B: Broker + ?Sized>(
    broker: &B,
    topic: &str,
    (place, (message, options)): Placed,
    began: Instant,
) -> Option<(usize, BrokerError)> {
    Some((place, broker.publish(topic, message, since(began, options)).await.err()?))
}

/// Messages of which those with the same key are never under way together.
pub(super) struct Waves<'a> {
    topic: &'a str,
    /// Those that were not under way yet.
    rest: Vec<Placed>,
    /// The place of the message before each that has its key.
    before: Vec<Option<usize>>,
    state: Vec<State>,
    unpublished: Vec<(usize, BrokerError)>,
}

/// What is known of a message.
#[derive(Clone, Copy)]
enum State {
    Waits,
    UnderWay,
    Published,
    /// It was not published, because this one of its key was not.
    Failed(usize),
}

impl<'a> Waves<'a> {
    pub(super) fn new(topic: &'a str, messages: Vec<(Message, PublishOptions)>) -> Self {
        let mut last = HashMap::new();
        let before = messages.iter().enumerate().map(|(place, (message, _))| last.insert(message.key()?, place));
        let before = before.collect();
        let state = vec![State::Waits; messages.len()];
        Self { topic, rest: messages.into_iter().enumerate().collect(), before, state, unpublished: Vec::new() }
    }

    /// Those that may be published now; none when all were. Of those before, all are published that did not fail.
    pub(super) fn next(&mut self) -> Vec<Placed> {
        for state in &mut self.state {
            if matches!(state, State::UnderWay) {
                *state = State::Published;
            }
        }
        let mut wave = Vec::with_capacity(self.rest.len());
        for placed in std::mem::take(&mut self.rest) {
            let place = placed.0;
            match self.before[place].map_or(State::Published, |before| self.state[before]) {
                State::Published => {
                    self.state[place] = State::UnderWay;
                    wave.push(placed);
                }
                State::Failed(first) => {
                    self.state[place] = State::Failed(first);
                    self.unpublished.push((place, behind(self.topic, first)));
                }
                State::Waits | State::UnderWay => self.rest.push(placed),
            }
        }
        wave
    }

    /// Notes which of them were not published: behind them no other of their key is.
    pub(super) fn failed(&mut self, failed: Vec<(usize, BrokerError)>) {
        for (place, _) in &failed {
            self.state[*place] = State::Failed(*place);
        }
        self.unpublished.extend(failed);
    }

    /// The places of all that were not published.
    pub(super) fn unpublished(mut self) -> Vec<(usize, BrokerError)> {
        self.unpublished.sort_by_key(|(place, _)| *place);
        self.unpublished
    }
}

/// The patience that is left for a list: it is for all of it, and not for each message again.
pub(super) fn since(began: Instant, options: PublishOptions) -> PublishOptions {
    PublishOptions { patience: options.patience.saturating_sub(began.elapsed()), ..options }
}

/// What is said of a message behind one of its key that was not published.
fn behind(topic: &str, first: usize) -> BrokerError {
    BrokerError::Unavailable(format!(
        "topic {topic}: message {first} of the list has the same key and was not published: publish both again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::contract::{next, subscribe, text};
    use crate::broker::memory::Memory;
    use crate::broker::{Clock, KEY, MAX_MESSAGE};

    fn message(text: impl Into<Vec<u8>>, key: &str) -> (Message, PublishOptions) {
        let message = Message::new(text.into());
        (if key.is_empty() { message } else { message.with(KEY, key) }, PublishOptions::default())
    }

    #[tokio::test]
    async fn messages_of_one_key_stop_at_the_first_that_is_not_taken() {
        let broker = Memory::new(Clock::default());
        let mut all = subscribe(&broker, "t", None, 8).await;
        let large = || vec![b'.'; MAX_MESSAGE + 1];
        let list = vec![
            message("a1", "a"),
            message("b1", "b"),
            message(large(), "a"),
            message("plain", ""),
            message("a3", "a"),
            message("b2", "b"),
            message(large(), ""),
            message("end", ""),
        ];
        let failed = broker.publish_all("t", list).await;
        let failed: Vec<_> = failed.iter().map(|(place, error)| (*place, error.to_string())).collect();
        let [(2, own), (4, behind), (6, last)] = &failed[..] else { panic!("{failed:?}") };
        let bound = format!("may have {MAX_MESSAGE}");
        assert!(own.contains(&bound) && last.contains(&bound), "{failed:?}");
        assert!(behind.contains("message 2"), "{behind}");
        let mut taken = Vec::new();
        for _ in 0..5 {
            taken.push(text(&next(&mut all).await));
        }
        let place = |text: &str| taken.iter().position(|other| other == text);
        assert!(place("b1") < place("b2"), "{taken:?}");
        taken.sort_unstable();
        assert_eq!(taken, ["a1", "b1", "b2", "end", "plain"]);
    }

    #[tokio::test]
    async fn more_messages_than_are_on_their_way_at_a_time_are_all_published() {
        let broker = Memory::new(Clock::default());
        let mut all = subscribe(&broker, "t", None, 1_000).await;
        let list = (0..1_000).map(|number: usize| message(number.to_string(), "")).collect();
        assert_eq!(broker.publish_all("t", list).await, []);
        for _ in 0..1_000 {
            next(&mut all).await;
        }
    }

    #[test]
    fn no_wave_has_a_key_twice_and_none_one_behind_what_was_not_taken() {
        let mut waves = Waves::new("t", ["a", "b", "", "a", "b", "a", "b"].map(|key| message("", key)).into());
        let places = |waves: &mut Waves<'_>| waves.next().into_iter().map(|(place, _)| place).collect::<Vec<_>>();
        assert_eq!(places(&mut waves), [0, 1, 2]);
        waves.failed(vec![(2, BrokerError::Full("full".to_owned()))]);
        assert_eq!(places(&mut waves), [3, 4]);
        waves.failed(vec![(3, BrokerError::Full("full".to_owned()))]);
        assert_eq!(places(&mut waves), [6]);
        waves.failed(Vec::new());
        assert_eq!(places(&mut waves), [0_usize; 0]);
        let unpublished = waves.unpublished();
        assert_eq!(unpublished.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [2, 3, 5]);
        assert!(unpublished[2].1.to_string().contains("message 3"), "{unpublished:?}");
    }
}
