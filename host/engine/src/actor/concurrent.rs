//! An instance on the concurrent engine: calls run at once, as far as the guest lets them.
//!
//! Anything but a call (streams, health, hand-over) waits until the calls that run have come to their end, and is then
//! done as on the lean engine.

use super::lean::{self, Streams};
use super::{ActorError, CallJob, Ending, Job};
use crate::access::Scope;
use crate::bindings::State;
use crate::error::CallError;
use crate::fair::fair;
use crate::live::Live;
use crate::program::{Deadline, Program};
use crate::trap;
use crate::value::Value;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot};
use wasmtime::component::{Accessor, Instance};

/// Does jobs until the instance is stopped, fails, or nobody holds it any more.
pub(super) async fn run(mut live: Live, program: &Program, queue: &mut mpsc::Receiver<Job>) -> Ending {
    let mut streams = Streams::new();
    loop {
        let running = Running::default();
        let instance = live.instance;
        let mut next = Next::Nothing;
        let together =
            fair(live.store.run_concurrent(async |accessor| {
                together(accessor, instance, program, queue, &running, &mut next).await
            }));
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
                    calls.push(one(accessor, instance, program, job, running));
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

async fn one(
    accessor: &Accessor<State>,
    instance: Instance,
    program: &Program,
    job: CallJob,
    running: &Running,
) -> Result<(), Failure> {
    let CallJob { scope, callable, fields, deadline, reply, busy: _busy } = job;
    let id = running.add(scope, deadline, reply);
    accessor.with(|mut access| access.get().set_scope(running.scope()));
    let endpoint = &callable.endpoint;
    let call = async {
        let func = accessor.with(|mut access| instance.get_func(&mut access, callable.export));
        let func = func.ok_or_else(|| wasmtime::format_err!("{} is not exported", endpoint.function))?;
        let params = callable.to_vals(&callable.arguments(fields))?;
        let mut results = callable.places();
        func.call_concurrent(accessor, &params, &mut results).await?;
        callable.returned(&results)
    };
    match call.await {
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
            Err(Failure::Call(endpoint.name.to_string(), text))
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
    deadline: Deadline,
    reply: oneshot::Sender<Result<Option<Value>, ActorError>>,
}

impl Running {
    fn add(&self, scope: Scope, deadline: Deadline, reply: oneshot::Sender<Result<Option<Value>, ActorError>>) -> u64 {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.0 += 1;
        let id = calls.0;
        calls.1.insert(id, Entry { scope, deadline, reply });
        drop(calls);
        self.changed.notify_one();
        id
    }

    fn end(&self, id: u64, result: Result<Option<Value>, CallError>) {
        let entry = self.calls.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
        if let Some(entry) = entry {
            // Who stopped waiting needs no answer.
            let _ = entry.reply.send(result.map_err(ActorError::Failed));
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
                calls.1.values().map(|entry| entry.deadline.at).min()
            };
            match next {
                Some(deadline) => tokio::select! {
                    () = tokio::time::sleep_until(deadline) => {
                        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
                        if calls.1.values().any(|entry| entry.deadline.has_passed()) {
                            return;
                        }
                    }
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Ends the calls that ran out of time with that reason; the others learn that the instance ended.
    fn end_out_of_time(&self) -> Ending {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reason = String::from("a call ran out of time");
        for (_, entry) in calls.1.drain() {
            if entry.deadline.has_passed() {
                let error = entry.deadline.missed();
                reason = error.to_string();
                // Who stopped waiting needs no answer.
                let _ = entry.reply.send(Err(ActorError::Failed(error)));
            }
        }
        Ending::Failed(reason)
    }
}
