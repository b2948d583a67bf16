//! The way in for HTTP requests that go to a guest as they are.
//!
//! A request passes the same gate as a call, has the same time until its response begins, and counts as one. What is left
//! of it then, the rest of the response and what the guest does after that, keeps its place until it is over.

use super::deployment::{Deployment, Revision};
use super::invoke::{Turn, explain};
use super::replicas::ReplicasError;
use super::{Runtime, errors};
use arc_swap::Guard;
use bytesize::ByteSize;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method};
use micro_engine::log::{Log as _, Stream};
use micro_engine::manifest::Limit;
use micro_engine::web::{Body, Leaving, NoResponse, Slot, respond};
use micro_engine::{Deadline, Program, Scope, WebRequest};
use micro_mesh::Error;
use micro_mesh::call::RequestId;
use micro_mesh::trace::Trace;
use std::sync::Arc;
use std::time::Instant;

/// A request for the HTTP handler of a deployment.
#[derive(Debug)]
pub struct WebCall {
    /// The deployment.
    pub service: Arc<str>,
    /// The version that must answer; any, if it does not say.
    pub version: Option<Arc<str>>,
    /// Ties its log lines together.
    pub id: RequestId,
    /// As HTTP has it, with an absolute URI.
    pub request: WebRequest,
}

impl Runtime {
    /// Serves a request. It is answered when the response begins; the body lasts as long as the guest and the client want.
    pub async fn serve_web(self: &Arc<Self>, call: WebCall) -> Result<http::Response<Body>, Error> {
        let Some(deployment) = self.deployment(&call.service) else {
            return Err(errors::unknown_service(&call.service));
        };
        // A client that leaves must not end an instance that others use.
        let leaving = if deployment.current().is_service() { Leaving::Stays } else { Leaving::Ends };
        let (slot, wants_body, id) = (call.request.slot().clone(), *call.request.method() != Method::HEAD, call.id);
        let run = Box::pin(self.clone().run_web(deployment.clone(), call));
        respond(slot.clone(), run, wants_body, leaving).await.map_err(|reason| match reason {
            NoResponse::Failed(error) => error,
            NoResponse::Said(_) if slot.is_too_large() => {
                errors::body_too_large(&deployment.name, ByteSize::b(slot.most()))
            }
            NoResponse::Said(error) => explain(&deployment, id, error),
        })
    }

    /// Everything from the gate to the guest's end.
    async fn run_web(self: Arc<Self>, deployment: Arc<Deployment>, call: WebCall) -> Result<(), Error> {
        let WebCall { service, version, id, mut request } = call;
        let (began, mut left) = (Instant::now(), None::<Arc<Revision>>);
        loop {
            let revision = Guard::into_inner(deployment.choose_by(version.as_deref()));
            if left.is_some_and(|left| Arc::ptr_eq(&left, &revision)) {
                return Err(errors::no_instance(&service, "it is being stopped"));
            }
            let slot = request.slot().clone();
            let mut counted = Counted {
                deployment: &deployment,
                revision: &revision,
                slot: &slot,
                began,
                code: None,
                is_forgotten: false,
            };
            let served = async {
                let program = self.program(&deployment, &revision, id).await?;
                let Some(program) = &*program else {
                    return Err(errors::no_instance(&service, "its code is being unloaded"));
                };
                if program.web().is_none() {
                    return Err(Error::not_found(&*service, "this revision takes no HTTP requests"));
                }
                if !request.limit_body(revision.limits.upload.as_u64()) {
                    return Err(errors::body_too_large(&service, revision.limits.upload));
                }
                let Turn { deadline, _permit } = Turn::enter(&deployment, &revision, program, None).await?;
                let scope = scope(program, id, request.headers());
                if revision.is_service() {
                    return self.serve_live(&deployment, &revision, scope, request, deadline, id).await;
                }
                let served = program.serve_web(scope, request, deadline).await;
                served.map_err(|error| explain(&deployment, id, error)).map(|()| None)
            }
            .await;
            if slot.is_too_large() {
                deployment.usage.hit(Limit::Request);
            }
            let error = match served {
                Ok(None) => return Ok(()),
                Ok(Some(not_begun)) => {
                    // The revision that took over counts it.
                    counted.forget();
                    request = *not_begun;
                    left = Some(revision);
                    continue;
                }
                Err(error) => error,
            };
            let error = match slot.is_too_large() && slot.status().is_none() {
                true => errors::body_too_large(&service, revision.limits.upload),
                false => error,
            };
            counted.code = Some(error.code);
            if slot.status().is_some() {
                let line = format!("the response was cut off: {}", error.detail);
                deployment.log.line(id, Stream::Host, &line);
            }
            return Err(error);
        }
    }

    /// Serves a request in a live instance; gives it back if another revision took over before.
    async fn serve_live(
        &self,
        deployment: &Deployment,
        revision: &Arc<Revision>,
        scope: Scope,
        request: WebRequest,
        deadline: Deadline,
        id: RequestId,
    ) -> Result<Option<Box<WebRequest>>, Error> {
        let replicas = self.replicas(deployment, revision, id).await?;
        let Err(not_served) = replicas.serve_web(scope, Box::new(request), deadline).await else { return Ok(None) };
        match not_served.error {
            ReplicasError::Retired if not_served.request.is_some() => Ok(not_served.request),
            ReplicasError::Retired => Err(errors::no_instance(&deployment.name, "it is being stopped")),
            ReplicasError::None(reason) => Err(errors::no_instance(&deployment.name, &reason)),
            ReplicasError::Call(error) => Err(explain(deployment, id, error)),
        }
    }
}

/// For whom an instance works. Its calls are not bound to the time of the request: the response may last.
fn scope(program: &Program, id: RequestId, header: &HeaderMap) -> Scope {
    let mut scope = Scope::new(id);
    if program.calls_others() {
        // The gateway has written there where the request stands in its trace.
        scope.trace = Trace::read(header).map(|(_, trace)| trace);
        let mut header = header.clone();
        // These speak of this request alone.
        for own in [ACCEPT, CONTENT_TYPE, CONTENT_LENGTH, HOST] {
            header.remove(own);
        }
        scope.header = Some(Arc::new(header));
    }
    scope
}

/// Counts a request when it is over, however that comes.
struct Counted<'c> {
    deployment: &'c Deployment,
    revision: &'c Revision,
    slot: &'c Slot,
    began: Instant,
    code: Option<u16>,
    is_forgotten: bool,
}

impl Counted<'_> {
    fn forget(mut self) {
        self.is_forgotten = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // Pages that are not there are the daily bread of a web site, and no failure of it.
        let of_guest = || self.slot.status().filter(|status| *status >= 500);
        if self.is_forgotten {
            return;
        }
        let begun = self.deployment.counts_for_call().begin(self.began);
        match (self.code.or_else(of_guest), self.slot.told_at()) {
            // Its caller left before there was an answer.
            (None, None) => drop(begun),
            // How long the rest of the response takes says nothing of how fast the deployment is.
            (code, told_at) => {
                begun.answered_at(told_at.unwrap_or_else(Instant::now), code);
                self.deployment.count(self.revision, code);
            }
        }
    }
}
