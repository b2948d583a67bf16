//! The task that takes the messages of one subscription.

use super::attempt::{Left, Work, handle};
use super::{SubscriptionStatus, group};
use micro_engine::manifest::{Begin, Subscribe};
use micro_mesh::broker::{Delivery, Pattern, Position, SubscribeOptions, Subscription};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How long to wait before a subscription is tried again that could not be had, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// One subscription of a deployment.
pub(super) struct Worker {
    work: Arc<Work>,
    stop: watch::Sender<bool>,
    begun: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// Tells when the broker was asked for the first time.
pub(super) struct Begun(watch::Receiver<bool>);

impl Begun {
    pub(super) async fn wait(mut self) {
        // A task that is gone will not ask any more.
        let _ = self.0.wait_for(|has_begun| *has_begun).await;
    }
}

impl Worker {
    /// Begins to take messages.
    pub(super) fn begin(work: Arc<Work>, pattern: Pattern) -> Worker {
        let (stop, stopped) = watch::channel(false);
        let (begins, begun) = watch::channel(false);
        let task = tokio::spawn(run(work.clone(), pattern, begins, stopped));
        Worker { work, stop, begun, task }
    }

    pub(super) fn begun(&self) -> Begun {
        Begun(self.begun.clone())
    }

    pub(super) fn subscribe(&self) -> &Subscribe {
        &self.work.subscribe
    }

    pub(super) fn status(&self) -> SubscriptionStatus {
        self.work.status()
    }

    /// Takes no more messages. Those in work come to their end.
    pub(super) fn leave(self) {
        self.stop.send_replace(true);
    }

    /// The same, and waits for them.
    pub(super) async fn stop(self, patience: Duration) {
        self.stop.send_replace(true);
        let mut task = self.task;
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            // What they had comes again.
            task.abort();
        }
    }
}

async fn run(work: Arc<Work>, pattern: Pattern, begins: watch::Sender<bool>, mut stopped: watch::Receiver<bool>) {
    let from = match work.subscribe.from {
        Begin::Latest => Position::Latest,
        Begin::Earliest => Position::Earliest,
    };
    let options =
        SubscribeOptions { group: Some(group(&work.deployment.name, &work.subscribe)), prefetch: work.prefetch, from };
    let mut pause = FIRST_PAUSE;
    loop {
        let subscribed = match work.expect_letters().await {
            Ok(()) => work.broker.subscribe(&pattern, options.clone()).await,
            Err(error) => Err(error),
        };
        begins.send_replace(true);
        match subscribed {
            Ok(subscription) => {
                work.set_problem(None);
                pause = FIRST_PAUSE;
                serve(&work, subscription, &mut stopped).await;
            }
            Err(error) => work.set_problem(Some(error.to_string())),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // An owner that is gone says the same.
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Works on messages until there are no more, or until it is told to stop.
async fn serve(work: &Arc<Work>, mut subscription: Subscription, stopped: &mut watch::Receiver<bool>) {
    let mut running: JoinSet<Left> = JoinSet::new();
    // Messages that wait for one with the same key.
    let mut behind: HashMap<String, VecDeque<Delivery>> = HashMap::new();
    let told = stopped.clone();
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
            Some(ended) = running.join_next() => {
                // A task that panicked has given its message back with all that waits for it, and a message of its key
                // that came meanwhile must not wait for ever: the subscription begins anew.
                let Ok(Left { key }) = ended else { break };
                if let Some(key) = key {
                    match behind.get_mut(&key).and_then(VecDeque::pop_front) {
                        Some(next) => begin(work, &mut running, next, &told),
                        None => drop(behind.remove(&key)),
                    }
                }
            }
            delivery = subscription.next() => {
                let Some(delivery) = delivery else { break };
                match delivery.message.key().and_then(|key| behind.get_mut(key)) {
                    Some(waiting) => waiting.push_back(delivery),
                    None => {
                        if let Some(key) = delivery.message.key() {
                            behind.insert(key.to_owned(), VecDeque::new());
                        }
                        begin(work, &mut running, delivery, &told);
                    }
                }
            }
        }
        work.note_in_work(running.len() + behind.values().map(VecDeque::len).sum::<usize>());
    }
    // What was not begun goes back.
    drop((behind, subscription));
    while running.join_next().await.is_some() {}
    work.note_in_work(0);
}

fn begin(work: &Arc<Work>, running: &mut JoinSet<Left>, delivery: Delivery, stopped: &watch::Receiver<bool>) {
    running.spawn(handle(work.clone(), delivery, stopped.clone()));
}
