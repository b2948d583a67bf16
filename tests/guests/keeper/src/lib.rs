//! Keeps in its store how far each key has come, so that nothing that is lost or out of order goes unseen.

/// Takes numbered messages.
#[micro::function]
mod keeper {
    use micro::{Error, events, store::Store};
    use std::hash::{BuildHasher, RandomState};

    /// One of so many tries fails, by chance.
    const FAILS: u64 = 20;

    /// How far a key has come: its last number, how many came again, and how many before one that they are behind.
    type Progress = (u64, u64, u64);

    /// What all keys together come to.
    pub struct Sum {
        pub keys: u64,
        /// Messages that did not come.
        pub missing: u64,
        pub again: u64,
        pub disordered: u64,
    }

    /// Whether a message can never be handled: one of each thousand.
    fn is_poison(number: u64) -> bool {
        number % 1000 == 500
    }

    /// The number after this one that can be handled.
    fn next(number: u64) -> u64 {
        if is_poison(number + 1) { number + 2 } else { number + 1 }
    }

    /// Takes the message with a number of a key.
    #[micro::subscribe("numbers.>", retries = 12, backoff = "2ms", concurrency = 64)]
    pub fn take(number: u64) -> Result<(), Error> {
        if is_poison(number) {
            return Err(Error::bad_request("it is poison"));
        }
        if RandomState::new().hash_one(number).is_multiple_of(FAILS) {
            return Err(Error::internal("by chance"));
        }
        let key = events::current().and_then(|event| event.key).ok_or_else(|| Error::bad_request("no key"))?;
        Store::own().update(&key, |progress: Option<Progress>| {
            let (last, again, disordered) = progress.unwrap_or_default();
            match number {
                number if number <= last => (last, again + 1, disordered),
                number if number == next(last) => (number, again, disordered),
                _ => (last, again, disordered + 1),
            }
        })?;
        Ok(())
    }

    /// What came, where each key should have come so far.
    pub fn report(numbers: u64) -> Result<Sum, Error> {
        let store = Store::own();
        let mut report = Sum { keys: 0, missing: 0, again: 0, disordered: 0 };
        for key in store.keys("")? {
            let progress = store.get(&key)?.unwrap_or_default();
            let (last, again, disordered): Progress = micro::serde_json::from_slice(&progress).unwrap_or_default();
            report.keys += 1;
            report.missing += numbers.saturating_sub(last);
            report.again += again;
            report.disordered += disordered;
        }
        Ok(report)
    }
}
