//! Streaming calls: messages pass between the caller and an instance until one of them ends it.
//!
//! | the endpoint's resource has | what happens |
//! |---|---|
//! | `next` | messages go to the caller as fast as it takes them, until there are none |
//! | `send` and `finish` | messages go to the guest; what `finish` answers is the one reply |
//! | both | after each message of the caller the guest gives what it has; at the end once more, after `finish` |
//!
//! A caller that leaves before its turn gives its place in the queue back. One that leaves later is noticed at the next
//! message, and the guest's resource is dropped.

use super::deployment::{Deployment, Revision};
use super::invoke::{ServeError, Turn, explain, scope, sticky_key, unknown_endpoint};
use super::message::raw;
use super::{Runtime, errors};
use arc_swap::Guard;
use bytes::Bytes;
use micro_engine::actor::{ActorError, Flow, Sink, Streaming};
use micro_engine::native::Ends;
use micro_engine::schema::{Endpoint, Reply, Step, Stream, Type};
use micro_engine::{Actor, CallError, Callable, Deadline, Program, Scope, Value, json};
use micro_mesh::exchange::ExchangeServer;
use micro_mesh::{Call, Error, Exchange, Payload};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

impl Runtime {
    /// Opens a streaming call.
    pub async fn open_stream(self: &Arc<Self>, call: Call) -> Result<Exchange, Error> {
        let (exchange, server) = Exchange::pair();
        let (opened, answer) = oneshot::channel();
        let (runtime, service) = (self.clone(), call.service.clone());
        tokio::spawn(async move { runtime.stream(call, server, Opened(opened)).await });
        match answer.await {
            Ok(outcome) => outcome.map(|()| exchange),
            Err(_) => Err(Error::internal(&*service, "the stream could not be opened")),
        }
    }

    async fn stream(self: Arc<Self>, call: Call, server: ExchangeServer, mut opened: Opened) {
        let (began, mut left) = (Instant::now(), None::<Arc<Revision>>);
        loop {
            let Some(deployment) = self.deployment(&call.service) else {
                return opened.tell(Err(errors::unknown_service(&call.service)));
            };
            let revision = Guard::into_inner(deployment.choose(&call));
            let counts = deployment.counts_for_call();
            if left.is_some_and(|left| Arc::ptr_eq(&left, &revision)) {
                return opened.tell(Err(errors::no_instance(&call.service, "it is being stopped")));
            }
            let turn = async {
                let (program, callable) = self.streaming_endpoint(&deployment, &revision, &call).await?;
                let (fields, turn) = Turn::take(&deployment, &revision, &program, &callable, &call).await?;
                Ok::<_, Error>((program, callable, fields, turn))
            };
            let turn = tokio::select! {
                turn = turn => turn,
                () = opened.closed() => return drop(counts.begin(began)),
            };
            let outcome = match turn {
                Ok((program, callable, fields, turn)) if callable.schema().streams_natively() => {
                    let native = NativeCall { deployment: &deployment, call: &call, callable: &callable };
                    native.run(&program, fields, turn.deadline, server, opened).await
                }
                Ok((program, callable, fields, turn)) => {
                    let code = (&program, &callable);
                    match self.begin_stream(&deployment, &revision, &call, code, fields, turn.deadline).await {
                        Ok(streaming) => {
                            opened.tell(Ok(()));
                            let (deployment, call, endpoint) = (&deployment, &call, callable.schema());
                            Bridge { deployment, call, endpoint, program: &program, streaming, server }.run().await
                        }
                        Err(ServeError::Failed(error)) => {
                            opened.tell(Err(error.clone()));
                            Err(error)
                        }
                        Err(ServeError::Moved) => {
                            left = Some(revision.clone());
                            continue;
                        }
                    }
                }
                Err(error) => {
                    opened.tell(Err(error.clone()));
                    Err(error)
                }
            };
            let code = outcome.err().map(|error| error.code);
            counts.streamed(code);
            return deployment.count(&revision, code);
        }
    }

    async fn streaming_endpoint(
        &self,
        deployment: &Deployment,
        revision: &Arc<Revision>,
        call: &Call,
    ) -> Result<(Arc<Program>, Arc<Callable>), Error> {
        let program = self.kept_program(deployment, revision, call.id).await?;
        match program.endpoint(&call.endpoint) {
            None => Err(unknown_endpoint(call, &program)),
            Some(callable) if callable.schema().stream.is_none() => {
                let detail = format!("{} does not stream: call it", callable.schema().name);
                Err(Error::bad_request(&*call.service, detail))
            }
            Some(callable) => {
                let callable = callable.clone();
                Ok((program, callable))
            }
        }
    }

    /// Opens the stream in an instance.
    async fn begin_stream(
        &self,
        deployment: &Deployment,
        revision: &Arc<Revision>,
        call: &Call,
        (program, callable): (&Arc<Program>, &Arc<Callable>),
        fields: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Streaming, ServeError> {
        let scope = scope(program, call, call.deadline);
        if revision.is_service() {
            let replicas = self.replicas(deployment, revision, call.id).await?;
            let key = sticky_key(revision, callable.schema(), &fields);
            let opened = replicas.open(scope, callable, fields, key, deadline).await;
            opened.map_err(|error| ServeError::of(error, deployment, call))
        } else {
            let opened = open_fresh(program.clone(), scope, callable, fields, deadline).await;
            Ok(opened.map_err(|error| explain(deployment, call.id, error))?)
        }
    }
}

/// Who waits for the stream to open. One that is gone needs no answer.
struct Opened(oneshot::Sender<Result<(), Error>>);

impl Opened {
    /// Waits until nobody waits for the stream.
    async fn closed(&mut self) {
        self.0.closed().await;
    }

    fn tell(self, outcome: Result<(), Error>) {
        let _ = self.0.send(outcome);
    }
}

/// Opens a stream in an instance of its own.
async fn open_fresh(
    program: Arc<Program>,
    scope: Scope,
    callable: &Arc<Callable>,
    fields: Vec<Value>,
    deadline: Deadline,
) -> Result<Streaming, CallError> {
    let actor = Arc::new(Actor::for_stream(program, scope.clone(), deadline).await?);
    match actor.open(scope, callable, fields, deadline).await {
        Ok(streaming) => Ok(streaming),
        Err(ActorError::Failed(error)) => Err(error),
        Err(ActorError::NotBegun(_)) => Err(CallError::Ended("it ended before the stream began".into())),
    }
}

/// A call that streams by `stream<T>`.
struct NativeCall<'c> {
    deployment: &'c Arc<Deployment>,
    call: &'c Call,
    callable: &'c Callable,
}

impl NativeCall<'_> {
    async fn run(
        &self,
        program: &Program,
        fields: Vec<Value>,
        deadline: Deadline,
        server: ExchangeServer,
        opened: Opened,
    ) -> Result<(), Error> {
        let (call, deployment, endpoint) = (self.call, self.deployment, self.callable.schema());
        let schema = endpoint.stream.as_ref();
        let item = |step: Option<&Step>| step.map_or(Type::Bytes, |step| step.item.clone());
        let gives = schema.and_then(|schema| schema.gives.as_ref());
        let given = gives.map_or_else(|| endpoint.reply.ok.clone().unwrap_or(Type::Bytes), |step| step.item.clone());
        let sent = item(schema.and_then(|schema| schema.sends.as_ref()));
        let (service, name) = (call.service.clone(), endpoint.name.clone());
        let (explaining, request) = (deployment.clone(), call.id);
        let is_reply = gives.is_none();
        let reply = endpoint.reply.clone();
        let sink = Sink {
            replies: server.replies,
            encode: Arc::new(move |value| match is_reply {
                true => encode_reply(&service, &reply, value),
                false => encode(&service, &given, value),
            }),
            explain: Arc::new(move |error| explain(&explaining, request, error)),
        };
        let replies = sink.replies.clone();
        let service = call.service.clone();
        let decode = Box::new(move |message| decode(&service, &name, &sent, message));
        let (tell, told) = oneshot::channel();
        let ends = Ends { requests: server.requests, decode, sink, opened: tell };
        let scope = scope(program, call, call.deadline);
        let run = program.stream_natively(scope, self.callable, fields, ends, deadline);
        let telling = async {
            let outcome = match told.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(explain(deployment, call.id, error)),
                // It failed before it returned, which the other side of this tells.
                Err(_) => return Ok(Some(opened)),
            };
            opened.tell(outcome.clone());
            outcome.map(|()| None)
        };
        let (ran, told) = tokio::join!(run, telling);
        let unsaid = told?;
        let Err(error) = ran else { return Ok(()) };
        let error = explain(deployment, call.id, error);
        match unsaid {
            Some(opened) => opened.tell(Err(error.clone())),
            None => drop(replies.send(Err(error.clone())).await),
        }
        Err(error)
    }
}

/// The two ends of a streaming call.
struct Bridge<'c> {
    deployment: &'c Arc<Deployment>,
    call: &'c Call,
    endpoint: &'c Endpoint,
    program: &'c Arc<Program>,
    streaming: Streaming,
    server: ExchangeServer,
}

impl Bridge<'_> {
    async fn run(mut self) -> Result<(), Error> {
        let outcome = self.pass().await;
        if let Err(error) = &outcome {
            // A caller that is gone needs no reason.
            let _ = self.server.replies.send(Err(error.clone())).await;
        }
        outcome
    }

    async fn pass(&mut self) -> Result<(), Error> {
        let Some(schema) = &self.endpoint.stream else { return Ok(()) };
        let sink = self.sink(schema);
        if schema.gives.is_some() && !self.drain(&sink).await? {
            return Ok(());
        }
        let Some(step) = &schema.sends else { return Ok(()) };
        while let Some(message) = self.next_request().await {
            let value = self.decode(&step.item, message?)?;
            self.streaming.send(value).await.map_err(|error| self.explain(error))?;
            if schema.gives.is_some() && !self.drain(&sink).await? {
                return Ok(());
            }
        }
        if self.server.replies.is_closed() {
            // The caller did not say that there is no more: it broke off.
            return Ok(());
        }
        let reply = self.streaming.finish().await.map_err(|error| self.explain(error))?;
        if let Some(finish) = &schema.finish
            && schema.gives.is_none()
        {
            let mut out = Vec::new();
            json::write_reply(finish, reply.as_ref(), &mut out).map_err(|reason| {
                Error::internal(&*self.call.service, format!("the reply cannot be shown: {reason}"))
            })?;
            let limit = self.program.limits().reply;
            if out.len() as u64 > limit.as_u64() {
                return Err(self.explain(CallError::ReplyTooLarge { limit }));
            }
            // A caller that is gone needs no reply.
            let _ = self.server.replies.send(Ok(Payload::json(out))).await;
        }
        if schema.gives.is_some() {
            self.drain(&sink).await?;
        }
        Ok(())
    }

    /// The caller's next message; none at its end, or when the caller is gone altogether.
    async fn next_request(&mut self) -> Option<Result<Payload, Error>> {
        tokio::select! {
            message = self.server.requests.recv() => message,
            () = self.server.replies.closed() => None,
        }
    }

    /// Passes on what the guest has for now; false when the stream is over.
    async fn drain(&self, sink: &Sink) -> Result<bool, Error> {
        loop {
            match self.streaming.pump(sink).await {
                Flow::Empty => return Ok(true),
                Flow::Over => return Ok(false),
                Flow::Failed(error) => return Err(error),
                Flow::Full => match sink.replies.reserve().await {
                    // There is room again.
                    Ok(permit) => drop(permit),
                    Err(_) => return Ok(false),
                },
            }
        }
    }

    fn sink(&self, schema: &Stream) -> Sink {
        let item = schema.gives.as_ref().map_or(Type::Bytes, |step| step.item.clone());
        let service = self.call.service.clone();
        let (deployment, request) = (self.deployment.clone(), self.call.id);
        let (program, output) = (self.program.clone(), self.endpoint.raw.as_ref().map(|raw| raw.output.clone()));
        Sink {
            replies: self.server.replies.clone(),
            encode: Arc::new(move |value| match (&output, program.protos(), value) {
                (Some(output), Some(protos), Value::Bytes(bytes)) => protos
                    .to_json(output, bytes)
                    .map(Payload::json)
                    .map_err(|reason| Error::internal(&*service, format!("a message that is no {output}: {reason}"))),
                _ => encode(&service, &item, value),
            }),
            explain: Arc::new(move |error| explain(&deployment, request, error)),
        }
    }

    fn decode(&self, item: &Type, message: Payload) -> Result<Value, Error> {
        if let (Some(raw), Some(protos), Payload::Bytes { content_type, body }) =
            (&self.endpoint.raw, self.program.protos(), &message)
        {
            let read = raw::read_message(content_type, body, &raw.input, protos).map(Value::Bytes);
            return read.map_err(|reason| unfit(&self.call.service, &self.endpoint.name, &reason));
        }
        decode(&self.call.service, &self.endpoint.name, item, message)
    }

    fn explain(&self, error: CallError) -> Error {
        explain(self.deployment, self.call.id, error)
    }
}

/// A message that the caller sent, as a value.
fn decode(service: &str, endpoint: &str, item: &Type, message: Payload) -> Result<Value, Error> {
    match message {
        Payload::Bytes { content_type, body } if *item == Type::Bytes && !content_type.contains("json") => {
            Ok(Value::Bytes(body))
        }
        Payload::Bytes { body, .. } => {
            json::read_value(item, &body).map_err(|reason| unfit(service, endpoint, &reason))
        }
        _ => Err(unfit(service, endpoint, "a message that is no bytes")),
    }
}

fn unfit(service: &str, endpoint: &str, reason: &str) -> Error {
    Error::bad_request(service, format!("{endpoint}: {reason}"))
}

/// The one reply to many messages.
fn encode_reply(service: &str, reply: &Reply, value: &Value) -> Result<Payload, Error> {
    let mut out = Vec::with_capacity(64);
    json::write_reply(reply, Some(value), &mut out)
        .map_err(|reason| Error::internal(service, format!("the reply cannot be shown: {reason}")))?;
    Ok(Payload::json(Bytes::from(out)))
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
