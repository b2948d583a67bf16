//! Whether a broker is open, and how closing waits for what is under way.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{BrokerError, closed};

/// The waits before something is tried again: the first one, doubled each time up to the last.
pub(crate) const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The longest patience that anybody has.
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// Tells all that hold it when the broker is closed, or dropped.
pub(crate) struct Open(watch::Sender<bool>);

/// Held by whatever must have ended before closing is over.
pub(crate) struct Held(watch::Receiver<bool>);

impl Open {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Keeps the broker from being closed for as long as it is held, or says that it is closed already.
    pub(crate) fn hold(&self) -> Result<Held, BrokerError> {
        let held = Held(self.0.subscribe());
        if held.is_over() { Err(closed()) } else { Ok(held) }
    }

    /// Closes, and waits for those that hold it, but no longer than this: a server that does not answer must not keep the host
    /// from stopping.
    pub(crate) async fn close(&self, patience: Duration) {
        self.0.send_replace(true);
        drop(timeout(patience, self.0.closed()).await);
    }
}

impl Held {
    /// Whether the broker was closed or dropped.
    pub(crate) fn is_over(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until it was.
    pub(crate) async fn over(&self) {
        // An error means that it was dropped.
        drop(self.0.clone().wait_for(|is_over| *is_over).await);
    }

    /// Tries until it works, patience is over, or the broker is closed: then what went wrong last is the outcome.
    pub(crate) async fn patiently<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        patience: Duration,
        attempt: impl Fn() -> F,
    ) -> Result<T, E> {
        let deadline = Instant::now() + patience.min(DAY);
        let mut wait = WAITS.0;
        loop {
            let outcome = attempt().await;
            if outcome.is_ok() || Instant::now() + wait > deadline || self.is_over() {
                return outcome;
            }
            tokio::select! {
                () = sleep(wait) => wait = (wait * 2).min(WAITS.1),
                () = self.over() => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closing_waits_for_who_holds_it_but_not_for_ever() {
        let open = Open::new();
        let held = open.hold().unwrap();
        let begun = Instant::now();
        let patience = Duration::from_secs(10);
        tokio::join!(open.close(patience), async move {
            held.over().await;
            sleep(patience / 2).await;
            drop(held);
        });
        assert_eq!(begun.elapsed(), patience / 2);
        assert!(matches!(open.hold(), Err(BrokerError::Unavailable(_))));

        let open = Open::new();
        let held = open.hold().unwrap();
        let begun = Instant::now();
        open.close(patience).await;
        assert_eq!(begun.elapsed(), patience);
        assert!(held.is_over());
    }

    #[tokio::test]
    async fn what_is_held_of_a_dropped_broker_is_over() {
        let held = Open::new().hold().unwrap();
        held.over().await;
        assert!(held.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_with_success_with_time_and_with_closing() {
        let open = Open::new();
        let held = open.hold().unwrap();
        let tries = Cell::new(0);
        let third = || async {
            tries.set(tries.get() + 1);
            if tries.get() == 3 { Ok(()) } else { Err(tries.get()) }
        };
        assert_eq!(held.patiently(Duration::MAX, third).await, Ok(()));
        let begun = Instant::now();
        assert_eq!(held.patiently(Duration::from_secs(9), || async { Err::<(), _>("late") }).await, Err("late"));
        assert!(begun.elapsed() <= Duration::from_secs(9));
        let endless = held.patiently(Duration::MAX, || async { Err::<(), _>("closed") });
        let (outcome, ()) = tokio::join!(endless, open.close(Duration::ZERO));
        assert_eq!(outcome, Err("closed"));
    }
}
