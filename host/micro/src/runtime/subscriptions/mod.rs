//! Subscriptions: messages that go to endpoints, by calls like any other.
//!
//! | part | does |
//! |---|---|
//! | [`check`] | refuses wrong subscriptions at a deploy |
//! | [`worker`] | takes the messages of one subscription, keeps the order of what belongs together, and begins their work |
//! | [`attempt`] | one message until it is done with: calls, retries, and the way to the dead letters |
//! | [`letters`] | the dead letters: shows them, lets them come again, drops them |
//! | [`publish`] | the broker as everything on this host uses it: each message gets an id, and is counted |
//!
//! A message is acknowledged when its call has returned. What fails is tried again, later each time; what still fails
//! becomes a dead letter of its group. Errors that say that the deployment is busy or away are no fault of the message: it
//! waits. Messages with the same key wait for each other, also while one of them is tried again.

mod attempt;
mod check;
mod letters;
mod publish;
mod worker;

pub(super) use check::check_subscriptions;
pub use letters::{DeadLetter, Letters, letter_counts};
pub(super) use publish::Published;

use super::deployment::Deployment;
use super::events::Events;
use attempt::Work;
use futures::future::join_all;
use micro_engine::Manifest;
use micro_engine::manifest::Subscribe;
use micro_mesh::broker::{BrokerError, Group, GroupUsage, Pattern, Remove};
use micro_mesh::{Broker, Client};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use worker::Worker;

/// How long messages in work are waited for, by a host that stops and by a worker that takes the place of another.
const DRAIN: Duration = Duration::from_secs(10);

/// How long a deploy waits until the broker knows its subscriptions.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);

/// Topics whose groups are asked for with each look at the metrics, and how long the broker has to tell.
const MOST_LAGS: usize = 1000;
const LAG_PATIENCE: Duration = Duration::from_secs(2);

/// The subscriptions of all deployments of a host. Dropping it ends the tasks that serve them.
pub(super) struct Subscriptions {
    broker: Arc<dyn Broker>,
    client: Client,
    events: Events,
    workers: Mutex<HashMap<Arc<str>, Vec<Worker>>>,
}

/// The group whose messages a subscription gets: its queue, or the deployment alone.
fn group(deployment: &str, subscribe: &Subscribe) -> Group {
    Group::durable(subscribe.queue.as_deref().unwrap_or(deployment))
}

impl Subscriptions {
    pub(super) fn new(broker: Arc<dyn Broker>, client: Client, events: Events) -> Subscriptions {
        Subscriptions { broker, client, events, workers: Mutex::default() }
    }

    /// Begins the subscriptions of the deployment's current revision that it did not have, and ends those that it has no
    /// more. A group that is left so keeps its place: a rollback takes up where it stood. What it gives waits until the
    /// broker knows the new ones, or does not answer in good time: what is published after a deploy comes to it.
    pub(super) fn set(&self, deployment: &Arc<Deployment>) -> impl Future<Output = ()> + use<> {
        let begun = self.change(deployment);
        async move {
            let all = join_all(begun.into_iter().map(worker::Begun::wait));
            if timeout(BEGIN_PATIENCE, all).await.is_err() {
                tracing::warn!("the broker does not take a subscription in good time; it is tried on");
            }
        }
    }

    fn change(&self, deployment: &Arc<Deployment>) -> Vec<worker::Begun> {
        let current = deployment.current();
        let mut wanted = current.manifest.subscribe.clone();
        for subscribe in &mut wanted {
            subscribe.concurrency.get_or_insert(current.limits.concurrency);
        }
        let mut workers = self.workers();
        if wanted.is_empty() && !workers.contains_key(&deployment.name) {
            return Vec::new();
        }
        let mut before = workers.remove(&deployment.name).unwrap_or_default();
        let (mut after, mut begun) = (Vec::with_capacity(wanted.len()), Vec::new());
        wanted.retain(|subscribe| match before.iter().position(|worker| worker.subscribe() == subscribe) {
            Some(at) => {
                after.push(before.swap_remove(at));
                false
            }
            None => true,
        });
        for subscribe in wanted {
            let is_same = |worker: &Worker| {
                let earlier = worker.subscribe();
                (&earlier.topic, &earlier.queue) == (&subscribe.topic, &subscribe.queue)
            };
            let earlier = before.iter().position(is_same).map(|at| before.swap_remove(at).leave());
            let worker = self.begin(deployment, subscribe, earlier);
            begun.extend(worker.as_ref().map(Worker::begun));
            after.extend(worker);
        }
        // What they have in work comes to its end.
        before.into_iter().for_each(|worker| drop(worker.leave()));
        if !after.is_empty() {
            workers.insert(deployment.name.clone(), after);
        }
        begun
    }

    /// Forgets the subscriptions of a deployment that is gone, and the groups that were its own. `manifests` are those of
    /// all its revisions: a group stays when a revision comes that does not have it.
    pub(super) async fn remove(&self, deployment: &str, manifests: impl IntoIterator<Item = Arc<Manifest>>) {
        let workers = self.workers().remove(deployment).unwrap_or_default();
        join_all(workers.into_iter().map(Worker::stop)).await;
        let manifests: Vec<_> = manifests.into_iter().collect();
        let own = manifests.iter().flat_map(|manifest| &manifest.subscribe).filter(|one| one.queue.is_none());
        let topics: BTreeSet<&str> = own.map(|one| one.topic.as_str()).collect();
        for topic in topics {
            let Ok(pattern) = Pattern::new(topic) else { continue };
            match self.broker.remove(Remove::Group(&pattern, deployment)).await {
                Ok(_) | Err(BrokerError::Unsupported(_)) => {}
                Err(error) => tracing::warn!(deployment, topic = %pattern, "its group stays: {error}"),
            }
        }
    }

    /// The subscriptions of a deployment as the admin API shows them, in the order of its manifest.
    pub(super) fn status(&self, deployment: &str) -> Vec<SubscriptionStatus> {
        self.workers().get(deployment).into_iter().flatten().map(Worker::status).collect()
    }

    /// The counts of all of them, by deployment.
    pub(super) fn counts(&self) -> Vec<(Arc<str>, Vec<SubscriptionStatus>)> {
        let workers = self.workers();
        workers.iter().map(|(name, workers)| (name.clone(), workers.iter().map(Worker::status).collect())).collect()
    }

    /// How far the groups are behind, as far as the broker tells in good time.
    pub(super) async fn lags(&self) -> Vec<Lag> {
        let mut lags = Vec::new();
        let ask = async {
            // What the broker does not tell is not shown.
            for topic in self.broker.topics().await.unwrap_or_default().into_iter().take(MOST_LAGS) {
                for GroupUsage { name, pattern, lag, .. } in self.broker.groups(&topic.name).await.unwrap_or_default() {
                    lags.push(Lag { topic: topic.name.clone(), group: name, pattern, lag });
                }
            }
        };
        drop(timeout(LAG_PATIENCE, ask).await);
        lags
    }

    /// Takes no more messages, and waits for those in work.
    pub(super) async fn stop(&self) {
        let workers = std::mem::take(&mut *self.workers());
        let all = workers.into_values().flatten().map(Worker::stop);
        join_all(all).await;
    }

    fn begin(
        &self,
        deployment: &Arc<Deployment>,
        subscribe: Subscribe,
        earlier: Option<JoinHandle<()>>,
    ) -> Option<Worker> {
        let pattern = Pattern::new(subscribe.topic.as_str());
        let pattern = pattern.inspect_err(|error| deployment.log.host_line(&error.to_string())).ok()?;
        let work =
            Work::new(self.broker.clone(), self.client.clone(), self.events.clone(), deployment.clone(), subscribe);
        Some(Worker::begin(Arc::new(work), pattern, earlier))
    }

    fn workers(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Worker>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a group is behind in a topic.
#[derive(Debug)]
pub(super) struct Lag {
    pub(super) topic: String,
    pub(super) group: String,
    /// What it subscribed to: a group may have several, with a place in each.
    pub(super) pattern: String,
    pub(super) lag: u64,
}

/// One subscription as the admin API shows it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SubscriptionStatus {
    pub(super) topic: String,
    /// The queue that it shares, if it does.
    pub(super) queue: Option<String>,
    /// The group by which the broker knows it.
    pub(super) group: String,
    pub(super) endpoint: String,
    /// Messages that were done with, since the host started.
    pub(super) handled: u64,
    /// Tries that failed.
    pub(super) failed: u64,
    /// Messages that became dead letters.
    pub(super) dead: u64,
    /// Messages in work, those included that wait to be tried again or for others with the same key.
    pub(super) in_work: u64,
    /// Why it gets no messages, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}
