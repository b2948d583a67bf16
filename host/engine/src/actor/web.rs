//! HTTP requests for a live instance.

use super::{Actor, Busy, Ending, Job, LATE};
use crate::access::Scope;
use crate::error::CallError;
use crate::live::Live;
use crate::program::{Deadline, Program};
use crate::web::{Handler, WebRequest, watch};
use std::pin::pin;
use tokio::sync::{mpsc, oneshot};

/// A request for the instance.
pub(super) struct WebJob {
    pub(super) scope: Scope,
    pub(super) request: WebRequest,
    pub(super) deadline: Deadline,
    pub(super) reply: oneshot::Sender<Result<(), WebFailure>>,
    /// As for calls.
    pub(super) busy: Busy,
}

/// Why a request was not served to its end.
#[derive(Debug)]
pub enum WebFailure {
    /// It was not begun, because the instance ended before; here it is again.
    NotBegun(Box<WebRequest>),
    /// It failed.
    Failed(CallError),
}

impl Actor {
    /// Serves a request, to the end of what the guest does for it. The response appears in the request's slot.
    pub async fn serve_web(&self, scope: Scope, request: WebRequest, deadline: Deadline) -> Result<(), WebFailure> {
        let slot = request.slot().clone();
        let (reply, answer) = oneshot::channel();
        let busy = Busy::new(&self.busy);
        let job = Job::Web(Box::new(WebJob { scope, request, deadline, reply, busy }));
        if let Err(mpsc::error::SendError(Job::Web(job))) = self.jobs.send(job).await {
            return Err(WebFailure::NotBegun(Box::new(job.request)));
        }
        let mut answer = pin!(answer);
        let answer = match tokio::time::timeout_at(deadline.at + LATE, answer.as_mut()).await {
            Ok(answer) => answer,
            // The response has begun, and lasts.
            Err(_) if slot.status().is_some() => answer.await,
            Err(_) => return Err(WebFailure::Failed(deadline.missed())),
        };
        match answer {
            Ok(result) => result,
            Err(_) => {
                // The instance failed while it served this, or another one at the same time.
                slot.cut();
                Err(WebFailure::Failed(self.gone().await))
            }
        }
    }
}

/// Serves one request, on an instance that does nothing else meanwhile.
pub(super) async fn serve(live: &mut Live, program: &Program, job: WebJob) -> Result<(), Ending> {
    let WebJob { scope, request, deadline, reply, busy: _busy } = job;
    if deadline.has_passed() {
        // Who stopped waiting needs no answer.
        let _ = reply.send(Err(WebFailure::Failed(deadline.missed())));
        return Ok(());
    }
    if reply.is_closed() {
        return Ok(());
    }
    live.begin_call(scope);
    let (request, slot) = request.into_parts();
    let guest = pin!(async {
        match &program.handler {
            Some(Handler::Wasi02(handle)) => live.handle_02(*handle, request, &slot).await,
            Some(Handler::Wasi03(indices)) => {
                let service = indices.load(&mut live.store, &live.instance);
                let service = service.map_err(|error| CallError::Host(format!("find the handler: {error:#}")))?;
                live.handle_03(&service, request, &slot).await
            }
            None => Err(CallError::Host("no HTTP handler is exported".into())),
        }
    });
    let result = watch(&slot, deadline, None, guest).await;
    let done = match &result {
        Ok(()) => Ok(()),
        Err(error) => Err(Ending::Failed(format!("an HTTP request: {error}"))),
    };
    // As above.
    let _ = reply.send(result.map_err(WebFailure::Failed));
    done
}
