//! An instance on the concurrent engine: calls run at once, as far as the guest lets them.
//!
//! Anything but a call (streams, health, hand-over) waits until the calls that run have come to their end, and is then
//! done as on the lean engine.

use super::lean::{self, Streams};
use super::web::WebJob;
use super::{ActorError, CallJob, Ending, Job, WebFailure};
use crate::access::Scope;
use crate::bindings::State;
use crate::error::CallError;
use crate::fair::fair;
use crate::live::Live;
use crate::program::{Deadline, Program};
use crate::trap;
use crate::value::Value;
use crate::web::{Bounds, Handler, handle_03};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use wasmtime::component::{Accessor, Instance};

/// Does jobs until the instance is stopped, fails, or nobody holds it any more.
pub(super) async fn run(mut live: Live, program: &Program, queue: &mut mpsc::Receiver<Job>) -> Ending {
    let mut streams = Streams::new();
    loop {
        let running = Running::default();
        let instance = live.instance;
        let mut next = Next::Nothing;
        let together = fair(
            false,
            live.store.run_concurrent(async |accessor| {
                together(accessor, instance, program, queue, &running, &mut next).await
            }),
        );
        // The timer stands outside: what blocks inside may keep inner timers from firing.
        let outcome = tokio::select! {
            outcome = together => outcome,
            () = running.out_of_time() => Ok(Err(Failure::OutOfTime)),
        };
        let failed = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(Failure::OutOfTime)) => Some(running.end_out_of_time()),
            Ok(Err(Failure::Call(endpoint, error))) => Some(Ending::Failed(format!("{endpoint}: {error}"))),
            Err(error) => Some(Ending::Failed(live.failed(&error).to_string())),
        };
        let job = match (next, failed) {
            (Next::Job(job), None) => job,
            (Next::Job(job), Some(ending)) => {
                job.hand_back();
                return ending;
            }
            (_, failed) => return failed.unwrap_or(Ending::Stopped),
        };
        match lean::perform(&mut live, program, &mut streams, job).await {
            Ok(true) => {}
            Ok(false) => return Ending::Stopped,
            Err(ending) => return ending,
        }
    }
}

/// What comes after the calls that run.
enum Next {
    /// More calls.
    Nothing,
    Job(Job),
    /// Nobody holds the instance any more.
    End,
}

enum Failure {
    OutOfTime,
    Call(String, String),
}

/// Runs calls at once until another job is due, or nobody holds the instance any more.
async fn together(
    accessor: &Accessor<State>,
    instance: Instance,
    program: &Program,
    queue: &mut mpsc::Receiver<Job>,
    running: &Running,
    next: &mut Next,
) -> Result<(), Failure> {
    let mut calls = FuturesUnordered::new();
    let most = program.limits.concurrency as usize;
    loop {
        tokio::select! {
            job = queue.recv(), if matches!(next, Next::Nothing) && calls.len() < most => match job {
                Some(Job::Call(job)) => {
                    if job.deadline.has_passed() {
                        // Who stopped waiting needs no answer.
                        let _ = job.reply.send(Err(ActorError::Failed(job.deadline.missed())));
                        continue;
                    }
                    if job.reply.is_closed() {
                        continue;
                    }
                    calls.push(one(accessor, instance, program, Work::Call(job), running));
                }
                Some(Job::Web(job)) if matches!(program.handler, Some(Handler::Wasi03(_))) => {
                    if !job.reply.is_closed() {
                        calls.push(one(accessor, instance, program, Work::Web(job), running));
                    }
                }
                Some(other) => *next = Next::Job(other),
                None => *next = Next::End,
            },
            Some(outcome) = calls.next() => outcome?,
        }
        if !matches!(next, Next::Nothing) && calls.is_empty() {
            return Ok(());
        }
    }
}

/// What is done beside other work.
enum Work {
    Call(CallJob),
    Web(Box<WebJob>),
}

async fn one(
    accessor: &Accessor<State>,
    instance: Instance,
    program: &Program,
    work: Work,
    running: &Running,
) -> Result<(), Failure> {
    match work {
        Work::Call(job) => call(accessor, instance, program, job, running).await,
        Work::Web(job) => Box::pin(web(accessor, instance, program, *job, running)).await,
    }
}

async fn call(
    accessor: &Accessor<State>,
    instance: Instance,
    program: &Program,
    job: CallJob,
    running: &Running,
) -> Result<(), Failure> {
    let CallJob { scope, callable, fields, deadline, reply, busy: _busy } = job;
    let (id, is_alone) = running.add(scope, deadline, Bounds::new(deadline, None, None), Reply::Call(reply));
    accessor.with(|mut access| access.get().begin_beside(running.scope(), is_alone));
    let endpoint = &callable.endpoint;
    let call = async {
        let func = accessor.with(|mut access| instance.get_func(&mut access, callable.export));
        let func = func.ok_or_else(|| wasmtime::format_err!("{} is not exported", endpoint.function))?;
        let params = callable.to_vals(&callable.arguments(fields))?;
        let mut results = callable.places();
        func.call_concurrent(accessor, &params, &mut results).await?;
        callable.returned(&results)
    };
    let result = call.await;
    settle(accessor, program, running, id, result).map_err(|text| Failure::Call(endpoint.name.to_string(), text))
}

/// Serves an HTTP request, until nobody takes more of its response.
async fn web(
    accessor: &Accessor<State>,
    instance: Instance,
    program: &Program,
    job: WebJob,
    running: &Running,
) -> Result<(), Failure> {
    let WebJob { scope, request, deadline, reply, busy: _busy } = job;
    let (request, slot) = request.into_parts();
    let bounds = Bounds::new(deadline, Some(slot.clone()), None);
    let (id, is_alone) = running.add(scope, deadline, bounds, Reply::Web(reply));
    accessor.with(|mut access| access.get().begin_beside(running.scope(), is_alone));
    let serve = async {
        let Some(Handler::Wasi03(indices)) = &program.handler else {
            return Err(wasmtime::format_err!("no handler of WASI 0.3 is exported"));
        };
        let service = accessor.with(|access| indices.load(access, &instance))?;
        handle_03(accessor, &service, request, &slot).await?;
        slot.over().await;
        Ok(None)
    };
    let result = serve.await;
    settle(accessor, program, running, id, result).map_err(|text| Failure::Call("an HTTP request".into(), text))
}

/// Answers who waits for this; gives the reason if the instance cannot go on.
fn settle(
    accessor: &Accessor<State>,
    program: &Program,
    running: &Running,
    id: u64,
    result: wasmtime::Result<Option<Value>>,
) -> Result<(), String> {
    match result {
        Ok(value) => {
            running.end(id, Ok(value));
            accessor.with(|mut access| access.get().set_scope(running.scope()));
            Ok(())
        }
        Err(error) => {
            let limits = &program.limits;
            let error = accessor.with(|mut access| trap::call_error(&error, Some(&access.get().limiter), limits));
            let text = error.to_string();
            running.end(id, Err(error));
            Err(text)
        }
    }
}

/// The calls that run, with the time that each has.
#[derive(Default)]
struct Running {
    calls: Mutex<(u64, HashMap<u64, Entry>)>,
    changed: Notify,
}

struct Entry {
    scope: Scope,
    /// When it must be looked at again, and how far it may go on from there.
    until: Instant,
    bounds: Bounds,
    /// Why it goes no further.
    over: Option<CallError>,
    reply: Reply,
}

/// Who waits.
enum Reply {
    Call(oneshot::Sender<Result<Option<Value>, ActorError>>),
    Web(oneshot::Sender<Result<(), WebFailure>>),
}

impl Reply {
    fn send(self, result: Result<Option<Value>, CallError>) {
        // Who stopped waiting needs no answer.
        let _ = match self {
            Reply::Call(reply) => reply.send(result.map_err(ActorError::Failed)).is_ok(),
            Reply::Web(reply) => reply.send(result.map(drop).map_err(WebFailure::Failed)).is_ok(),
        };
    }
}

impl Running {
    /// Its number, and whether there is no other.
    fn add(&self, scope: Scope, deadline: Deadline, bounds: Bounds, reply: Reply) -> (u64, bool) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.0 += 1;
        let id = calls.0;
        let is_alone = calls.1.is_empty();
        calls.1.insert(id, Entry { scope, until: deadline.at, bounds, over: None, reply });
        drop(calls);
        self.changed.notify_one();
        (id, is_alone)
    }

    fn end(&self, id: u64, result: Result<Option<Value>, CallError>) {
        let entry = self.calls.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
        if let Some(entry) = entry {
            if result.is_err() {
                entry.bounds.cut();
            }
            entry.reply.send(result);
        }
    }

    /// For whom the instance works. What it does for several callers at once is done in nobody's name in particular, but
    /// within the time of those who wait longest and as deep as the deepest: a loop of calls comes to its end.
    fn scope(&self) -> Scope {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scopes = calls.1.values().map(|entry| &entry.scope);
        let Some(first) = scopes.next() else { return Scope::idle() };
        let (mut deadline, mut depth) = (first.deadline, first.depth);
        if calls.1.len() == 1 {
            return first.clone();
        }
        for scope in scopes {
            deadline = deadline.zip(scope.deadline).map(|(ours, theirs)| ours.max(theirs));
            depth = depth.max(scope.depth);
        }
        Scope { deadline, depth, ..Scope::idle() }
    }

    /// Waits until some call has run out of its time.
    async fn out_of_time(&self) {
        loop {
            let next = {
                let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
                calls.1.values().map(|entry| entry.until).min()
            };
            match next {
                Some(deadline) => tokio::select! {
                    () = tokio::time::sleep_until(deadline) => {
                        if self.is_any_over() {
                            return;
                        }
                    }
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Looks at what has reached its time: a response that has begun may go on.
    fn is_any_over(&self) -> bool {
        let now = Instant::now();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in calls.1.values_mut().filter(|entry| entry.until <= now) {
            match entry.bounds.extend() {
                Ok(until) => entry.until = until,
                Err(error) => entry.over = Some(error),
            }
        }
        calls.1.values().any(|entry| entry.over.is_some())
    }

    /// Ends the calls that ran out of time with that reason; the others learn that the instance ended.
    fn end_out_of_time(&self) -> Ending {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reason = String::from("a call ran out of time");
        for (_, entry) in calls.1.drain() {
            entry.bounds.cut();
            if let Some(error) = entry.over {
                reason = error.to_string();
                entry.reply.send(Err(error));
            }
        }
        Ending::Failed(reason)
    }
}

/// What still runs ends with the instance. It must know before the instance is dropped, which is after this.
impl Drop for Running {
    fn drop(&mut self) {
        let calls = self.calls.get_mut().unwrap_or_else(PoisonError::into_inner);
        calls.1.values().for_each(|entry| entry.bounds.cut());
    }
}
