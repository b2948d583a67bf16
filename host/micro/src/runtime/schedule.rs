//! Schedules: endpoints that are called at the times that a manifest tells.
//!
//! | part | does |
//! |---|---|
//! | [`timetable`] | reads a cron expression and a time zone, and says when the next run is due |
//! | [`check`] | refuses wrong schedules at a deploy |
//! | [`plan`] | knows all schedules: which is due, which still runs, which was missed |
//! | [`ledger`] | keeps in the database what must outlive the host |
//! | [`work`] | the one task that waits for what is due, and the calls |
//!
//! A run is a call like any other, by the name of the deployment: the same limits, counters and errors. A run that is
//! due while the host is down, while the last one still runs, or while the deployment's instances are given up, is missed;
//! where the manifest says `missed = "run-once"`, one run makes up for those of the first two kinds.

mod check;
mod ledger;
mod plan;
pub mod timetable;
mod work;

pub(super) use check::check_schedules;

use super::deployment::Deployment;
use super::events::Events;
use super::status;
use super::store::Store;
use ledger::{Ledger, Record};
use micro_mesh::Client;
use micro_mesh::store::Clock;
use plan::{Job, LastRun};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use work::Shared;

/// How long a host that stops waits for scheduled calls that run.
const DRAIN: Duration = Duration::from_secs(10);

/// The schedules of all deployments of a host. Dropping it ends the task that runs them.
pub(super) struct Schedules {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Schedules {
    /// Begins to wait for what is due; there are no schedules yet.
    pub(super) fn start(store: Arc<Mutex<Store>>, client: Client, events: Events, clock: Clock) -> Schedules {
        let shared = Arc::new(Shared::new(Ledger::new(store), client, events, clock));
        let task = tokio::spawn(work::run(shared.clone()));
        Schedules { shared, task: Mutex::new(Some(task)) }
    }

    /// Brings back the schedules of deployments that the host had before it stopped, and what was missed since.
    pub(super) async fn restore(&self, deployments: &[Arc<Deployment>]) -> anyhow::Result<()> {
        let known = self.shared.ledger.read().await?.into_iter();
        let known = known.map(|record| ((record.deployment.clone(), record.key.clone()), record)).collect();
        for deployment in deployments {
            self.put(deployment, &known).await;
        }
        Ok(())
    }

    /// Lets the schedules of the deployment's current revision take the place of those that it had.
    pub(super) async fn set(&self, deployment: &Arc<Deployment>) {
        self.put(deployment, &HashMap::new()).await;
    }

    /// Forgets the schedules of a deployment that is gone. Calls that run come to their end.
    pub(super) fn remove(&self, deployment: &str) {
        if self.shared.plan().remove(deployment) {
            self.shared.wake.notify_one();
        }
    }

    /// The schedules of a deployment as the admin API shows them, in the order of its manifest.
    pub(super) fn status(&self, deployment: &str) -> Vec<ScheduleStatus> {
        self.shared.plan().of(deployment).map(ScheduleStatus::new).collect()
    }

    /// How many there are, and how their runs went.
    pub(super) fn counts(&self) -> ScheduleCounts {
        let (schedules, missed) = self.shared.plan().totals();
        let [ok, failed] = self.shared.ended();
        ScheduleCounts { schedules, missed, ok, failed }
    }

    /// Begins no more runs, waits for those that run, and writes down how they went.
    pub(super) async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // A task that failed has nothing left to wait for.
            let _ = task.await;
        }
        if tokio::time::timeout(DRAIN, self.shared.idle()).await.is_err() {
            tracing::warn!("scheduled calls still ran after {} and were ended", humantime::format_duration(DRAIN));
        }
        self.shared.write().await;
    }

    async fn put(&self, deployment: &Arc<Deployment>, known: &HashMap<(String, String), Record>) {
        let (records, wrong) = {
            let mut plan = self.shared.plan();
            if deployment.current().manifest.schedule.is_empty() && plan.of(&deployment.name).next().is_none() {
                return;
            }
            plan.set(deployment, self.shared.now(), known)
        };
        for reason in wrong {
            deployment.log.host_line(&reason);
        }
        if let Err(error) = self.shared.ledger.replace(&deployment.name, records).await {
            tracing::error!(deployment = %deployment.name, "its schedules are not written down: {error:#}");
        }
        self.shared.wake.notify_one();
    }
}

impl Drop for Schedules {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

/// The schedules of a host in numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScheduleCounts {
    pub(super) schedules: usize,
    /// Runs that were due and did not take place.
    pub(super) missed: u64,
    /// Runs that have ended since the host started, well or not.
    pub(super) ok: u64,
    pub(super) failed: u64,
}

/// One schedule as the admin API shows it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ScheduleStatus {
    cron: String,
    endpoint: String,
    timezone: String,
    /// Nothing while the deployment's instances are given up.
    next: Option<String>,
    last: Option<LastStatus>,
    /// Runs that were due and did not take place, or fewer: a hundred at most are counted for each span in which the
    /// host was down.
    missed: u64,
}

/// How the last run went.
#[derive(Debug, Clone, Serialize)]
struct LastStatus {
    at: String,
    /// `ok` or `failed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    took_ms: u64,
}

impl ScheduleStatus {
    fn new(job: &Job) -> ScheduleStatus {
        ScheduleStatus {
            cron: job.schedule.cron.clone(),
            endpoint: job.schedule.endpoint.clone(),
            timezone: job.schedule.timezone.clone().unwrap_or_else(|| timetable::UTC.into()),
            next: job.next.filter(|_| !job.deployment.is_given_up()).map(status::rfc3339_text),
            last: job.last.as_ref().map(LastStatus::new),
            missed: job.missed,
        }
    }
}

impl LastStatus {
    fn new(last: &LastRun) -> LastStatus {
        LastStatus {
            at: status::rfc3339_text(last.at),
            outcome: if last.error.is_some() { "failed" } else { "ok" },
            code: last.error.as_ref().map(|error| error.code),
            detail: last.error.as_ref().map(|error| error.detail.clone()),
            took_ms: last.took_ms,
        }
    }
}

#[cfg(test)]
mod tests;
