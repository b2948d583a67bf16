//! An instance on the lean engine: one job after the other.

use super::parking::{Borrowed, Parking};
use super::{ActorError, CallJob, Ending, Flow, Job, Sink, StreamJob, web};
use crate::access::Scope;
use crate::error::CallError;
use crate::live::Live;
use crate::program::Program;
use crate::streaming::OpenStream;
use crate::value::Value;
use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;

/// The streams that an instance has open, and for whom.
pub(super) type Streams = HashMap<u64, (Scope, OpenStream)>;

/// Does jobs until the instance is stopped, fails, or nobody holds it any more. While there are none, the instance
/// waits where callers find it.
pub(super) async fn run(live: Live, program: &Program, parking: &Parking, queue: &mut mpsc::Receiver<Job>) -> Ending {
    let mut streams = Streams::new();
    parking.put(Box::new(live));
    loop {
        let job = tokio::select! {
            job = queue.recv() => job,
            ending = parking.failed() => return ending,
        };
        let Some(mut job) = job else {
            // It is gone before its room is free again.
            drop(parking.wait().await);
            return Ending::Stopped;
        };
        let mut live = match parking.wait().await {
            Ok(live) => live,
            Err(ending) => {
                job.hand_back();
                return ending;
            }
        };
        // What came meanwhile is done before the instance is put back.
        loop {
            match Box::pin(perform(&mut live, program, &mut streams, job)).await {
                Ok(true) => {}
                Ok(false) => return Ending::Stopped,
                Err(ending) => return ending,
            }
            match queue.try_recv() {
                Ok(next) => job = next,
                Err(_) => break,
            }
        }
        parking.put(live);
    }
}

/// Runs a call with an instance that was idle, and puts it back.
pub(super) async fn call_and_put_back(
    borrowed: Borrowed,
    mut live: Box<Live>,
    scope: Scope,
    fields: Vec<Value>,
) -> Result<Option<Value>, CallError> {
    live.begin_call(scope);
    let callable = &borrowed.callable;
    let result = live.call(callable, callable.arguments(fields)).await;
    match &result {
        Ok(_) => borrowed.put_back(live),
        Err(error) => {
            drop(live);
            borrowed.fail(error);
        }
    }
    result
}

/// Does one job, and says whether there may be more.
pub(super) async fn perform(
    live: &mut Live,
    program: &Program,
    streams: &mut Streams,
    job: Job,
) -> Result<bool, Ending> {
    let time = program.limits.timeout;
    match job {
        Job::Call(job) => call(live, job).await?,
        Job::Stream(id, job) => stream(live, time, streams, id, job).await?,
        Job::Web(job) => web::serve(live, program, *job).await?,
        Job::Health(reply) => {
            live.begin_call(Scope::idle());
            answer(within(time, live.health(&program.lifecycle)).await, reply)?;
        }
        Job::Save(reply) => {
            live.begin_call(Scope::idle());
            answer(within(time, live.save(&program.lifecycle)).await, reply)?;
        }
        Job::Stop(reply) => {
            live.begin_call(Scope::idle());
            if let Err(error) = within(time, live.stop(&program.lifecycle)).await {
                tracing::warn!(service = %program.access.service, "stop: {error}");
            }
            // Who asked may have stopped waiting.
            let _ = reply.send(());
            return Ok(false);
        }
    }
    Ok(true)
}

type Done = Result<(), Ending>;

async fn call(live: &mut Live, job: CallJob) -> Done {
    let CallJob { scope, callable, fields, deadline, reply, busy: _busy } = job;
    if deadline.has_passed() {
        // Who stopped waiting needs no answer.
        let _ = reply.send(Err(ActorError::Failed(deadline.missed())));
        return Ok(());
    }
    if reply.is_closed() {
        return Ok(());
    }
    live.begin_call(scope);
    let arguments = callable.arguments(fields);
    let result = deadline.limit(pin!(live.call(&callable, arguments))).await;
    let done = match &result {
        Ok(_) => Ok(()),
        Err(error) => Err(Ending::Failed(format!("{}: {error}", callable.endpoint.name))),
    };
    // Who stopped waiting needs no answer.
    let _ = reply.send(result.map_err(ActorError::Failed));
    done
}

/// Answers with what the guest said of itself. The instance lives on if it only said no.
fn answer<T>(said: crate::lifecycle::Said<T>, reply: tokio::sync::oneshot::Sender<Result<T, String>>) -> Done {
    let (said, done) = match said {
        Ok(said) => (said, Ok(())),
        Err(error) => (Err(error.to_string()), Err(Ending::Failed(error.to_string()))),
    };
    // Who stopped waiting needs no answer.
    let _ = reply.send(said);
    done
}

async fn stream(live: &mut Live, time: Duration, streams: &mut Streams, id: u64, job: StreamJob) -> Done {
    match job {
        StreamJob::Open { scope, callable, fields, reply } => {
            let Some(exports) = callable.stream else {
                let error = CallError::BadRequest(format!("{} does not stream by a resource", callable.endpoint.name));
                // Who stopped waiting needs no answer.
                let _ = reply.send(Err(ActorError::Failed(error)));
                return Ok(());
            };
            live.begin_call(scope.clone());
            let arguments = callable.arguments(fields);
            let opened = match callable.to_vals(&arguments) {
                Ok(params) => {
                    let open = OpenStream::open(live, &callable.endpoint, callable.export, exports, &params);
                    within(time, open).await
                }
                Err(error) => Err(CallError::Host(error.to_string())),
            };
            let (outcome, done) = match opened {
                Ok(stream) => {
                    streams.insert(id, (scope, stream));
                    (Ok(()), Ok(()))
                }
                Err(error) => {
                    let done = survives(&error);
                    (Err(ActorError::Failed(error)), done)
                }
            };
            // A stream that nobody waited for is closed by its handle.
            let _ = reply.send(outcome);
            done
        }
        StreamJob::Pump { sink, reply } => {
            let Some((scope, stream)) = streams.get(&id) else {
                let _ = reply.send(Flow::Over);
                return Ok(());
            };
            live.begin_call(scope.clone());
            let (flow, done) = pump(live, stream, &sink, time).await;
            // The handle may be gone, which closes the stream.
            let _ = reply.send(flow);
            done
        }
        StreamJob::Send { message, reply } => {
            let Some((scope, stream)) = streams.get(&id) else {
                // Who stopped waiting needs no answer.
                let _ = reply.send(Err(is_over()));
                return Ok(());
            };
            live.begin_call(scope.clone());
            let sent = within(time, stream.send(live, &message)).await;
            let done = sent.as_ref().map_or_else(survives, |()| Ok(()));
            let _ = reply.send(sent);
            done
        }
        StreamJob::Finish { reply } => {
            let Some((scope, stream)) = streams.get(&id) else {
                // Who stopped waiting needs no answer.
                let _ = reply.send(Err(is_over()));
                return Ok(());
            };
            live.begin_call(scope.clone());
            let finished = within(time, stream.finish(live)).await;
            let done = finished.as_ref().map_or_else(survives, |_| Ok(()));
            let _ = reply.send(finished);
            done
        }
        StreamJob::Close => match streams.remove(&id) {
            Some((scope, stream)) => {
                live.begin_call(scope);
                within(time, stream.close(live)).await.or_else(|error| survives(&error))
            }
            None => Ok(()),
        },
    }
}

/// Moves messages from the guest to the caller, as many as the caller has room for.
async fn pump(live: &mut Live, stream: &OpenStream, sink: &Sink, time: Duration) -> (Flow, Done) {
    loop {
        let place = match sink.replies.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Full(())) => return (Flow::Full, Ok(())),
            Err(mpsc::error::TrySendError::Closed(())) => return (Flow::Over, Ok(())),
        };
        match within(time, stream.next(live)).await {
            Ok(Some(value)) => match sink.message(&value, &live.limits) {
                Ok(message) => place.send(Ok(message)),
                Err(error) => return (Flow::Failed(error), Ok(())),
            },
            Ok(None) => return (Flow::Empty, Ok(())),
            Err(error) => {
                let done = survives(&error);
                return (Flow::Failed((sink.explain)(error)), done);
            }
        }
    }
}

fn is_over() -> CallError {
    CallError::Ended("the stream is over".into())
}

/// An error that the guest returned is its own affair; any other leaves the instance unusable.
fn survives(error: &CallError) -> Done {
    match error {
        CallError::Guest { .. } | CallError::BadRequest(_) => Ok(()),
        other => Err(Ending::Failed(other.to_string())),
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    tokio::time::timeout(time, work).await.unwrap_or(Err(CallError::Timeout(time)))
}
