//! The way in: every call of a deployment on this host passes here, whatever door it came through.

use super::deployment::Deployment;
use super::{Runtime, errors, message};
use async_trait::async_trait;
use micro_engine::log::{Log, Stream};
use micro_engine::{CallError, Function};
use micro_mesh::{Call, Error, Node, Reply, Transport, transport};
use std::sync::{Arc, Weak};

impl Runtime {
    /// Serves one call: its revision is loaded, it takes its turn, it runs in a fresh instance.
    pub async fn invoke(&self, call: Call) -> Result<Reply, Error> {
        let Some(deployment) = self.deployment(&call.service) else {
            return Err(Error::not_found("go.micro.client", format!("service {}: not found", call.service)));
        };
        let outcome = self.serve(&deployment, &call).await;
        deployment.count(outcome.is_err());
        outcome
    }

    async fn serve(&self, deployment: &Deployment, call: &Call) -> Result<Reply, Error> {
        let revision = deployment.current();
        let function = self.function(deployment, &revision, call.id).await?;
        let Some(endpoint) = function.endpoint(&call.endpoint) else {
            return Err(unknown_endpoint(call, &function));
        };
        let fields = message::read(call, endpoint)?;
        let turn = revision.gate.enter().await.map_err(|reason| errors::turned_away(&call.service, reason))?;
        let result = function.call(call.id, &call.endpoint, fields, call.time_left()).await;
        drop(turn);
        let reply = result.map_err(|error| {
            if let CallError::Trap { backtrace, .. } = &error {
                deployment.log.line(call.id, Stream::Host, backtrace);
            }
            errors::call_error(&call.service, call.id, error)
        })?;
        message::write(call, endpoint, reply.as_ref(), revision.manifest.reply.content_type.as_deref())
    }
}

fn unknown_endpoint(call: &Call, function: &Function) -> Error {
    let mut known: Vec<&str> = function.endpoint_names().collect();
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
}
