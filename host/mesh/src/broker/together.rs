//! Many messages in one go, and the order of those with the same key.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, stream};
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
    let chains = stream::iter(chains(messages));
    let failed = chains.map(|chain| publish_chain(broker, topic, chain, began)).buffer_unordered(UNDER_WAY);
    let mut failed: Vec<_> = failed.map(stream::iter).flatten().collect().await;
    failed.sort_by_key(|(place, _)| *place);
    failed
}

async fn publish_chain<B: Broker + ?Sized>(
    broker: &B,
    topic: &str,
    chain: Vec<Placed>,
    began: Instant,
) -> Vec<(usize, BrokerError)> {
    let mut failed: Vec<(usize, BrokerError)> = Vec::new();
    for (place, (message, options)) in chain {
        let outcome = match failed.first() {
            None => broker.publish(topic, message, since(began, options)).await,
            Some((first, _)) => Err(behind(topic, *first)),
        };
        failed.extend(outcome.err().map(|error| (place, error)));
    }
    failed
}

/// Messages of which those with the same key are never under way together.
pub(super) struct Waves<'a> {
    topic: &'a str,
    chains: Vec<std::vec::IntoIter<Placed>>,
    /// The places of those that are under way, in the order of their chains.
    under_way: Vec<usize>,
    unpublished: Vec<(usize, BrokerError)>,
}

impl<'a> Waves<'a> {
    pub(super) fn new(topic: &'a str, messages: Vec<(Message, PublishOptions)>) -> Self {
        let chains = chains(messages).into_iter().map(Vec::into_iter).collect();
        Self { topic, chains, under_way: Vec::new(), unpublished: Vec::new() }
    }

    /// Those that may be published now; none when all were.
    pub(super) fn next(&mut self) -> Vec<Placed> {
        self.chains.retain(|chain| !chain.as_slice().is_empty());
        let wave: Vec<_> = self.chains.iter_mut().filter_map(Iterator::next).collect();
        self.under_way = wave.iter().map(|(place, _)| *place).collect();
        wave
    }

    /// Those of the last wave that were not published: behind them no other of their key is.
    pub(super) fn failed(&mut self, failed: Vec<(usize, BrokerError)>) {
        let places: HashSet<_> = failed.iter().map(|(place, _)| *place).collect();
        for (first, chain) in self.under_way.iter().zip(&mut self.chains) {
            if places.contains(first) {
                self.unpublished.extend(chain.map(|(place, _)| (place, behind(self.topic, *first))));
            }
        }
        self.unpublished.extend(failed);
    }

    /// The places of all that were not published.
    pub(super) fn unpublished(mut self) -> Vec<(usize, BrokerError)> {
        self.unpublished.sort_by_key(|(place, _)| *place);
        self.unpublished
    }
}

/// The messages of each key, in the order of the first of each; those without a key are each for themselves.
fn chains(messages: Vec<(Message, PublishOptions)>) -> Vec<Vec<Placed>> {
    let mut chains: Vec<Vec<Placed>> = Vec::with_capacity(messages.len());
    let mut by_key: HashMap<String, usize> = HashMap::new();
    for (place, message) in messages.into_iter().enumerate() {
        let chain = match message.0.key() {
            Some(key) => *by_key.entry(key.to_owned()).or_insert(chains.len()),
            None => chains.len(),
        };
        match chains.get_mut(chain) {
            Some(chain) => chain.push((place, message)),
            None => chains.push(vec![(place, message)]),
        }
    }
    chains
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
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::broker::{Abilities, KEY, Pattern, SubscribeOptions, Subscription};

    /// Takes what does not say "no", and notes it.
    #[derive(Default)]
    struct Picky(Mutex<Vec<String>>);

    #[async_trait]
    impl Broker for Picky {
        fn name(&self) -> &str {
            "picky"
        }

        fn abilities(&self) -> Abilities {
            Abilities::default()
        }

        async fn publish(&self, _: &str, message: Message, _: PublishOptions) -> Result<(), BrokerError> {
            tokio::task::yield_now().await;
            let text = String::from_utf8_lossy(&message.body).into_owned();
            if text.starts_with("no") {
                return Err(BrokerError::Full(text));
            }
            self.0.lock().unwrap().push(text);
            Ok(())
        }

        async fn subscribe(&self, _: &Pattern, _: SubscribeOptions) -> Result<Subscription, BrokerError> {
            Err(super::super::closed())
        }

        async fn close(&self) -> Result<(), BrokerError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn messages_of_one_key_stop_at_the_first_that_is_not_taken() {
        let broker = Picky::default();
        let message = |(text, key): (&str, &str)| {
            let message = Message::new(text.to_owned());
            (if key.is_empty() { message } else { message.with(KEY, key) }, PublishOptions::default())
        };
        let messages = [
            ("a1", "a"),
            ("b1", "b"),
            ("no a2", "a"),
            ("plain", ""),
            ("a3", "a"),
            ("b2", "b"),
            ("no", ""),
            ("end", ""),
        ];
        let failed = broker.publish_all("t", messages.into_iter().map(message).collect()).await;
        let mut taken = broker.0.into_inner().unwrap();
        let place = |text: &str| taken.iter().position(|other| other == text);
        assert!(place("b1") < place("b2"), "{taken:?}");
        taken.sort_unstable();
        assert_eq!(taken, ["a1", "b1", "b2", "end", "plain"]);
        let failed: Vec<_> = failed.iter().map(|(place, error)| (*place, error.to_string())).collect();
        let [(2, own), (4, behind), (6, last)] = &failed[..] else { panic!("{failed:?}") };
        assert_eq!((&**own, &**last), ("no a2", "no"));
        assert!(behind.contains("message 2"), "{behind}");
    }

    #[test]
    fn no_wave_has_a_key_twice_and_none_one_behind_what_was_not_taken() {
        let message = |key: &str| {
            let message = Message::new("");
            (if key.is_empty() { message } else { message.with(KEY, key) }, PublishOptions::default())
        };
        let mut waves = Waves::new("t", ["a", "b", "", "a", "b", "a", "b"].map(message).into());
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

    #[tokio::test]
    async fn more_messages_than_are_on_their_way_at_a_time_are_all_published() {
        let broker = Picky::default();
        let messages = (0..1_000).map(|number| (Message::new(number.to_string()), PublishOptions::default()));
        assert_eq!(broker.publish_all("t", messages.collect()).await, []);
        assert_eq!(broker.0.into_inner().unwrap().len(), 1_000);
    }
}
