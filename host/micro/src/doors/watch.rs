//! Looks at a connection from time to time, and says when it has to go.

use super::connection::Connection;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The longest time between two looks.
const GLANCE: Duration = Duration::from_secs(1);

/// What is to become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It ends when its requests have ended, and begins no more.
    Leave,
    /// It ends now.
    End,
}

/// What is known of a connection from the last look.
pub(super) struct Watch {
    connection: Arc<Connection>,
    stopped: watch::Receiver<bool>,
    /// Requests that had begun.
    begun: u64,
    /// When it was last busy.
    busy: Instant,
    /// Since when a head is on its way. A connection begins with one.
    head: Option<Instant>,
    is_leaving: bool,
}

impl Watch {
    pub(super) fn new(connection: Arc<Connection>, stopped: watch::Receiver<bool>) -> Watch {
        let now = Instant::now();
        Watch { connection, stopped, begun: 0, busy: now, head: Some(now), is_leaving: false }
    }

    /// Waits until something has to happen. The watch comes back with the verdict, for what follows after it.
    pub(super) async fn look(mut self) -> (Verdict, Watch) {
        let limits = self.connection.limits();
        let glance = (limits.head.min(limits.idle) / 4).min(GLANCE);
        loop {
            let is_stopped = tokio::select! {
                // An ended sender means the host is gone, which is a stop as well.
                _ = self.stopped.wait_for(|is_stopped| *is_stopped), if !self.is_leaving => true,
                () = sleep(glance) => false,
            };
            if is_stopped {
                self.is_leaving = true;
                return (Verdict::Leave, self);
            }
            if let Some(verdict) = self.judge(Instant::now()) {
                return (verdict, self);
            }
        }
    }

    fn judge(&mut self, now: Instant) -> Option<Verdict> {
        let begun = self.connection.begun();
        if begun != self.begun || self.connection.running() > 0 {
            (self.begun, self.busy, self.head) = (begun, now, None);
            return None;
        }
        // After the first request bytes are no beginning of a head on HTTP/2: they are answers to what was sent, and
        // signs of life.
        if !self.connection.is_http2() && self.connection.is_next_on_its_way() {
            self.head.get_or_insert(now);
        }
        let limits = self.connection.limits();
        if self.head.is_some_and(|since| now - since > limits.head) {
            self.connection.count_slow();
            return Some(Verdict::End);
        }
        if now - self.busy <= limits.idle {
            return None;
        }
        if self.is_leaving {
            return Some(Verdict::End);
        }
        // Once more as long, for a caller who takes his time to say goodbye.
        (self.busy, self.is_leaving) = (now, true);
        Some(Verdict::Leave)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::limits::{DoorLimits, DoorName, Doors};

    fn watch() -> (Arc<Connection>, Watch, watch::Sender<bool>) {
        let connection = Arc::new(Connection::new(Doors::new(DoorLimits::default()), DoorName::Gateway));
        let (stop, stopped) = watch::channel(false);
        (connection.clone(), Watch::new(connection, stopped), stop)
    }

    async fn verdict_after(watch: Watch) -> (Verdict, Watch, u64) {
        let began = Instant::now();
        let (verdict, watch) = watch.look().await;
        (verdict, watch, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_says_anything_ends() {
        let (connection, watch, _stop) = watch();
        let (verdict, _, after) = verdict_after(watch).await;
        assert_eq!((verdict, after), (Verdict::End, connection.limits().head.as_secs() + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_idle_leaves_and_one_whose_head_does_not_end_is_ended() {
        let (connection, watch, _stop) = watch();
        connection.count_read(100);
        drop(connection.begin_request());
        let (verdict, watch, after) = verdict_after(watch).await;
        assert_eq!((verdict, after), (Verdict::Leave, connection.limits().idle.as_secs() + 2));
        connection.count_read(1);
        let (verdict, _, after) = verdict_after(watch).await;
        assert_eq!((verdict, after), (Verdict::End, connection.limits().head.as_secs() + 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_runs_keeps_its_connection_and_a_stop_asks_it_to_leave() {
        let (connection, watch, stop) = watch();
        let running = connection.begin_request();
        let looking = tokio::spawn(watch.look());
        sleep(Duration::from_secs(10_000)).await;
        assert!(!looking.is_finished());
        stop.send_replace(true);
        let (verdict, watch) = looking.await.unwrap();
        assert_eq!(verdict, Verdict::Leave);
        drop(running);
        assert_eq!(watch.look().await.0, Verdict::End, "whoever does not leave is put out");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_http2_that_asks_for_nothing_ends() {
        let (connection, watch, _stop) = watch();
        connection.set_http2();
        connection.count_read(100);
        let (verdict, _, after) = verdict_after(watch).await;
        assert_eq!((verdict, after), (Verdict::End, connection.limits().head.as_secs() + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_on_http2_are_no_head() {
        let (connection, watch, _stop) = watch();
        connection.set_http2();
        drop(connection.begin_request());
        let looking = tokio::spawn(watch.look());
        for _ in 0..connection.limits().idle.as_secs() {
            connection.count_read(9);
            sleep(Duration::from_secs(1)).await;
        }
        assert!(!looking.is_finished());
        assert_eq!(looking.await.unwrap().0, Verdict::Leave);
    }
}
