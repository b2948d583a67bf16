//! The way in: every call of a deployment on this host passes here, whatever door it came through.

use super::deployment::{Deployment, Revision};
use super::gate::Permit;
use super::replicas::ReplicasError;
use super::{Runtime, errors, message};
use arc_swap::Guard;
use async_trait::async_trait;
use http::HeaderMap;
use http::header::ACCEPT;
use micro_engine::log::{Log, Stream};
use micro_engine::manifest::Limit;
use micro_engine::schema::Endpoint;
use micro_engine::value::Returned;
use micro_engine::{CallError, Callable, Deadline, Program, Scope, Value, json, name, outcome};
use micro_mesh::call::RequestId;
use micro_mesh::{Call, Error, Exchange, Node, Payload, Reply, Transport, transport};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use tokio::time::Instant;

impl Runtime {
    /// Serves one call: its revision is chosen and loaded, it takes its turn, it runs in a fresh instance or in a live
    /// one.
    pub async fn invoke(self: &Arc<Self>, call: Call) -> Result<Reply, Error> {
        let began = std::time::Instant::now();
        let mut left: Option<Arc<Revision>> = None;
        loop {
            let routes = self.routes.load();
            let Some(deployment) = routes.get(&call.service) else {
                return Err(errors::unknown_service(&call.service));
            };
            let (revision, begun) = (deployment.choose(&call), deployment.counts_for_call().begin(began));
            if left.as_ref().is_some_and(|left| Arc::ptr_eq(left, &revision)) {
                begun.answered(Some(503));
                return Err(errors::no_instance(&call.service, "it is being stopped"));
            }
            let program = match self.program(deployment, &revision, call.id).await {
                Ok(program) => program,
                Err(error) => {
                    begun.answered(Some(error.code));
                    deployment.count(&revision, Some(error.code));
                    return Err(error);
                }
            };
            // It is there: what `program` gives was loaded.
            let Some(program) = &*program else {
                begun.moved();
                continue;
            };
            let Some(callable) = program.endpoint(&call.endpoint) else {
                begun.answered(Some(404));
                deployment.count(&revision, Some(404));
                return Err(unknown_endpoint(&call, program));
            };
            if callable.schema().stream.is_some() {
                begun.moved();
                // Boxed, so that calls need no room for it.
                let exchange = Box::pin(self.open_stream(call)).await?;
                return Ok(Reply::new(Payload::Stream(Box::new(exchange))));
            }
            match self.serve(deployment, &revision, program, callable, &call).await {
                Ok((reply, code)) => {
                    begun.answered(code);
                    deployment.count(&revision, code);
                    return Ok(reply);
                }
                Err(ServeError::Failed(error)) => {
                    begun.answered(Some(error.code));
                    deployment.count(&revision, Some(error.code));
                    return Err(error);
                }
                Err(ServeError::Moved) => {
                    begun.moved();
                    left = Some(Guard::into_inner(revision));
                }
            }
        }
    }

    /// An error that says a service is not known, made truer where this host has it: its instances take no calls.
    pub(crate) fn say_why_absent(&self, service: &str, error: Error) -> Error {
        if error.code != 404 || error.id != "go.micro.client" {
            return error;
        }
        let Some(deployment) = self.deployment(service) else { return error };
        let current = deployment.current();
        let problem = current.replicas().and_then(|replicas| replicas.status().problems.pop());
        match deployment.failure().or(problem) {
            Some(problem) => errors::no_instance(service, &problem),
            None => error,
        }
    }

    /// The reply, and the code of the function's own error where a reply inside this process holds one.
    async fn serve(
        &self,
        deployment: &Deployment,
        revision: &Arc<Revision>,
        program: &Program,
        callable: &Arc<Callable>,
        call: &Call,
    ) -> Result<(Reply, Option<u16>), ServeError> {
        let endpoint = callable.schema();
        let (fields, Turn { deadline, _permit }) = Turn::take(deployment, revision, program, callable, call).await?;
        let scope = scope(program, call, Some(deadline.at));
        let returned = if revision.is_service() {
            let replicas = self.replicas(deployment, revision, call.id).await?;
            let key = sticky_key(revision, endpoint, &fields);
            let returned = replicas.call(scope, callable, fields, key, deadline).await;
            returned.map_err(|error| ServeError::of(error, deployment, call))?
        } else {
            program
                .call(scope, callable, fields, deadline)
                .await
                .map_err(|error| explain(deployment, call.id, error))?
        };
        if matches!(call.payload, Payload::Value(_)) {
            let code = outcome::error_code(endpoint, returned.as_ref());
            let reply = Reply::new(Payload::Value(Box::new(Returned(returned))));
            return Ok((Reply { status: code, ..reply }, code));
        }
        let reply = outcome::reply(endpoint, returned).map_err(|error| explain(deployment, call.id, error))?;
        let content_type = revision.manifest.reply.content_type.as_deref();
        let reply = message::write(call, endpoint, program.protos(), reply, content_type)?;
        check_reply(revision, &reply).map_err(|error| explain(deployment, call.id, error))?;
        Ok((reply, None))
    }
}

/// Why a revision did not answer a call.
pub(super) enum ServeError {
    Failed(Error),
    /// Another revision took over while the call waited.
    Moved,
}

impl From<Error> for ServeError {
    fn from(error: Error) -> ServeError {
        ServeError::Failed(error)
    }
}

impl ServeError {
    pub(super) fn of(error: ReplicasError, deployment: &Deployment, call: &Call) -> ServeError {
        match error {
            ReplicasError::Retired => ServeError::Moved,
            ReplicasError::None(reason) => ServeError::Failed(errors::no_instance(&call.service, &reason)),
            ReplicasError::Call(error) => ServeError::Failed(explain(deployment, call.id, error)),
        }
    }
}

/// A call that was let in, and that begins now.
pub(super) struct Turn<'r> {
    pub(super) deadline: Deadline,
    pub(super) _permit: Permit<'r>,
}

impl<'r> Turn<'r> {
    /// Reads a call's message, and lets it in.
    pub(super) async fn take(
        deployment: &Deployment,
        revision: &'r Revision,
        program: &Program,
        callable: &Callable,
        call: &Call,
    ) -> Result<(Vec<Value>, Turn<'r>), Error> {
        if let Payload::Bytes { body, .. } = &call.payload
            && body.len() as u64 > revision.limits.request.as_u64()
        {
            deployment.usage.hit(Limit::Request);
            return Err(errors::request_too_large(&call.service, body.len(), revision.limits.request));
        }
        let fields = message::read(call, callable.schema(), program.protos())?;
        Ok((fields, Turn::enter(deployment, revision, program, call.deadline).await?))
    }

    /// Lets in what is no message: an HTTP request as it is.
    pub(super) async fn enter(
        deployment: &Deployment,
        revision: &'r Revision,
        program: &Program,
        caller: Option<Instant>,
    ) -> Result<Turn<'r>, Error> {
        let permit = revision.gate.enter(caller).await.map_err(|reason| {
            deployment.usage.hit(Limit::Queue);
            errors::turned_away(&deployment.name, reason)
        })?;
        if permit.has_waited {
            deployment.usage.hit(Limit::Concurrency);
        }
        Ok(Turn { deadline: program.deadline(permit.begun, caller), _permit: permit })
    }
}

/// A reply that is larger than the revision may give is none.
fn check_reply(revision: &Revision, reply: &Reply) -> Result<(), CallError> {
    match &reply.payload {
        Payload::Bytes { body, .. } if body.len() as u64 > revision.limits.reply.as_u64() => {
            Err(CallError::ReplyTooLarge { limit: revision.limits.reply })
        }
        _ => Ok(()),
    }
}

/// For whom an instance works, and what it may do in that name.
pub(super) fn scope(program: &Program, call: &Call, deadline: Option<Instant>) -> Scope {
    let mut scope = Scope { trace: call.trace, delivery: call.delivery.clone(), ..Scope::new(call.id) };
    if program.calls_others() {
        scope.deadline = deadline;
        scope.depth = call.depth;
        scope.header = (!call.header.is_empty()).then(|| Arc::new(travelling(&call.header)));
    }
    scope
}

/// What of a call's header goes on to those that are called in turn: not what speaks of this message alone.
fn travelling(header: &HeaderMap) -> HeaderMap {
    let mut header = header.clone();
    header.remove(ACCEPT);
    header
}

/// The error of a call that the engine could not answer; its backtrace goes to the log.
pub(super) fn explain(deployment: &Deployment, request: RequestId, error: CallError) -> Error {
    if let CallError::Trap { backtrace, .. } = &error {
        deployment.log.line(request, Stream::Host, backtrace);
    }
    if let Some(limit) = error.limit() {
        deployment.usage.hit(limit);
    }
    errors::call_error(&deployment.name, request, error)
}

/// The number that leads equal requests to the same instance, where the manifest asks for it.
pub(super) fn sticky_key(revision: &Revision, endpoint: &Endpoint, fields: &[Value]) -> Option<u64> {
    let name = revision.manifest.service.hash.as_deref()?;
    let message = &endpoint.request.message;
    let at = message.fields.iter().position(|field| *field.name.json == *name || *field.name.wit == *name)?;
    let (field, value) = (message.fields.get(at)?, fields.get(at)?);
    let mut text = Vec::new();
    json::write_value(&field.ty, value, &mut text).ok()?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish())
}

pub(super) fn unknown_endpoint(call: &Call, program: &Program) -> Error {
    let mut known: Vec<&str> = program.endpoint_names().collect();
    known.sort_unstable();
    let hint = name::hint(&call.endpoint, known.into_iter());
    Error::not_found(&*call.service, format!("endpoint {}: not found; {hint}", call.endpoint))
}

fn stopping() -> Error {
    Error::unavailable("go.micro.client", "the host is stopping").again_soon()
}

/// The transport that stays in this process.
pub(super) struct Local {
    runtime: Weak<Runtime>,
}

impl Local {
    pub(super) fn new(runtime: &Arc<Runtime>) -> Local {
        // The runtime holds the client, which holds this.
        Local { runtime: Arc::downgrade(runtime) }
    }
}

#[async_trait]
impl Transport for Local {
    fn name(&self) -> &str {
        transport::LOCAL
    }

    async fn call(&self, _: &Node, mut call: Call) -> Result<Reply, Error> {
        let Some(runtime) = self.runtime.upgrade() else { return Err(stopping()) };
        let hop = runtime.tracer.hop(&mut call);
        let outcome = runtime.invoke(call).await;
        hop.end(outcome.as_ref().map(|reply| reply.status.filter(|_| matches!(reply.payload, Payload::Value(_)))));
        outcome
    }

    async fn open(&self, _: &Node, mut call: Call) -> Result<Exchange, Error> {
        let Some(runtime) = self.runtime.upgrade() else { return Err(stopping()) };
        let hop = runtime.tracer.hop(&mut call);
        let outcome = runtime.open_stream(call).await;
        hop.end(outcome.as_ref().map(|_| None));
        outcome
    }
}
