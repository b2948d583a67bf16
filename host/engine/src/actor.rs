//! A live instance that keeps its state.
//!
//! On the lean engine calls run one at a time: a caller that finds the instance idle borrows it, all others queue to its
//! task. On the concurrent engine the task owns it, and calls run at once, as far as the guest lets them.
//! Whatever fails inside ends the instance: what was in it fails with a reason, and what still waited is handed back.

mod concurrent;
mod lean;
mod parking;
mod web;

use crate::access::Scope;
use crate::error::CallError;
use crate::inspect::EngineKind;
use crate::live::Live;
use crate::manifest::Limits;
use crate::program::{Callable, Deadline, Program};
use crate::value::Value;
use micro_mesh::exchange::Sender;
use micro_mesh::{Error, Payload};
use parking::Parking;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use web::WebJob;

pub use web::WebFailure;

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
    task: AbortHandle,
    program: Arc<Program>,
    parking: Arc<Parking>,
    is_ill: AtomicBool,
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
    pub replies: Sender,
    /// How values become messages.
    pub encode: Encode,
    /// How failures become errors.
    pub explain: Arc<dyn Fn(CallError) -> Error + Send + Sync>,
}

impl Sink {
    /// A value as a message, if it is no larger than a reply may be.
    pub(crate) fn message(&self, value: &Value, limits: &Limits) -> Result<Payload, Error> {
        let message = (self.encode)(value)?;
        let limit = limits.reply;
        match message.bytes().is_some_and(|bytes| bytes.len() as u64 > limit.as_u64()) {
            true => Err((self.explain)(CallError::ReplyTooLarge { limit })),
            false => Ok(message),
        }
    }
}

/// Whether a stream goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// The sink is full, and there may be more.
    Full,
    /// The guest has no more for now: where it takes no messages, that is the end.
    Empty,
    /// The stream is over, or the caller is gone.
    Over,
    /// The stream failed.
    Failed(Error),
}

enum Job {
    Call(CallJob),
    Stream(u64, StreamJob),
    Web(Box<WebJob>),
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
    /// A call whose caller left is one until it has ended.
    busy: Busy,
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
        let deadline = program.deadline(Instant::now(), None);
        let room = program.lasting_room(deadline).await.map_err(StartError::Failed)?;
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
        let begun = tokio::time::timeout_at(deadline.at, begin).await;
        let live = begun.map_err(|_| StartError::Failed(deadline.missed()))??;
        Ok(Actor::run(program, live, room))
    }

    /// An instance for a single streaming call: nothing but that call happens in it.
    pub async fn for_stream(program: Arc<Program>, scope: Scope, deadline: Deadline) -> Result<Actor, CallError> {
        let room = program.lasting_room(deadline).await?;
        let live = deadline.limit(pin!(Live::new(&program, scope))).await?;
        Ok(Actor::run(program, live, room))
    }

    fn run(program: Arc<Program>, live: Live, room: impl Send + 'static) -> Actor {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (tell, ended) = watch::channel(None);
        let owned = program.clone();
        let parking = Arc::new(Parking::default());
        let own_parking = parking.clone();
        let task = tokio::spawn(async move {
            let mut queue = queue;
            // Boxed, as is the work inside: an idle instance then holds no room for what it might have to do.
            let ending = match owned.engine() {
                EngineKind::Lean => Box::pin(lean::run(live, &owned, &own_parking, &mut queue)).await,
                EngineKind::Concurrent => Box::pin(concurrent::run(live, &owned, &mut queue)).await,
            };
            drop(room);
            hand_back(queue).await;
            tell.send_replace(Some(ending));
        });
        Actor {
            jobs,
            busy: Arc::default(),
            ended,
            task: task.abort_handle(),
            program,
            parking,
            is_ill: AtomicBool::new(false),
            next_stream: AtomicU64::new(0),
        }
    }

    /// Calls an endpoint. The answer is what the function returned.
    pub async fn call(
        &self,
        scope: Scope,
        callable: &Arc<Callable>,
        fields: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Option<Value>, ActorError> {
        let busy = Busy::new(&self.busy);
        // Work that is queued already goes first.
        if self.jobs.capacity() == QUEUE
            && let Some((borrowed, live)) = self.parking.take_idle(callable)
        {
            let call = lean::call_and_put_back(borrowed, live, scope, fields);
            return self.run_at_once(call, deadline, busy).await.map_err(ActorError::Failed);
        }
        let (reply, answer) = oneshot::channel();
        let job = Job::Call(CallJob { scope, callable: callable.clone(), fields, deadline, reply, busy });
        if let Err(mpsc::error::SendError(Job::Call(job))) = self.jobs.send(job).await {
            return Err(ActorError::NotBegun(job.fields));
        }
        match tokio::time::timeout_at(deadline.at + LATE, answer).await {
            Ok(Ok(result)) => result,
            // The instance failed in another call that ran at the same time.
            Ok(Err(_)) => Err(ActorError::Failed(self.gone().await)),
            Err(_) => Err(ActorError::Failed(deadline.missed())),
        }
    }

    /// Runs a call on the caller's own task. One that does not come to its end at once goes on elsewhere, so that a
    /// caller who leaves does not take the instance along.
    async fn run_at_once(
        &self,
        call: impl Future<Output = Result<Option<Value>, CallError>> + Send + 'static,
        deadline: Deadline,
        busy: Busy,
    ) -> Result<Option<Value>, CallError> {
        let mut call = Box::pin(call);
        if let Poll::Ready(result) = futures::poll!(call.as_mut()) {
            return result;
        }
        let going_on = tokio::spawn(async move {
            let (_busy, mut call) = (busy, call);
            // A call that is dropped takes the instance along.
            deadline.limit(call.as_mut()).await
        });
        match going_on.await {
            Ok(result) => result,
            Err(_) => Err(self.gone().await),
        }
    }

    /// Opens a streaming call.
    pub async fn open(
        self: &Arc<Self>,
        scope: Scope,
        callable: &Arc<Callable>,
        fields: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Streaming, ActorError> {
        let streaming = Streaming {
            id: self.next_stream.fetch_add(1, Ordering::Relaxed),
            _busy: Busy::new(&self.busy),
            actor: self.clone(),
        };
        let (reply, answer) = oneshot::channel();
        let job = Job::Stream(streaming.id, StreamJob::Open { scope, callable: callable.clone(), fields, reply });
        if let Err(mpsc::error::SendError(Job::Stream(_, StreamJob::Open { fields, .. }))) = self.jobs.send(job).await {
            return Err(ActorError::NotBegun(fields));
        }
        match tokio::time::timeout_at(deadline.at + LATE, answer).await {
            Ok(Ok(opened)) => opened.map(|()| streaming),
            Ok(Err(_)) => Err(ActorError::Failed(self.gone().await)),
            // A stream that opens after all is closed by its handle.
            Err(_) => Err(ActorError::Failed(deadline.missed())),
        }
    }

    /// Asks the instance how it is: its own answer, or that it gives none in time. [`Actor::is_well`] remembers it.
    pub async fn health(&self) -> Result<(), String> {
        let said = self.ask().await;
        self.is_ill.store(said.is_err(), Ordering::Relaxed);
        said
    }

    /// Whether it was well when it was last asked.
    pub fn is_well(&self) -> bool {
        !self.is_ill.load(Ordering::Relaxed)
    }

    async fn ask(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.jobs.send(Job::Health(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.program.limits.timeout, asked).await {
            Ok(Some(said)) => said,
            Ok(None) => Err(self.gone().await.to_string()),
            Err(_) => Err("no answer in time".into()),
        }
    }

    /// What the successor has to know; none if the component does not say.
    pub async fn save(&self) -> Result<Option<Vec<u8>>, String> {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Save(reply)).await.is_err() {
            return Err(self.gone().await.to_string());
        }
        match answer.await {
            Ok(said) => said,
            Err(_) => Err(self.gone().await.to_string()),
        }
    }

    /// Ends the instance after the work that is queued: it is told, and then dropped.
    pub async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Stop(reply)).await.is_ok() {
            // An instance that fails on its way out is out as well.
            let _ = answer.await;
        }
    }

    /// Drops the instance, whatever it is doing.
    pub fn abort(&self) {
        self.task.abort();
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
        let ending = ending.ok().and_then(|ending| ending.clone());
        ending.unwrap_or_else(|| Ending::Failed("its task ended before its time".into()))
    }

    /// The error of what was in an instance that ended; how is known a moment later.
    async fn gone(&self) -> CallError {
        CallError::Ended(match tokio::time::timeout(LATE, self.ended()).await {
            Ok(Ending::Failed(reason)) => reason,
            _ => "it was stopped".into(),
        })
    }
}

/// A streaming call in an instance. Dropping it tells the guest that the stream is over.
pub struct Streaming {
    id: u64,
    _busy: Busy,
    actor: Arc<Actor>,
}

impl Streaming {
    /// Puts messages into the sink until it is full or there are no more for now.
    pub async fn pump(&self, sink: &Sink) -> Flow {
        let (reply, answer) = oneshot::channel();
        let flow = match self.submit(StreamJob::Pump { sink: sink.clone(), reply }).await {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        match flow {
            Some(flow) => flow,
            None => Flow::Failed((sink.explain)(self.actor.gone().await)),
        }
    }

    /// Gives the guest a message.
    pub async fn send(&self, message: Value) -> Result<(), CallError> {
        let (reply, answer) = oneshot::channel();
        self.submit(StreamJob::Send { message, reply }).await?;
        self.answer(answer).await
    }

    /// Tells the guest that there are no more messages, and gives its reply.
    pub async fn finish(&self) -> Result<Option<Value>, CallError> {
        let (reply, answer) = oneshot::channel();
        self.submit(StreamJob::Finish { reply }).await?;
        self.answer(answer).await
    }

    async fn submit(&self, job: StreamJob) -> Result<(), CallError> {
        match self.actor.jobs.send(Job::Stream(self.id, job)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.actor.gone().await),
        }
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, CallError>>) -> Result<T, CallError> {
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(self.actor.gone().await),
        }
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

/// Gives what still waits back to who asked for it, and what is on its way into the queue.
async fn hand_back(mut queue: mpsc::Receiver<Job>) {
    queue.close();
    while let Some(job) = queue.recv().await {
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
            Job::Web(job) => job.reply.send(Err(WebFailure::NotBegun(Box::new(job.request)))).is_ok(),
            _ => true,
        };
    }
}
