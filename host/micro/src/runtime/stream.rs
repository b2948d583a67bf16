//! Streaming calls: messages pass between the caller and an instance until one of them ends it.
//!
//! | the endpoint's resource has | what happens |
//! |---|---|
//! | `next` | messages go to the caller as fast as it takes them, until there are none |
//! | `send` and `finish` | messages go to the guest; what `finish` answers is the one reply |
//! | both | after each message of the caller the guest gives what it has; at the end once more, after `finish` |
//!
//! A caller that leaves is noticed at the next message, and the guest's resource is dropped.

use super::deployment::{Deployment, Revision};
use super::invoke::{explain, scope, sticky_key, unknown_endpoint};
use super::replicas::ServeError;
use super::{Runtime, errors, message};
use bytes::Bytes;
use micro_engine::actor::{ActorError, Flow, Sink, Streaming};
use micro_engine::schema::{Endpoint, Type};
use micro_engine::{Actor, CallError, Program, Value, json};
use micro_mesh::exchange::ExchangeServer;
use micro_mesh::{Call, Error, Exchange, Payload};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

impl Runtime {
    /// Opens a streaming call.
    pub async fn open_stream(self: &Arc<Self>, call: Call) -> Result<Exchange, Error> {
        let (exchange, server) = Exchange::pair();
        let (opened, answer) = oneshot::channel();
        let (runtime, service) = (self.clone(), call.service.clone());
        tokio::spawn(async move { runtime.stream(call, server, opened).await });
        match answer.await {
            Ok(outcome) => outcome.map(|()| exchange),
            Err(_) => Err(Error::internal(&*service, "the stream could not be opened")),
        }
    }

    async fn stream(self: Arc<Self>, call: Call, server: ExchangeServer, opened: oneshot::Sender<Result<(), Error>>) {
        let Some(deployment) = self.deployment(&call.service) else {
            let error = Error::not_found("go.micro.client", format!("service {}: not found", call.service));
            // A caller that is gone needs no answer.
            let _ = opened.send(Err(error));
            return;
        };
        loop {
            let revision = deployment.choose(&call);
            let code = match self.begin_stream(&deployment, &revision, &call).await {
                Ok(Some((_turn, streaming, endpoint))) => {
                    let _ = opened.send(Ok(()));
                    let mut bridge =
                        Bridge { deployment: &deployment, call: &call, endpoint: &endpoint, streaming, server };
                    bridge.run().await.err().map(|error| error.code)
                }
                // Another revision took over while the call waited.
                Ok(None) => continue,
                Err(error) => {
                    let code = error.code;
                    let _ = opened.send(Err(error));
                    Some(code)
                }
            };
            deployment.count(&revision, code);
            return;
        }
    }

    async fn begin_stream<'r>(
        self: &Arc<Self>,
        deployment: &Deployment,
        revision: &'r Revision,
        call: &Call,
    ) -> Result<Option<(tokio::sync::SemaphorePermit<'r>, Streaming, Arc<Endpoint>)>, Error> {
        let program = self.program(deployment, revision, call.id).await?;
        let Some(endpoint) = program.endpoint(&call.endpoint).cloned() else {
            return Err(unknown_endpoint(call, &program));
        };
        if endpoint.stream.is_none() {
            let detail = format!("{} does not stream: call it", endpoint.name);
            return Err(Error::bad_request(&*call.service, detail));
        }
        let fields = message::read(call, &endpoint)?;
        let turn = revision.gate.enter().await.map_err(|reason| errors::turned_away(&call.service, reason))?;
        let time = program.time(call.time_left());
        let scope = scope(&program, call, time);
        let streaming = if revision.is_service() {
            let replicas = self.replicas(deployment, revision, call.id).await?;
            let key = sticky_key(revision, &endpoint, &fields);
            match replicas.open(scope, &call.endpoint, fields, key, Instant::now() + time).await {
                Ok(streaming) => streaming,
                Err(ServeError::Retired) => return Ok(None),
                Err(ServeError::None(reason)) => return Err(errors::no_instance(&call.service, &reason)),
                Err(ServeError::Call(error)) => return Err(explain(deployment, call.id, error)),
            }
        } else {
            let opened = tokio::time::timeout(time, open_fresh(program, scope, &call.endpoint, fields)).await;
            opened.unwrap_or(Err(CallError::Timeout(time))).map_err(|error| explain(deployment, call.id, error))?
        };
        Ok(Some((turn, streaming, endpoint)))
    }
}

/// Opens a stream in an instance of its own.
async fn open_fresh(
    program: Arc<Program>,
    scope: micro_engine::Scope,
    endpoint: &str,
    fields: Vec<Value>,
) -> Result<Streaming, CallError> {
    let actor = Arc::new(Actor::for_stream(program, scope.clone()).await?);
    match actor.open(scope, endpoint, fields).await {
        Ok(streaming) => Ok(streaming),
        Err(ActorError::Failed(error)) => Err(error),
        Err(ActorError::NotBegun(_)) => Err(CallError::Ended("it ended before the stream began".into())),
    }
}

/// The two ends of a streaming call.
struct Bridge<'c> {
    deployment: &'c Arc<Deployment>,
    call: &'c Call,
    endpoint: &'c Endpoint,
    streaming: Streaming,
    server: ExchangeServer,
}

impl Bridge<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        let outcome = self.pass().await;
        if let Err(error) = &outcome {
            // A caller that is gone needs no reason.
            let _ = self.server.replies.send(Err(error.clone())).await;
        }
        outcome
    }

    async fn pass(&mut self) -> Result<(), Error> {
        let sink = self.sink();
        let schema = self.streaming.schema.clone();
        if schema.gives.is_some() && !self.drain(&sink).await {
            return Ok(());
        }
        let Some(step) = schema.sends else { return Ok(()) };
        while let Some(message) = self.next_request().await {
            let value = self.decode(&step.item, message)?;
            self.streaming.send(value).await.map_err(|error| self.explain(error))?;
            if schema.gives.is_some() && !self.drain(&sink).await {
                return Ok(());
            }
        }
        let reply = self.streaming.finish().await.map_err(|error| self.explain(error))?;
        if let Some(finish) = &schema.finish
            && schema.gives.is_none()
        {
            let mut out = Vec::new();
            json::write_reply(finish, reply.as_ref(), &mut out).map_err(|reason| {
                Error::internal(&*self.call.service, format!("the reply cannot be shown: {reason}"))
            })?;
            // A caller that is gone needs no reply.
            let _ = self.server.replies.send(Ok(Payload::json(out))).await;
        }
        if schema.gives.is_some() {
            self.drain(&sink).await;
        }
        Ok(())
    }

    /// The caller's next message; none at its end, or when the caller is gone altogether.
    async fn next_request(&mut self) -> Option<Payload> {
        tokio::select! {
            message = self.server.requests.recv() => message,
            () = self.server.replies.closed() => None,
        }
    }

    /// Passes on what the guest has for now; false when the stream is over.
    async fn drain(&self, sink: &Sink) -> bool {
        loop {
            match self.streaming.pump(sink).await {
                Flow::Empty => return true,
                Flow::Over => return false,
                Flow::Full => match sink.replies.reserve().await {
                    // There is room again.
                    Ok(permit) => drop(permit),
                    Err(_) => return false,
                },
            }
        }
    }

    fn sink(&self) -> Sink {
        let item = self.streaming.schema.gives.as_ref().map_or(Type::Bytes, |step| step.item.clone());
        let service = self.call.service.clone();
        let (deployment, request) = (self.deployment.clone(), self.call.id);
        Sink {
            replies: self.server.replies.clone(),
            encode: Arc::new(move |value| encode(&service, &item, value)),
            explain: Arc::new(move |error| explain(&deployment, request, error)),
        }
    }

    fn decode(&self, item: &Type, message: Payload) -> Result<Value, Error> {
        let unfit =
            |detail: String| Error::bad_request(&*self.call.service, format!("{}: {detail}", self.endpoint.name));
        match message {
            Payload::Bytes { content_type, body } if *item == Type::Bytes && !content_type.contains("json") => {
                Ok(Value::Bytes(body))
            }
            Payload::Bytes { body, .. } => json::read_value(item, &body).map_err(unfit),
            _ => Err(unfit("a message that is no bytes".into())),
        }
    }

    fn explain(&self, error: CallError) -> Error {
        explain(self.deployment, self.call.id, error)
    }
}

/// A message of a stream: JSON, or the plain bytes that it is.
fn encode(service: &str, item: &Type, value: &Value) -> Result<Payload, Error> {
    if let Value::Bytes(bytes) = value {
        let content_type = Cow::Borrowed("application/octet-stream");
        return Ok(Payload::Bytes { content_type, body: bytes.clone() });
    }
    let mut out = Vec::with_capacity(32);
    json::write_value(item, value, &mut out)
        .map_err(|reason| Error::internal(service, format!("a message cannot be shown: {reason}")))?;
    Ok(Payload::json(Bytes::from(out)))
}
