//! The way in: every call of a deployment on this host passes here, whatever door it came through.

use super::deployment::{Deployment, Revision};
use super::replicas::ServeError;
use super::{Runtime, errors, message};
use async_trait::async_trait;
use http::HeaderMap;
use http::header::ACCEPT;
use micro_engine::log::{Log, Stream};
use micro_engine::schema::Endpoint;
use micro_engine::value::Returned;
use micro_engine::{CallError, Callable, Program, Scope, Value, json, outcome};
use micro_mesh::call::RequestId;
use micro_mesh::{Call, Error, Exchange, Node, Payload, Reply, Transport, transport};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use tokio::time::Instant;

impl Runtime {
    /// Serves one call: its revision is chosen and loaded, it takes its turn, it runs in a fresh instance or in a live
    /// one.
    pub async fn invoke(self: &Arc<Self>, call: Call) -> Result<Reply, Error> {
        let mut left = None;
        loop {
            let routes = self.routes.load();
            let Some(deployment) = routes.get(&call.service) else {
                return Err(Error::not_found("go.micro.client", format!("service {}: not found", call.service)));
            };
            let revision = deployment.choose(&call);
            if left == Some(revision.number) {
                return Err(errors::no_instance(&call.service, "it is being stopped"));
            }
            let program = self.program(deployment, &revision, call.id).await?;
            let Some(callable) = program.endpoint(&call.endpoint) else {
                deployment.count(&revision, Some(404));
                return Err(unknown_endpoint(&call, program));
            };
            if callable.schema().stream.is_some() {
                let exchange = self.open_stream(call).await?;
                return Ok(Reply::new(Payload::Stream(Box::new(exchange))));
            }
            match self.serve(deployment, &revision, program, callable, &call).await {
                Served::Done(outcome) => {
                    deployment.count(&revision, outcome.as_ref().err().map(|error| error.code));
                    return outcome;
                }
                Served::GuestError(reply, code) => {
                    deployment.count(&revision, Some(code));
                    return Ok(reply);
                }
                // Another revision took over while the call waited.
                Served::Moved => left = Some(revision.number),
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

    async fn serve(
        &self,
        deployment: &Deployment,
        revision: &Revision,
        program: &Program,
        callable: &Arc<Callable>,
        call: &Call,
    ) -> Served {
        let endpoint = callable.schema();
        let fields = match message::read(call, endpoint, program.protos()) {
            Ok(fields) => fields,
            Err(error) => return Served::Done(Err(error)),
        };
        let _turn = match revision.gate.enter().await {
            Ok(turn) => turn,
            Err(reason) => return Served::Done(Err(errors::turned_away(&call.service, reason))),
        };
        let deadline = program.deadline(call.deadline);
        let scope = scope(program, call, Some(deadline.at));
        let returned = if revision.is_service() {
            let replicas = match self.replicas(deployment, revision, call.id).await {
                Ok(replicas) => replicas,
                Err(error) => return Served::Done(Err(error)),
            };
            let key = sticky_key(revision, endpoint, &fields);
            match replicas.call(scope, callable, fields, key, deadline).await {
                Ok(returned) => Ok(returned),
                Err(ServeError::Retired) => return Served::Moved,
                Err(ServeError::None(reason)) => {
                    return Served::Done(Err(errors::no_instance(&call.service, &reason)));
                }
                Err(ServeError::Call(error)) => Err(error),
            }
        } else {
            program.call(scope, callable, fields, deadline).await
        };
        let returned = match returned {
            Ok(returned) => returned,
            Err(error) => return Served::Done(Err(explain(deployment, call.id, error))),
        };
        if matches!(call.payload, Payload::Value(_)) {
            let code = outcome::error_code(endpoint, returned.as_ref());
            let reply = Reply::new(Payload::Value(Box::new(Returned(returned))));
            return match code {
                Some(code) => Served::GuestError(reply, code),
                None => Served::Done(Ok(reply)),
            };
        }
        let reply = match outcome::reply(endpoint, returned) {
            Ok(reply) => {
                message::write(call, endpoint, program.protos(), reply, revision.manifest.reply.content_type.as_deref())
            }
            Err(error) => Err(explain(deployment, call.id, error)),
        };
        Served::Done(reply)
    }
}

/// What became of a call in one revision.
enum Served {
    Done(Result<Reply, Error>),
    /// A reply inside this process that holds the function's own error, and the code of that.
    GuestError(Reply, u16),
    /// The revision is not the current one any more.
    Moved,
}

/// For whom an instance works, and what it may do in that name.
pub(super) fn scope(program: &Program, call: &Call, deadline: Option<Instant>) -> Scope {
    let mut scope = Scope::new(call.id);
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
    header.remove(message::QUERY);
    header.remove(ACCEPT);
    header
}

/// The error of a call that the engine could not answer; its backtrace goes to the log.
pub(super) fn explain(deployment: &Deployment, request: RequestId, error: CallError) -> Error {
    if let CallError::Trap { backtrace, .. } = &error {
        deployment.log.line(request, Stream::Host, backtrace);
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
    let hint = match micro_engine::name::nearest(&call.endpoint, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are {}", known.join(", ")),
    };
    Error::not_found(&*call.service, format!("endpoint {}: not found; {hint}", call.endpoint))
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

    async fn call(&self, _: &Node, call: Call) -> Result<Reply, Error> {
        match self.runtime.upgrade() {
            Some(runtime) => runtime.invoke(call).await,
            None => Err(Error::unavailable("go.micro.client", "the host is stopping")),
        }
    }

    async fn open(&self, _: &Node, call: Call) -> Result<Exchange, Error> {
        match self.runtime.upgrade() {
            Some(runtime) => runtime.open_stream(call).await,
            None => Err(Error::unavailable("go.micro.client", "the host is stopping")),
        }
    }
}
