//! The native form of streams: `stream<u8>`, `stream<string>` and `stream<list<u8>>` of component-model async.
//!
//! Such a call has an instance of its own, which ends with it. The caller's messages are read by the guest as it gets to
//! them; the guest's wait until the caller has room.

use crate::access::Scope;
use crate::actor::Sink;
use crate::bindings::State;
use crate::dynamic;
use crate::error::CallError;
use crate::fair::fair;
use crate::limits::check_size;
use crate::live::Live;
use crate::manifest::Limits;
use crate::outcome;
use crate::program::{Callable, Deadline, Program};
use crate::schema::{Item, Native, Step, Type};
use crate::streaming::failed;
use crate::value::Value;
use micro_mesh::exchange::{OwnedPlace, Receiver};
use micro_mesh::{Error, Payload};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::oneshot;
use wasmtime::component::{
    Accessor, Destination, Lift, Lower, Source, StreamAny, StreamConsumer, StreamProducer, StreamReader, StreamResult,
    Val, VecBuffer,
};
use wasmtime::{AsContextMut as _, Result, StoreContextMut, format_err};

/// Bytes of a `stream<u8>` that make one message at most.
const CHUNK: usize = 16 * 1024;

/// How the caller's messages become items.
pub type Decode = Box<dyn Fn(Payload) -> std::result::Result<Value, Error> + Send + Sync>;

/// The two ends of a native streaming call.
pub struct Ends {
    /// What the caller sends.
    pub requests: Receiver,
    /// How that becomes items.
    pub decode: Decode,
    /// Where the guest's messages go.
    pub sink: Sink,
    /// Told when the function has returned its stream, or why it has not.
    pub opened: oneshot::Sender<std::result::Result<(), CallError>>,
}

impl Program {
    /// Runs a native streaming call to its end. The function has its time limit to return; the stream lasts as long as
    /// both sides want it to.
    pub async fn stream_natively(
        &self,
        scope: Scope,
        callable: &Callable,
        fields: Vec<Value>,
        ends: Ends,
        deadline: Deadline,
    ) -> std::result::Result<(), CallError> {
        let caller = ends.sink.replies.clone();
        let begin = async {
            let room = self.lasting_room(deadline).await?;
            Ok((room, deadline.limit(pin!(Live::new(self, scope))).await?))
        };
        let (_room, mut live) = tokio::select! {
            begun = begin => begun?,
            () = caller.closed() => return Ok(()),
        };
        let instance = live.instance;
        let outcome = {
            let run = fair(
                live.store.data().is_long(),
                live.store.run_concurrent(async |accessor| {
                    let func = accessor.with(|mut access| instance.get_func(&mut access, callable.export));
                    let func = func.ok_or_else(|| format_err!("{} is not exported", callable.endpoint.function))?;
                    run(accessor, func, callable, fields, ends, (deadline, &self.limits)).await
                }),
            );
            tokio::select! {
                outcome = run => outcome,
                // Nobody listens any more: the instance is dropped with all that it does.
                () = caller.closed() => return Ok(()),
            }
        };
        outcome.and_then(|outcome| outcome).map_err(|error| match error.downcast::<CallError>() {
            Ok(error) => error,
            Err(error) => live.failed(&error),
        })
    }
}

async fn run(
    accessor: &Accessor<State>,
    func: wasmtime::component::Func,
    callable: &Callable,
    fields: Vec<Value>,
    ends: Ends,
    (deadline, limits): (Deadline, &Limits),
) -> Result<()> {
    let Ends { requests, decode, sink, opened } = ends;
    let endpoint = &callable.endpoint;
    let stream = endpoint.stream.as_ref().ok_or_else(|| format_err!("{} does not stream", endpoint.name))?;
    let native = stream.native.as_ref().ok_or_else(|| format_err!("{} streams by a resource", endpoint.name))?;
    let mut params = callable.to_vals(&callable.arguments(fields))?;
    if let Some((at, item)) = native.sends_at {
        let incoming = Incoming { requests, decode, sink: sink.clone() };
        let any = accessor.with(|access| incoming.into_stream(access, item))?;
        params.insert(at.min(params.len()), Val::Stream(any));
    }
    let has_result = native.gives.is_some() || native.replies;
    let mut results = dynamic::places(has_result);
    let call = func.call_concurrent(accessor, &params, &mut results);
    let mut opened = Some(opened);
    if native.gives.is_some() {
        let returned = tokio::time::timeout_at(deadline.at, call).await;
        returned.map_err(|_| wasmtime::Error::new(deadline.missed()))??;
    } else {
        // It returns when the caller has sent its last message, and the caller sends when the stream is open.
        tell(&mut opened, Ok(()));
        call.await?;
    }
    match (native, results.pop()) {
        (Native { gives: Some(item), .. }, Some(val)) => {
            let any = match given(endpoint, val) {
                Ok(any) => any,
                Err(error) => {
                    // Nothing went wrong with the instance.
                    tell(&mut opened, Err(error));
                    return Ok(());
                }
            };
            tell(&mut opened, Ok(()));
            let (over, end) = oneshot::channel();
            let outgoing = Outgoing { sink, limits: *limits, reserving: None, _over: over };
            accessor.with(|access| outgoing.pipe(access, any, *item))?;
            // The sender is dropped when the guest closes its end.
            let _ = end.await;
            Ok(())
        }
        (_, val) => {
            let value = callable.returned(val.as_slice())?;
            let reply = match outcome::reply(endpoint, value) {
                Ok(Some(value)) => sink.message(&value, limits),
                Ok(None) => Ok(Payload::json("{}")),
                Err(error) => Err((sink.explain)(error)),
            };
            // A caller that is gone needs no reply.
            let _ = sink.replies.send(reply).await;
            Ok(())
        }
    }
}

/// Tells who opened the stream, once. Who is gone needs no answer.
fn tell(
    opened: &mut Option<oneshot::Sender<std::result::Result<(), CallError>>>,
    outcome: std::result::Result<(), CallError>,
) {
    if let Some(opened) = opened.take() {
        let _ = opened.send(outcome);
    }
}

/// The stream that a function returned, or its error.
fn given(endpoint: &crate::schema::Endpoint, val: Val) -> std::result::Result<StreamAny, CallError> {
    let unfit = || CallError::Host(format!("{}: no stream where one was due", endpoint.name));
    match val {
        Val::Stream(any) => Ok(any),
        Val::Result(Ok(Some(val))) => match *val {
            Val::Stream(any) => Ok(any),
            _ => Err(unfit()),
        },
        Val::Result(Err(val)) => Err(failed(endpoint.reply.err.as_ref().and_then(Option::as_ref), val)),
        _ => Err(unfit()),
    }
}

/// What the caller sends, as the guest reads it.
struct Incoming {
    requests: Receiver,
    decode: Decode,
    sink: Sink,
}

impl Incoming {
    fn into_stream(self, access: wasmtime::component::Access<'_, State>, item: Item) -> Result<StreamAny> {
        let mut access = access;
        let store = access.as_context_mut();
        match item {
            Item::Byte => self.make::<u8>(store, |value, out| {
                let Value::Bytes(bytes) = value else { return false };
                out.extend_from_slice(&bytes);
                true
            }),
            Item::Text => self.make::<String>(store, |value, out| {
                let Value::String(text) = value else { return false };
                out.push(text);
                true
            }),
            Item::Bytes => self.make::<Vec<u8>>(store, |value, out| {
                let Value::Bytes(bytes) = value else { return false };
                out.push(bytes.into());
                true
            }),
        }
    }

    fn make<T: Lower + Lift + Send + Sync + 'static>(
        self,
        mut store: StoreContextMut<'_, State>,
        put: fn(Value, &mut Vec<T>) -> bool,
    ) -> Result<StreamAny> {
        let reader = StreamReader::<T>::new(&mut store, Producer { incoming: self, put })?;
        StreamAny::try_from_stream_reader(store, reader)
    }
}

struct Producer<T> {
    incoming: Incoming,
    put: fn(Value, &mut Vec<T>) -> bool,
}

impl<T: Send + Sync + Lower + 'static> StreamProducer<State> for Producer<T> {
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: StoreContextMut<'a, State>,
        mut destination: Destination<'a, T, VecBuffer<T>>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        loop {
            let message = match self.incoming.requests.poll_recv(cx) {
                Poll::Ready(Some(message)) => message,
                Poll::Ready(None) => return Poll::Ready(Ok(StreamResult::Dropped)),
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            };
            let mut items = Vec::new();
            let value = message.and_then(&self.incoming.decode);
            let error = match value.map(|value| (self.put)(value, &mut items)) {
                // No items would be taken for the end of the stream.
                Ok(true) if items.is_empty() => continue,
                Ok(true) => {
                    destination.set_buffer(items.into());
                    return Poll::Ready(Ok(StreamResult::Completed));
                }
                Ok(false) => Error::bad_request("go.micro.client", "a message of another type than the stream's"),
                Err(error) => error,
            };
            // If the caller's end is full it learns of the stream's end all the same.
            if let Ok(place) = self.incoming.sink.replies.try_reserve() {
                place.send(Err(error));
            }
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
    }
}

type Reserving = Pin<Box<dyn Future<Output = std::result::Result<OwnedPlace, SendError<()>>> + Send>>;

/// What the guest gives, on its way to the caller.
struct Outgoing {
    sink: Sink,
    limits: Limits,
    reserving: Option<Reserving>,
    /// Dropped together with this, when the stream is over.
    _over: oneshot::Sender<()>,
}

impl Outgoing {
    fn pipe(self, access: wasmtime::component::Access<'_, State>, any: StreamAny, item: Item) -> Result<()> {
        let mut access = access;
        let store = access.as_context_mut();
        match item {
            Item::Byte => {
                let take = |items: Vec<u8>| Value::Bytes(items.into());
                any.try_into_stream_reader::<u8>()?.pipe(store, Consumer { outgoing: self, most: CHUNK, take })
            }
            Item::Text => {
                let take = |items: Vec<String>| Value::String(items.into_iter().next().unwrap_or_default());
                any.try_into_stream_reader::<String>()?.pipe(store, Consumer { outgoing: self, most: 1, take })
            }
            Item::Bytes => {
                let take = |items: Vec<Vec<u8>>| Value::Bytes(items.into_iter().next().unwrap_or_default().into());
                any.try_into_stream_reader::<Vec<u8>>()?.pipe(store, Consumer { outgoing: self, most: 1, take })
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<OwnedPlace>> {
        let replies = &self.sink.replies;
        let reserving = self.reserving.get_or_insert_with(|| Box::pin(replies.clone().reserve_owned()));
        let place = std::task::ready!(reserving.as_mut().poll(cx));
        self.reserving = None;
        Poll::Ready(place.ok())
    }
}

struct Consumer<T> {
    outgoing: Outgoing,
    /// Items that make one message.
    most: usize,
    take: fn(Vec<T>) -> Value,
}

impl<T: Lift + Send + Sync + 'static> StreamConsumer<State> for Consumer<T> {
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, State>,
        mut source: Source<'_, T>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let place = match self.outgoing.poll_room(cx) {
            Poll::Ready(Some(place)) => place,
            Poll::Ready(None) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        };
        let mut items = Vec::with_capacity(self.most);
        source.read(store, &mut items)?;
        if items.is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let value = (self.take)(items);
        check_size(std::slice::from_ref(&value))?;
        let message = self.outgoing.sink.message(&value, &self.outgoing.limits);
        // Nothing follows an error.
        let next = if message.is_ok() { StreamResult::Completed } else { StreamResult::Dropped };
        place.send(message);
        Poll::Ready(Ok(next))
    }
}

impl Step {
    /// A message of a native stream.
    pub(crate) fn native(item: Item) -> Step {
        let item = match item {
            Item::Byte | Item::Bytes => Type::Bytes,
            Item::Text => Type::String,
        };
        Step { item, err: None }
    }
}
