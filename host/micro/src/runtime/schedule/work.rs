//! The task that waits for what is due, and the calls that it begins.

use super::check::request;
use super::ledger::Ledger;
use super::plan::{LastRun, ON_TIME, Plan, Run};
use crate::runtime::events::Events;
use micro_engine::log::{Log as _, Stream};
use micro_engine::manifest::Missed;
use micro_mesh::store::Clock;
use micro_mesh::{Call, Client, Error, Payload};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// Scheduled calls of one host at the same time; the next one fails.
const MAX_RUNNING: u32 = 1024;

/// How long the end of a run may wait to be written down, together with those of others.
const WRITE_AFTER: Duration = Duration::from_secs(1);

/// The clock is looked at so often, because it may be put forward or back.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Who calls.
const CALLER: &str = "schedule";

/// What the task, the runs and their owner share.
pub(super) struct Shared {
    pub(super) ledger: Ledger,
    pub(super) wake: Notify,
    pub(super) stop: watch::Sender<bool>,
    plan: Mutex<Plan>,
    client: Client,
    events: Events,
    clock: Clock,
    turns: Arc<Semaphore>,
    /// Runs that ended well, and those that did not.
    ended: [AtomicU64; 2],
}

impl Shared {
    pub(super) fn new(ledger: Ledger, client: Client, events: Events, clock: Clock) -> Shared {
        Shared {
            ledger,
            wake: Notify::new(),
            stop: watch::Sender::new(false),
            plan: Mutex::default(),
            client,
            events,
            clock,
            turns: Arc::new(Semaphore::new(MAX_RUNNING as usize)),
            ended: Default::default(),
        }
    }

    /// How many runs have ended well, and how many have not.
    pub(super) fn ended(&self) -> [u64; 2] {
        self.ended.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.clock.now()).unwrap_or(i64::MAX)
    }

    /// Waits until no run is under way.
    pub(super) async fn idle(&self) {
        // The semaphore is never closed.
        let _ = self.turns.acquire_many(MAX_RUNNING).await;
    }

    /// Writes down how runs went.
    pub(super) async fn write(&self) {
        let records = self.plan().take_changed();
        if let Err(error) = self.ledger.write(records).await {
            tracing::error!("how schedules went is not written down: {error:#}");
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Begins a run in a task of its own. Its end is taken down whatever becomes of the task.
    fn begin(self: &Arc<Self>, run: Run) {
        let turn = self.turns.clone().try_acquire_owned().ok();
        let mut under_way = UnderWay { shared: self.clone(), began: Instant::now(), run, error: None, turn };
        if under_way.turn.is_none() {
            let detail = format!("{MAX_RUNNING} scheduled calls run on this host already");
            under_way.error = Some(Error::too_many(CALLER, detail));
            return;
        }
        tokio::spawn(async move { under_way.call().await });
    }
}

/// Begins what is due, until it is told to stop.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut stopped = shared.stop.subscribe();
    let mut seen = shared.now();
    let mut write_at: Option<Instant> = None;
    while !shared.is_stopped() {
        let now = shared.now();
        let (runs, next, is_changed) = {
            let mut plan = shared.plan();
            if now + ON_TIME < seen {
                plan.turn_back(now);
            }
            (plan.due(now), plan.next(), plan.is_changed())
        };
        seen = now;
        // A run that would be made up for must not come twice, so it is on disk before it begins.
        let is_made_up = runs.iter().any(|run| run.schedule.missed == Missed::RunOnce);
        if is_made_up || write_at.is_some_and(|at| at <= Instant::now()) {
            shared.write().await;
            write_at = None;
        } else if is_changed {
            write_at.get_or_insert_with(|| Instant::now() + WRITE_AFTER);
        }
        let is_busy = !runs.is_empty();
        runs.into_iter().for_each(|run| shared.begin(run));
        if is_busy {
            // Time has gone by meanwhile.
            continue;
        }
        let sleep = next.map_or(LONGEST_SLEEP, |next| time_until(next, now));
        let until = write_at.map_or(Instant::now() + sleep, |at| at.min(Instant::now() + sleep));
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = shared.wake.notified() => {}
            // An owner that is gone says the same.
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return,
        }
    }
}

/// How long to sleep from now on.
fn time_until(next: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(next.saturating_sub(now)).unwrap_or_default()).min(LONGEST_SLEEP)
}

/// A run from its begin to its end.
struct UnderWay {
    shared: Arc<Shared>,
    began: Instant,
    run: Run,
    error: Option<Error>,
    turn: Option<OwnedSemaphorePermit>,
}

impl UnderWay {
    async fn call(&mut self) {
        let Run { schedule, deployment, .. } = &self.run;
        // Until the call is answered it counts as broken off.
        self.error = Some(Error::internal(CALLER, "the run was broken off"));
        let payload = Payload::json(request(schedule).to_owned());
        let mut call = Call::new(deployment.name.clone(), schedule.endpoint.as_str(), payload);
        call.caller = Some(CALLER.into());
        let request = call.id;
        self.error = self.shared.client.call(call).await.err();
        if let Some(Error { code, detail, .. }) = &self.error {
            deployment.log.line(request, Stream::Host, &format!("schedule {}: {code} {detail}", schedule.cron));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Run { job, at, schedule, deployment } = &self.run;
        let [ok, failed] = &self.shared.ended;
        if self.error.is_none() { ok } else { failed }.fetch_add(1, Ordering::Relaxed);
        if let Some(Error { code, detail, .. }) = &self.error {
            let detail = format!("{} at {}: {code} {detail}", schedule.endpoint, schedule.cron);
            self.shared.events.tell("schedule-failed", &deployment.name, None, detail);
        }
        let took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = LastRun { at: *at, took_ms, error: self.error.take() };
        self.shared.plan().finished(*job, last);
        self.turn = None;
        // There may be a run to make up for.
        self.shared.wake.notify_one();
    }
}
