//! The task that takes the messages of one subscription.

use super::attempt::{Left, Work, handle};
use super::{DRAIN, SubscriptionStatus, group};
use micro_engine::manifest::{Begin, Subscribe};
use micro_mesh::broker::{Delivery, Pattern, Position, SubscribeOptions, Subscription};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

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
    /// Begins to take messages; in the place of another one as soon as what that has in work is done with, so that the
    /// order of what belongs together is kept.
    pub(super) fn begin(work: Arc<Work>, pattern: Pattern, earlier: Option<JoinHandle<()>>) -> Worker {
        let (stop, stopped) = watch::channel(false);
        let (begins, begun) = watch::channel(false);
        let running = work.clone();
        let task = tokio::spawn(async move {
            if let Some(mut earlier) = earlier {
                // The broker knows the group already.
                begins.send_replace(true);
                // One that takes longer is not waited for: its calls may last as long as they like.
                let _ = timeout(DRAIN, &mut earlier).await;
            }
            run(running, pattern, begins, stopped).await;
        });
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

    /// Takes no more messages. What it gives ends when those in work have come to their end.
    pub(super) fn leave(self) -> JoinHandle<()> {
        self.stop.send_replace(true);
        self.task
    }

    /// The same, and waits for them.
    pub(super) async fn stop(self) {
        let mut task = self.leave();
        if timeout(DRAIN, &mut task).await.is_err() {
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
    // Those that run are told when this ends, for whatever reason: one that waits to be tried again comes again.
    let (end, ended) = watch::channel(false);
    let mut in_work = 0;
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
            Some(left) = running.join_next() => {
                in_work -= 1;
                // A task that panicked has given its message back with all that waits for it, and a message of its key
                // that came meanwhile must not wait for ever: the subscription begins anew.
                let Ok(Left { key }) = left else { break };
                if let Some(key) = key {
                    match behind.get_mut(&key).and_then(VecDeque::pop_front) {
                        Some(next) => begin(work, &mut running, next, &ended),
                        None => drop(behind.remove(&key)),
                    }
                }
            }
            delivery = subscription.next() => {
                let Some(delivery) = delivery else { break };
                in_work += 1;
                match delivery.message.key().and_then(|key| behind.get_mut(key)) {
                    Some(waiting) => waiting.push_back(delivery),
                    None => {
                        if let Some(key) = delivery.message.key() {
                            behind.insert(key.to_owned(), VecDeque::new());
                        }
                        begin(work, &mut running, delivery, &ended);
                    }
                }
            }
        }
        work.note_in_work(in_work);
    }
    // What was not begun goes back.
    drop((behind, subscription));
    end.send_replace(true);
    while running.join_next().await.is_some() {}
    work.note_in_work(0);
}

fn begin(work: &Arc<Work>, running: &mut JoinSet<Left>, delivery: Delivery, stopped: &watch::Receiver<bool>) {
    running.spawn(handle(work.clone(), delivery, stopped.clone()));
}
