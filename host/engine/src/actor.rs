//! A live instance that keeps its state: one task owns it, and calls queue to that task.
//!
//! On the lean engine calls run one at a time; on the concurrent engine they run at once, as far as the guest lets them.
//! Whatever fails inside ends the instance: what was in it fails with a reason, and what still waited is handed back.

mod concurrent;
mod lean;
mod parking;

use crate::access::Scope;
use crate::error::CallError;
use crate::inspect::EngineKind;
use crate::live::Live;
use crate::program::{Callable, Deadline, Program};
use crate::schema::Stream;
use crate::value::Value;
use micro_mesh::{Error, Payload};
use parking::Parking;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Work that waits for one instance; the deployment's own queue stands before it and is what callers notice.
const QUEUE: usize = 4096;

/// The instance's own timer comes first: when it ends a call it ends itself, and the caller's next call must not meet it.
/// This is for calls that wait behind others.
const LATE: Duration = Duration::from_millis(100);

/// Between two looks at an instance that is to become idle.
const GLANCE: Duration = Duration::from_millis(20);

/// A live instance.
pub struct Actor {
    jobs: mpsc::Sender<Job>,
    busy: Arc<AtomicU32>,
    ended: watch::Receiver<Option<Ending>>,
    program: Arc<Program>,
    parking: Arc<Parking>,
    next_stream: AtomicU64,
}

/// How an instance came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was stopped, or nobody held it any more.
    Stopped,
    /// It failed, for this reason.
    Failed(String),
}

/// Why an instance did not come to live.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It trapped, ran out of time, or there was no room.
    #[error("{0}")]
    Failed(CallError),
    /// Its `start` said no.
    #[error("start: {0}")]
    Refused(String),
    /// Its `restore` does not take the state.
    #[error("restore: {0}")]
    StateRefused(String),
}

/// Why a call gave no reply.
#[derive(Debug)]
pub enum ActorError {
    /// The call was not begun, because the instance ended before; here are its fields again.
    NotBegun(Vec<Value>),
    /// It failed.
    Failed(CallError),
}

/// Makes messages of a stream out of values, in the form that the caller accepts.
pub type Encode = Arc<dyn Fn(&Value) -> Result<Payload, Error> + Send + Sync>;

/// Where the messages of a stream go, and how an error of the guest is told there.
#[derive(Clone)]
pub struct Sink {
    /// The caller's end.
    pub replies: mpsc::Sender<Result<Payload, Error>>,
    /// How values become messages.
    pub encode: Encode,
    /// How failures become errors.
    pub explain: Arc<dyn Fn(CallError) -> Error + Send + Sync>,
}

/// Whether a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The sink is full, and there may be more.
    Full,
    /// The guest has no more for now: where it takes no messages, that is the end.
    Empty,
    /// The stream failed, which the caller was told, or the caller is gone.
    Over,
}

enum Job {
    Call(CallJob),
    Stream(u64, StreamJob),
    Health(oneshot::Sender<Result<(), String>>),
    Save(oneshot::Sender<Result<Option<Vec<u8>>, String>>),
    Stop(oneshot::Sender<()>),
}

struct CallJob {
    scope: Scope,
    callable: Arc<Callable>,
    fields: Vec<Value>,
    deadline: Deadline,
    reply: oneshot::Sender<Result<Option<Value>, ActorError>>,
}

enum StreamJob {
    Open { scope: Scope, callable: Arc<Callable>, fields: Vec<Value>, reply: oneshot::Sender<Result<(), ActorError>> },
    Pump { sink: Sink, reply: oneshot::Sender<Flow> },
    Send { message: Value, reply: oneshot::Sender<Result<(), CallError>> },
    Finish { reply: oneshot::Sender<Result<Option<Value>, CallError>> },
    Close,
}

impl Actor {
    /// Makes an instance, gives it the state of its predecessor if there is one, and lets it start.
    pub async fn start(program: Arc<Program>, state: Option<&[u8]>) -> Result<Actor, StartError> {
        let room = program.lasting_room().map_err(StartError::Failed)?;
        let time = program.limits.timeout;
        let begin = async {
            let mut live = Live::new(&program, Scope::idle()).await.map_err(StartError::Failed)?;
            if let Some(state) = state
                && program.lifecycle.restore.is_some()
            {
                let said = live.restore(&program.lifecycle, state).await.map_err(StartError::Failed)?;
                said.map_err(StartError::StateRefused)?;
            }
            live.start(&program.lifecycle).await.map_err(StartError::Failed)?.map_err(StartError::Refused)?;
            Ok(live)
        };
        let begun = tokio::time::timeout(time, begin).await;
        let live = begun.map_err(|_| StartError::Failed(CallError::Timeout(time)))??;
        Ok(Actor::run(program, live, room))
    }

    /// An instance for a single streaming call: nothing but that call happens in it.
    pub async fn for_stream(program: Arc<Program>, scope: Scope) -> Result<Actor, CallError> {
        let room = program.room.clone().acquire_owned().await.map_err(|_| CallError::PoolFull)?;
        let live = Live::new(&program, scope).await?;
        Ok(Actor::run(program, live, room))
    }

    fn run(program: Arc<Program>, live: Live, room: impl Send + 'static) -> Actor {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (tell, ended) = watch::channel(None);
        let owned = program.clone();
        let parking = Arc::new(Parking::default());
        let own_parking = parking.clone();
        tokio::spawn(async move {
            let mut queue = queue;
            // Boxed, as is the work inside: an idle instance then holds no room for what it might have to do.
            let ending = match owned.engine() {
                EngineKind::Lean => Box::pin(lean::run(live, &owned, &own_parking, &mut queue)).await,
                EngineKind::Concurrent => Box::pin(concurrent::run(live, &owned, &mut queue)).await,
            };
            drop(room);
            hand_back(&mut queue);
            tell.send_replace(Some(ending));
        });
        Actor { jobs, busy: Arc::default(), ended, program, parking, next_stream: AtomicU64::new(0) }
    }

    /// Calls an endpoint. The answer is what the function returned.
    pub async fn call(
        &self,
        scope: Scope,
        callable: &Arc<Callable>,
        fields: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Option<Value>, ActorError> {
        let callable = callable.clone();
        let _busy = Busy::new(&self.busy);
        // Work that is queued already goes first.
        if self.jobs.capacity() == QUEUE
            && let Some((borrowed, live)) = self.parking.take_idle()
        {
            let call = lean::call_and_put_back(borrowed, live, scope, callable, fields);
            return self.run_at_once(call, deadline).await.map_err(ActorError::Failed);
        }
        let (reply, answer) = oneshot::channel();
        let job = Job::Call(CallJob { scope, callable, fields, deadline, reply });
        if let Err(mpsc::error::SendError(Job::Call(job))) = self.jobs.send(job).await {
            return Err(ActorError::NotBegun(job.fields));
        }
        match tokio::time::timeout_at(deadline.at + LATE, answer).await {
            Ok(Ok(result)) => result,
            // The instance failed in another call that ran at the same time.
            Ok(Err(_)) => Err(ActorError::Failed(CallError::Ended(self.reason()))),
            Err(_) => Err(ActorError::Failed(deadline.missed())),
        }
    }

    /// Runs a call on the caller's own task. One that does not come to its end at once goes on elsewhere, so that a
    /// caller who leaves does not take the instance along.
    async fn run_at_once(
        &self,
        call: impl Future<Output = Result<Option<Value>, CallError>> + Send + 'static,
        deadline: Deadline,
    ) -> Result<Option<Value>, CallError> {
        let mut call = Box::pin(call);
        if let Poll::Ready(result) = futures::poll!(call.as_mut()) {
            return result;
        }
        // A call that is dropped takes the instance along.
        let going_on = tokio::spawn(deadline.limit(call));
        going_on.await.unwrap_or_else(|_| Err(CallError::Ended(self.reason())))
    }

    /// Opens a streaming call.
    pub async fn open(
        self: &Arc<Self>,
        scope: Scope,
        callable: &Arc<Callable>,
        fields: Vec<Value>,
    ) -> Result<Streaming, ActorError> {
        let callable = callable.clone();
        let Some(schema) = callable.endpoint.stream.clone() else {
            let detail = format!("{} does not stream", callable.endpoint.name);
            return Err(ActorError::Failed(CallError::BadRequest(detail)));
        };
        let streaming = Streaming {
            id: self.next_stream.fetch_add(1, Ordering::Relaxed),
            schema,
            _busy: Busy::new(&self.busy),
            actor: self.clone(),
        };
        let (reply, answer) = oneshot::channel();
        let job = Job::Stream(streaming.id, StreamJob::Open { scope, callable, fields, reply });
        if let Err(mpsc::error::SendError(Job::Stream(_, StreamJob::Open { fields, .. }))) = self.jobs.send(job).await {
            return Err(ActorError::NotBegun(fields));
        }
        match answer.await {
            Ok(opened) => opened.map(|()| streaming),
            Err(_) => Err(ActorError::Failed(CallError::Ended(self.reason()))),
        }
    }

    /// Asks the instance how it is: its own answer, or that it gives none in time.
    pub async fn health(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.jobs.send(Job::Health(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.program.limits.timeout, asked).await {
            Ok(Some(said)) => said,
            Ok(None) => Err(self.reason()),
            Err(_) => Err("no answer in time".into()),
        }
    }

    /// What the successor has to know; none if the component does not say.
    pub async fn save(&self) -> Result<Option<Vec<u8>>, String> {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Save(reply)).await.is_err() {
            return Err(self.reason());
        }
        answer.await.unwrap_or_else(|_| Err(self.reason()))
    }

    /// Ends the instance after the work that is queued: it is told, and then dropped.
    pub async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Stop(reply)).await.is_ok() {
            // An instance that fails on its way out is out as well.
            let _ = answer.await;
        }
    }

    /// Calls that it has, running and waiting.
    pub fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Whether it takes no more calls.
    pub fn has_ended(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Waits until it has no calls and no open streams.
    pub async fn idle(&self) {
        while self.busy() > 0 && !self.has_ended() {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// How it ended, once it has.
    pub fn ending(&self) -> Option<Ending> {
        self.ended.borrow().clone()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Ending {
        let mut ended = self.ended.clone();
        let ending = ended.wait_for(Option::is_some).await;
        ending.ok().and_then(|ending| ending.clone()).unwrap_or(Ending::Stopped)
    }

    fn reason(&self) -> String {
        match self.ending() {
            Some(Ending::Failed(reason)) => reason,
            _ => "it was stopped".into(),
        }
    }
}

/// A streaming call in an instance. Dropping it tells the guest that the stream is over.
pub struct Streaming {
    id: u64,
    /// What it sends and gives.
    pub schema: Stream,
    _busy: Busy,
    actor: Arc<Actor>,
}

impl Streaming {
    /// Puts messages into the sink until it is full or there are no more for now.
    pub async fn pump(&self, sink: &Sink) -> Flow {
        let (reply, answer) = oneshot::channel();
        if self.submit(StreamJob::Pump { sink: sink.clone(), reply }).await.is_err() {
            return self.over(sink).await;
        }
        match answer.await {
            Ok(flow) => flow,
            Err(_) => self.over(sink).await,
        }
    }

    async fn over(&self, sink: &Sink) -> Flow {
        let error = (sink.explain)(CallError::Ended(self.actor.reason()));
        // A caller that is gone needs no reason.
        let _ = sink.replies.send(Err(error)).await;
        Flow::Over
    }

    /// Gives the guest a message.
    pub async fn send(&self, message: Value) -> Result<(), CallError> {
        let (reply, answer) = oneshot::channel();
        self.submit(StreamJob::Send { message, reply }).await?;
        answer.await.unwrap_or_else(|_| Err(CallError::Ended(self.actor.reason())))
    }

    /// Tells the guest that there are no more messages, and gives its reply.
    pub async fn finish(&self) -> Result<Option<Value>, CallError> {
        let (reply, answer) = oneshot::channel();
        self.submit(StreamJob::Finish { reply }).await?;
        answer.await.unwrap_or_else(|_| Err(CallError::Ended(self.actor.reason())))
    }

    async fn submit(&self, job: StreamJob) -> Result<(), CallError> {
        let sent = self.actor.jobs.send(Job::Stream(self.id, job)).await;
        sent.map_err(|_| CallError::Ended(self.actor.reason()))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let (jobs, id) = (self.actor.jobs.clone(), self.id);
        // A full queue is waited for elsewhere: nobody waits for this.
        if let Err(mpsc::error::TrySendError::Full(job)) = jobs.try_send(Job::Stream(id, StreamJob::Close)) {
            tokio::spawn(async move { jobs.send(job).await });
        }
    }
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Actor").field("busy", &self.busy()).field("ending", &self.ending()).finish_non_exhaustive()
    }
}

/// Counts a call for as long as it is there.
#[derive(Debug)]
struct Busy(Arc<AtomicU32>);

impl Busy {
    fn new(count: &Arc<AtomicU32>) -> Busy {
        count.fetch_add(1, Ordering::Relaxed);
        Busy(count.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives what still waits back to who asked for it.
fn hand_back(queue: &mut mpsc::Receiver<Job>) {
    queue.close();
    while let Ok(job) = queue.try_recv() {
        job.hand_back();
    }
}

impl Job {
    /// Says that the work was not begun. A dropped sender says that the instance is gone.
    fn hand_back(self) {
        let _ = match self {
            Job::Call(job) => job.reply.send(Err(ActorError::NotBegun(job.fields))).is_ok(),
            Job::Stream(_, StreamJob::Open { fields, reply, .. }) => {
                reply.send(Err(ActorError::NotBegun(fields))).is_ok()
            }
            _ => true,
        };
    }
}
