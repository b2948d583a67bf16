use super::*;
use crate::runtime::bounds::Bounds;
use crate::runtime::deployment::Revision;
use crate::runtime::events::{Event, Notices};
use crate::runtime::logs::DeploymentLog;
use crate::runtime::sites::Takes;
use crate::runtime::store::RevisionRow;
use async_trait::async_trait;
use micro_engine::Manifest;
use micro_engine::manifest::HostLimits;
use micro_engine::manifest::{Missed, Schedule};
use micro_mesh::registry::RegisterOptions;
use micro_mesh::registry::memory::Memory;
use micro_mesh::{Cache, Call, Error, Metadata, Node, Payload, Registry, Reply, Service, Transport, transport};
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

/// Noon of the first of January 2026, when every test begins.
const NOON: i64 = 1_767_268_800_000;

const MINUTE: i64 = 60_000;

/// A call that arrived: how many milliseconds after noon, the endpoint, the request.
type Arrived = (i64, String, String);

/// Takes all calls. `Jobs.Fail` fails; `Jobs.Slow` takes two and a half minutes.
struct Jobs {
    clock: Clock,
    arrived: mpsc::Sender<Arrived>,
}

#[async_trait]
impl Transport for Jobs {
    fn name(&self) -> &str {
        transport::LOCAL
    }

    async fn call(&self, _: &Node, call: Call) -> Result<Reply, Error> {
        assert_eq!(call.caller.as_deref(), Some("schedule"));
        let Payload::Bytes { body, .. } = &call.payload else { panic!("not JSON: {:?}", call.payload) };
        let at = i64::try_from(self.clock.now()).unwrap() - NOON;
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.arrived.try_send((at, call.endpoint.to_string(), body)).unwrap();
        match &*call.endpoint {
            "Jobs.Fail" => return Err(Error::conflict("jobs", "no work today")),
            "Jobs.Slow" => tokio::time::sleep(Duration::from_secs(150)).await,
            _ => {}
        }
        Ok(Reply::new(Payload::json("{}")))
    }
}

/// Schedules on a clock that goes as fast as the test does. It is the wall clock, and can be set.
struct Bench {
    schedules: Schedules,
    deployment: Arc<Deployment>,
    arrived: mpsc::Receiver<Arrived>,
    events: broadcast::Receiver<Event>,
    /// Added to the clock.
    set_by: Arc<AtomicI64>,
    store: Arc<Mutex<Store>>,
    clock: Clock,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn with(schedules: Vec<Schedule>) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("micro.db")).unwrap();
        store
            .connection
            .execute("INSERT INTO deployments (name, revision, next_revision) VALUES ('jobs', 1, 2)", [])
            .unwrap();
        let store = Arc::new(Mutex::new(store));
        let (began, set_by) = (Instant::now(), Arc::new(AtomicI64::new(0)));
        let clock = {
            let set_by = set_by.clone();
            let gone = move || i64::try_from(began.elapsed().as_millis()).unwrap();
            Clock::of(move || u64::try_from(NOON + gone() + set_by.load(Ordering::Relaxed)).unwrap())
        };
        let (sender, arrived) = mpsc::channel(1024);
        let client = client(Jobs { clock: clock.clone(), arrived: sender }).await;
        let events = Events::default();
        let notices = Notices::new("jobs".into(), events.clone(), mpsc::channel(1).0);
        let log = DeploymentLog::unwritten("jobs");
        let deployment = Arc::new(Deployment::restored(log, row(1, schedules), &Bounds::default(), notices));
        let listener = events.listen();
        let schedules = Schedules::start(store.clone(), client.clone(), events, clock.clone());
        schedules.set(&deployment).await;
        Bench { schedules, deployment, arrived, events: listener, set_by, store, clock, client, _folder: folder }
    }

    /// Stops, lets some time go by, and starts again.
    async fn down_for(&mut self, millis: i64) {
        self.schedules.stop().await;
        tokio::time::advance(Duration::from_millis(millis.unsigned_abs())).await;
        self.schedules =
            Schedules::start(self.store.clone(), self.client.clone(), Events::default(), self.clock.clone());
        self.schedules.restore(std::slice::from_ref(&self.deployment)).await.unwrap();
    }

    /// When the next calls arrive, after noon.
    async fn times(&mut self, count: usize) -> Vec<i64> {
        let mut times = Vec::new();
        while times.len() < count {
            times.push(self.arrived.recv().await.unwrap().0);
        }
        times
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!(self.schedules.status("jobs"))
    }

    /// Waits until the status is as wanted.
    async fn until(&self, is_wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        loop {
            let status = self.status();
            if is_wanted(&status) {
                return status;
            }
            // The clock stands still but for this.
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
}

async fn client(jobs: Jobs) -> Client {
    let registry = Memory::new();
    let mut service = Service::new("jobs", "1");
    let metadata = Metadata::from([("transport".into(), transport::LOCAL.into())]);
    service.nodes = vec![Node { id: "here".into(), address: String::new(), metadata }];
    registry.register(&service, RegisterOptions::default()).await.unwrap();
    let client = Client::new(Arc::new(Cache::open(Arc::new(registry)).await));
    client.attach(Arc::new(jobs));
    client
}

fn row(number: u64, schedule: Vec<Schedule>) -> RevisionRow {
    RevisionRow {
        deployment: "jobs".into(),
        number,
        version: "1".into(),
        digest: String::new(),
        size: 0,
        manifest: Arc::new(Manifest { schedule, ..Manifest::default() }),
        deployed_at: NOON,
        previous: None,
        takes: Takes::Calls,
    }
}

fn every(cron: &str, endpoint: &str) -> Schedule {
    Schedule { cron: cron.into(), endpoint: endpoint.into(), ..Schedule::default() }
}

fn made_up(schedule: Schedule) -> Schedule {
    Schedule { missed: Missed::RunOnce, ..schedule }
}

#[tokio::test(start_paused = true)]
async fn calls_come_when_they_are_due_with_the_request_of_the_manifest() {
    let request = Some(r#"{"days": 7}"#.into());
    let daily = Schedule { timezone: Some("Europe/Berlin".into()), request, ..every("30 14 * * *", "Jobs.Daily") };
    let mut bench = Bench::with(vec![every("* * * * *", "Jobs.Sweep"), daily]).await;
    let status = bench.status();
    assert_eq!(status[0]["next"], "2026-01-01T12:01:00.000Z");
    assert_eq!(status[1]["next"], "2026-01-01T13:30:00.000Z");
    assert_eq!((&status[1]["timezone"], &status[1]["last"]), (&"Europe/Berlin".into(), &serde_json::Value::Null));
    let first = bench.arrived.recv().await.unwrap();
    assert_eq!(first, (MINUTE, "Jobs.Sweep".into(), "{}".into()));
    loop {
        let (at, endpoint, request) = bench.arrived.recv().await.unwrap();
        if endpoint == "Jobs.Daily" {
            assert_eq!((at, &*request), (90 * MINUTE, r#"{"days": 7}"#));
            break;
        }
        assert_eq!(at % MINUTE, 0, "without drift");
    }
    let status = bench.until(|status| !status[1]["last"].is_null()).await;
    assert_eq!(status[1]["last"], serde_json::json!({"at": "2026-01-01T13:30:00.000Z", "outcome": "ok", "took_ms": 0}));
    assert_eq!((&status[0]["missed"], &status[1]["missed"]), (&0.into(), &0.into()));
}

#[tokio::test(start_paused = true)]
async fn six_fields_come_every_second() {
    let mut bench = Bench::with(vec![every("* * * * * *", "Jobs.Tick")]).await;
    assert_eq!(bench.times(3).await, [1_000, 2_000, 3_000]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_due_while_the_last_one_runs_is_missed() {
    let mut bench = Bench::with(vec![every("* * * * *", "Jobs.Slow")]).await;
    assert_eq!(bench.times(2).await, [MINUTE, 4 * MINUTE]);
    let status = bench.status();
    assert_eq!(status[0]["missed"], 2);
    assert_eq!((&status[0]["last"]["outcome"], &status[0]["last"]["took_ms"]), (&"ok".into(), &150_000.into()));
}

#[tokio::test(start_paused = true)]
async fn one_run_makes_up_for_those_missed_meanwhile() {
    let mut bench = Bench::with(vec![made_up(every("* * * * *", "Jobs.Slow"))]).await;
    // Due at 12:02 and 12:03 while the first one ran, made up for when it ended.
    assert_eq!(bench.times(2).await, [MINUTE, MINUTE + 150_000]);
    assert_eq!(bench.status()[0]["missed"], 1);
}

#[tokio::test(start_paused = true)]
async fn runs_overlap_where_the_manifest_lets_them() {
    let overlapping = Schedule { overlap: true, ..every("* * * * *", "Jobs.Slow") };
    let mut bench = Bench::with(vec![overlapping]).await;
    assert_eq!(bench.times(3).await, [MINUTE, 2 * MINUTE, 3 * MINUTE]);
    assert_eq!(bench.status()[0]["missed"], 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_due_while_the_host_was_down_is_skipped_or_made_up_for_once() {
    let skipped = every("*/10 * * * *", "Jobs.Skip");
    let mut bench = Bench::with(vec![skipped, made_up(every("*/10 * * * *", "Jobs.MakeUp"))]).await;
    assert_eq!(bench.times(2).await, [10 * MINUTE, 10 * MINUTE]);
    let before = bench.until(|status| !status[0]["last"].is_null() && !status[1]["last"].is_null()).await;
    // 12:20, 12:30 and 12:40 go by.
    bench.down_for(35 * MINUTE).await;
    assert_eq!(bench.status()[0]["last"], before[0]["last"], "how it went is still known");
    let (at, endpoint, _) = bench.arrived.recv().await.unwrap();
    assert_eq!((at / MINUTE, &*endpoint), (45, "Jobs.MakeUp"));
    assert_eq!((&bench.status()[0]["missed"], &bench.status()[1]["missed"]), (&3.into(), &2.into()));
    assert_eq!(bench.times(2).await, [50 * MINUTE, 50 * MINUTE]);
    // Nothing goes by, nothing is made up for.
    bench.down_for(MINUTE).await;
    assert_eq!(bench.times(2).await, [60 * MINUTE, 60 * MINUTE]);
    assert_eq!((&bench.status()[0]["missed"], &bench.status()[1]["missed"]), (&3.into(), &2.into()));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_is_told() {
    let mut bench = Bench::with(vec![every("* * * * *", "Jobs.Fail")]).await;
    let event = bench.events.recv().await.unwrap();
    assert_eq!((event.kind, &*event.deployment), ("schedule-failed", "jobs"));
    assert_eq!(event.detail, "Jobs.Fail at * * * * *: 409 no work today");
    let status = bench.until(|status| !status[0]["last"].is_null()).await;
    let last = &status[0]["last"];
    assert_eq!((&last["outcome"], &last["code"]), (&"failed".into(), &409.into()));
    assert_eq!(last["detail"], "no work today");
    assert_eq!(bench.deployment.log.waiting()[0], "schedule * * * * *: 409 no work today");
    // What was told is still known after a restart.
    bench.down_for(0).await;
    assert_eq!(&bench.status()[0]["last"], last);
}

#[tokio::test(start_paused = true)]
async fn code_that_could_not_be_loaded_is_tried_again_by_the_next_run() {
    let mut bench = Bench::with(vec![every("* * * * *", "Jobs.Sweep")]).await;
    bench.deployment.set_failure(Some("load: the disk is full".into()));
    assert_eq!(bench.status()[0]["next"], "2026-01-01T12:01:00.000Z");
    assert_eq!(bench.times(2).await, [MINUTE, 2 * MINUTE]);
    assert_eq!(bench.status()[0]["missed"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_brings_its_own_schedules() {
    let mut bench = Bench::with(vec![every("* * * * *", "Jobs.Sweep"), every("0 13 * * *", "Jobs.Fail")]).await;
    bench.times(1).await;
    let before = bench.until(|status| !status[0]["last"].is_null()).await;
    let schedules = vec![every("*/5 * * * *", "Jobs.New"), every("* * * * *", "Jobs.Sweep")];
    bench.deployment.switch(Arc::new(Revision::restored(row(2, schedules), &HostLimits::default())));
    bench.schedules.set(&bench.deployment).await;
    let status = bench.status();
    assert_eq!(status.as_array().unwrap().len(), 2);
    assert_eq!(status[0]["endpoint"], "Jobs.New");
    assert_eq!(status[1]["last"], before[0]["last"], "what stays keeps what is known of it");
    assert_eq!(bench.times(3).await, [2 * MINUTE, 3 * MINUTE, 4 * MINUTE]);
    bench.schedules.remove("jobs");
    assert_eq!(bench.status(), serde_json::json!([]));
    // A clock that goes on finds nothing due.
    tokio::time::advance(Duration::from_secs(600)).await;
    bench.schedules.stop().await;
    assert!(bench.arrived.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_is_noticed() {
    let mut bench = Bench::with(vec![every("0 * * * *", "Jobs.Hourly")]).await;
    // The machine slept over 13:00 and 14:00: that is too late by now.
    bench.set_by.store(150 * MINUTE, Ordering::Relaxed);
    assert_eq!(bench.times(1).await, [180 * MINUTE]);
    assert_eq!(bench.status()[0]["missed"], 2);
    // Back by two hours: 14:00 and 15:00 come again.
    bench.set_by.store(30 * MINUTE, Ordering::Relaxed);
    assert_eq!(bench.times(2).await, [120 * MINUTE, 180 * MINUTE]);
    assert_eq!(bench.status()[0]["missed"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_waits_for_runs() {
    let mut bench = Bench::with(vec![every("* * * * *", "Jobs.Sweep")]).await;
    bench.times(1).await;
    bench.schedules.stop().await;
    assert_eq!(bench.status()[0]["last"]["outcome"], "ok");
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(bench.arrived.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_end_keeps_nothing_from_being_written_down() {
    let schedules = ["Jobs.Sweep", "Jobs.Slow"].map(|endpoint| every("* * * * *", endpoint));
    let mut bench = Bench::with(schedules.into()).await;
    bench.times(2).await;
    let before = bench.until(|status| !status[0]["last"].is_null()).await;
    bench.down_for(0).await;
    assert_eq!(bench.status()[0]["last"], before[0]["last"]);
}
