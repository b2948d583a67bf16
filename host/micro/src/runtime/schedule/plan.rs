//! Which schedule is due when, and what becomes of runs that cannot begin. Times come from outside; nothing waits here.

use super::ledger::Record;
use super::timetable::{Due, Timetable};
use crate::runtime::deployment::Deployment;
use micro_engine::manifest::{self, Missed};
use micro_mesh::Error;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

/// A run that begins so much later than it was due is a missed one, in milliseconds: the host was busy, or slept.
pub(super) const ON_TIME: i64 = 5_000;

/// Runs of one schedule at the same time, where its manifest allows more than one.
pub(super) const MAX_OVERLAP: u32 = 16;

/// Names one schedule for as long as the host runs.
pub(super) type JobId = u64;

/// The schedules of all deployments. All times are milliseconds since 1970.
#[derive(Default)]
pub(super) struct Plan {
    jobs: HashMap<JobId, Job>,
    /// In the order of the manifest.
    of_deployment: HashMap<Arc<str>, Vec<JobId>>,
    /// When each job is due next, the first on top. What does not agree with its job is left over and means nothing.
    queue: BinaryHeap<Reverse<(i64, JobId)>>,
    /// Jobs whose last run ended while one was owed.
    ready: Vec<JobId>,
    next_id: JobId,
    /// The jobs that the database knows less of than this.
    changed: BTreeSet<JobId>,
}

/// One schedule of a deployment.
pub(super) struct Job {
    pub(super) key: String,
    pub(super) schedule: manifest::Schedule,
    pub(super) deployment: Arc<Deployment>,
    pub(super) next: Option<i64>,
    pub(super) missed: u64,
    pub(super) last: Option<LastRun>,
    timetable: Timetable,
    /// Every run that was due up to then began or was missed.
    handled_at: i64,
    /// What was due before this time was due while the host was down.
    here_since: i64,
    /// When a run was due that is still to be made up for.
    owed: Option<i64>,
    running: u32,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LastRun {
    /// When it began.
    pub(super) at: i64,
    pub(super) took_ms: u64,
    pub(super) error: Option<Error>,
}

/// A run that is to begin now.
pub(super) struct Run {
    pub(super) job: JobId,
    pub(super) at: i64,
    pub(super) schedule: manifest::Schedule,
    pub(super) deployment: Arc<Deployment>,
}

impl Plan {
    /// Lets these be the schedules of a deployment, from `now` on. What is known of a schedule that stays, stays; what
    /// `known` tells of one that is new comes from the database.
    ///
    /// Gives what the database should know of the deployment, and those that cannot be planned.
    pub(super) fn set(
        &mut self,
        deployment: &Arc<Deployment>,
        now: i64,
        known: &HashMap<(String, String), Record>,
    ) -> (Vec<Record>, Vec<String>) {
        let before = self.of_deployment.remove(&deployment.name).unwrap_or_default();
        let mut before: HashMap<String, (JobId, Job)> =
            before.into_iter().filter_map(|id| self.jobs.remove(&id).map(|job| (job.key.clone(), (id, job)))).collect();
        let mut keys = HashMap::<String, u32>::new();
        let (mut ids, mut wrong) = (Vec::new(), Vec::new());
        for schedule in &deployment.current().manifest.schedule {
            let timetable = match Timetable::parse(&schedule.cron, schedule.timezone.as_deref()) {
                Ok(timetable) => timetable,
                Err(reason) => {
                    wrong.push(format!("schedule {:?} of {}: {reason}", schedule.cron, schedule.endpoint));
                    continue;
                }
            };
            let key = key(schedule, &mut keys);
            let (id, mut job) = before.remove(&key).unwrap_or_else(|| {
                self.next_id += 1;
                let record = known.get(&(deployment.name.to_string(), key.clone()));
                (self.next_id, Job::new(key, schedule, &timetable, deployment, now, record))
            });
            job.schedule = schedule.clone();
            job.deployment = deployment.clone();
            job.timetable = timetable;
            job.next = job.timetable.next(job.handled_at);
            self.queue.extend(job.next.map(|next| Reverse((next, id))));
            self.jobs.insert(id, job);
            ids.push(id);
        }
        let records = ids.iter().filter_map(|id| self.jobs.get(id)).map(Job::record).collect();
        if !ids.is_empty() {
            self.of_deployment.insert(deployment.name.clone(), ids);
        }
        (records, wrong)
    }

    /// Forgets the schedules of a deployment; says whether there were any.
    pub(super) fn remove(&mut self, deployment: &str) -> bool {
        let ids = self.of_deployment.remove(deployment);
        for id in ids.iter().flatten() {
            self.jobs.remove(id);
        }
        ids.is_some()
    }

    /// The jobs of a deployment, in the order of its manifest.
    pub(super) fn of(&self, deployment: &str) -> impl Iterator<Item = &Job> {
        self.of_deployment.get(deployment).into_iter().flatten().filter_map(|id| self.jobs.get(id))
    }

    /// How many jobs there are, and how many of their runs were missed.
    pub(super) fn totals(&self) -> (usize, u64) {
        (self.jobs.len(), self.jobs.values().map(|job| job.missed).sum())
    }

    /// When the next run of any job is due.
    pub(super) fn next(&mut self) -> Option<i64> {
        if !self.ready.is_empty() {
            return Some(i64::MIN);
        }
        self.next_in_queue()
    }

    fn next_in_queue(&mut self) -> Option<i64> {
        while let Some(Reverse((at, id))) = self.queue.peek() {
            if self.jobs.get(id).is_some_and(|job| job.next == Some(*at)) {
                return Some(*at);
            }
            self.queue.pop();
        }
        None
    }

    /// The runs that are to begin now. What was due and cannot begin is missed, or made up for later.
    pub(super) fn due(&mut self, now: i64) -> Vec<Run> {
        let mut runs = self.made_up(now);
        while self.next_in_queue().is_some_and(|next| next <= now) {
            let Some(Reverse((_, id))) = self.queue.pop() else { break };
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let due = job.timetable.due(job.handled_at, now);
            job.handled_at = now;
            job.next = job.timetable.next(now);
            self.queue.extend(job.next.map(|next| Reverse((next, id))));
            self.changed.insert(id);
            if due.is_some_and(|due| job.begins(due, now)) {
                runs.push(job.run(id, now));
            }
        }
        runs
    }

    /// The runs that make up for those that were due while another one still ran.
    fn made_up(&mut self, now: i64) -> Vec<Run> {
        let mut runs = Vec::new();
        for id in std::mem::take(&mut self.ready) {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if job.owed.take().is_none() {
                continue;
            }
            self.changed.insert(id);
            match job.deployment.is_given_up() {
                false => runs.push(job.run(id, now)),
                true => job.missed += 1,
            }
        }
        runs
    }

    /// Takes down how a run went.
    pub(super) fn finished(&mut self, id: JobId, last: LastRun) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.running = job.running.saturating_sub(1);
        job.last = Some(last);
        self.changed.insert(id);
        if job.owed.is_some() {
            self.ready.push(id);
        }
    }

    /// Plans anew after the clock was put back: what comes once more runs once more.
    pub(super) fn turn_back(&mut self, now: i64) {
        self.queue.clear();
        for (id, job) in &mut self.jobs {
            job.handled_at = job.handled_at.min(now);
            job.here_since = job.here_since.min(now);
            job.next = job.timetable.next(job.handled_at);
            self.queue.extend(job.next.map(|next| Reverse((next, *id))));
            self.changed.insert(*id);
        }
    }

    /// Whether the database is to hear of something.
    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What the database is to hear.
    pub(super) fn take_changed(&mut self) -> Vec<Record> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().filter_map(|id| self.jobs.get(id)).map(Job::record).collect()
    }
}

impl Job {
    fn new(
        key: String,
        schedule: &manifest::Schedule,
        timetable: &Timetable,
        deployment: &Arc<Deployment>,
        now: i64,
        record: Option<&Record>,
    ) -> Job {
        Job {
            key,
            schedule: schedule.clone(),
            deployment: deployment.clone(),
            next: None,
            missed: record.map_or(0, |record| record.missed),
            last: record.and_then(|record| record.last.clone()),
            timetable: timetable.clone(),
            // A time to come was written by a clock that was wrong since then.
            handled_at: record.map_or(now, |record| record.handled_at.min(now)),
            here_since: now,
            owed: None,
            running: 0,
        }
    }

    /// Decides whether one run begins for all that were due, and counts those that do not.
    fn begins(&mut self, due: Due, now: i64) -> bool {
        if self.deployment.is_given_up() {
            self.missed += due.count;
            return false;
        }
        let is_on_time = due.latest > self.here_since && now - due.latest <= ON_TIME;
        let is_made_up = self.schedule.missed == Missed::RunOnce;
        let has_room = self.running == 0 || (self.schedule.overlap && self.running < MAX_OVERLAP);
        if has_room && (is_on_time || is_made_up) {
            self.missed += due.count - 1;
            return true;
        }
        if is_made_up && self.owed.is_none() {
            self.owed = Some(due.latest);
            self.missed += due.count - 1;
        } else {
            self.missed += due.count;
        }
        false
    }

    fn run(&mut self, job: JobId, at: i64) -> Run {
        self.running += 1;
        Run { job, at, schedule: self.schedule.clone(), deployment: self.deployment.clone() }
    }

    fn record(&self) -> Record {
        Record {
            deployment: self.deployment.name.to_string(),
            key: self.key.clone(),
            // A run that is owed is still to be found after a restart.
            handled_at: self.owed.map_or(self.handled_at, |owed| owed - 1),
            missed: self.missed,
            last: self.last.clone(),
        }
    }
}

/// What a schedule goes by over all revisions: its times and its endpoint, and a number if there are several of these.
fn key(schedule: &manifest::Schedule, keys: &mut HashMap<String, u32>) -> String {
    let zone = schedule.timezone.as_deref().unwrap_or(super::timetable::UTC);
    let key = format!("{} {} {zone}", schedule.endpoint, schedule.cron);
    let count = keys.entry(key.clone()).or_default();
    *count += 1;
    match count {
        1 => key,
        number => format!("{key} {number}"),
    }
}
