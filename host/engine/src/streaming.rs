//! The resource form of streams: a resource that the guest gave out is asked for messages, and given them.

use crate::dynamic::{from_val, to_val};
use crate::error::{CallError, LoadError};
use crate::fair::fair;
use crate::limits::check_size;
use crate::live::Live;
use crate::outcome;
use crate::program::lost;
use crate::schema::{Endpoint, Reply, Step, Stream, Type};
use crate::value::Value;
use std::sync::Arc;
use wasmtime::component::{Component, ComponentExportIndex, ResourceAny, Val};

/// Where the methods of a stream's resource are in one component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamExports {
    next: Option<ComponentExportIndex>,
    send: Option<ComponentExportIndex>,
    finish: Option<ComponentExportIndex>,
}

impl StreamExports {
    pub(crate) fn find(
        component: &Component,
        interface: Option<&ComponentExportIndex>,
        stream: &Stream,
    ) -> Result<StreamExports, LoadError> {
        let find = |is_there: bool, method: &str| {
            let name = format!("[method]{}.{method}", stream.resource);
            match is_there {
                true => component.get_export_index(interface, &name).map(Some).ok_or_else(|| lost(&name)),
                false => Ok(None),
            }
        };
        Ok(StreamExports {
            next: find(stream.gives.is_some(), "next")?,
            send: find(stream.sends.is_some(), "send")?,
            finish: find(stream.finish.is_some(), "finish")?,
        })
    }
}

/// A stream that a guest opened.
pub(crate) struct OpenStream {
    pub(crate) schema: Arc<Stream>,
    exports: StreamExports,
    resource: ResourceAny,
}

impl OpenStream {
    /// Calls the endpoint and takes the resource that it returns.
    pub(crate) async fn open(
        live: &mut Live,
        endpoint: &Endpoint,
        export: ComponentExportIndex,
        exports: StreamExports,
        params: &[Val],
    ) -> Result<OpenStream, CallError> {
        let Some(schema) = &endpoint.stream else { return Err(unfit(&endpoint.name)) };
        let resource = match call(live, export, &endpoint.function, params, true).await? {
            Some(Val::Resource(resource)) => resource,
            Some(Val::Result(Ok(Some(val)))) => match *val {
                Val::Resource(resource) => resource,
                _ => return Err(unfit(&endpoint.name)),
            },
            Some(Val::Result(Err(val))) => {
                return Err(failed(endpoint.reply.err.as_ref().and_then(Option::as_ref), val));
            }
            _ => return Err(unfit(&endpoint.name)),
        };
        Ok(OpenStream { schema: Arc::new(schema.clone()), exports, resource })
    }

    /// The next message; none at the end, or, where messages go both ways, when it is the caller's turn.
    pub(crate) async fn next(&self, live: &mut Live) -> Result<Option<Value>, CallError> {
        let (Some(Step { item, err }), Some(export)) = (&self.schema.gives, self.exports.next) else {
            return Ok(None);
        };
        let val = call(live, export, "next", &[Val::Resource(self.resource)], true).await?;
        let ok = match (err, val) {
            (Some(_), Some(Val::Result(Ok(Some(val))))) => *val,
            (None, Some(val)) => val,
            (Some(err), Some(Val::Result(Err(val)))) => return Err(failed(err.as_ref(), val)),
            _ => return Err(unfit("next")),
        };
        match ok {
            Val::Option(None) => Ok(None),
            Val::Option(Some(val)) => {
                let message = from_val(item, *val).ok_or_else(|| unfit("next"))?;
                checked(live, message).map(Some)
            }
            _ => Err(unfit("next")),
        }
    }

    /// Gives the guest a message.
    pub(crate) async fn send(&self, live: &mut Live, message: &Value) -> Result<(), CallError> {
        let (Some(Step { item, err }), Some(export)) = (&self.schema.sends, self.exports.send) else {
            return Err(CallError::BadRequest("this endpoint takes no messages after its request".into()));
        };
        let message = to_val(item, message).ok_or_else(|| unfit("send"))?;
        match call(live, export, "send", &[Val::Resource(self.resource), message], err.is_some()).await? {
            Some(Val::Result(Err(val))) => Err(failed(err.as_ref().and_then(Option::as_ref), val)),
            _ => Ok(()),
        }
    }

    /// Tells the guest that no more messages come; what it answers with.
    pub(crate) async fn finish(&self, live: &mut Live) -> Result<Option<Value>, CallError> {
        let (Some(reply), Some(export)) = (&self.schema.finish, self.exports.finish) else { return Ok(None) };
        let has_result = reply.ok.is_some() || reply.err.is_some();
        let val = call(live, export, "finish", &[Val::Resource(self.resource)], has_result).await?;
        match finished(reply, val)? {
            Some(reply) => checked(live, reply).map(Some),
            None => Ok(None),
        }
    }

    /// Lets the guest know that the stream is over.
    pub(crate) async fn close(self, live: &mut Live) -> Result<(), CallError> {
        let dropped = fair(false, self.resource.resource_drop_async(&mut live.store)).await;
        dropped.map_err(|error| live.failed(&error))
    }
}

/// Calls an export, and gives its result if it has one.
async fn call(
    live: &mut Live,
    export: ComponentExportIndex,
    name: &str,
    params: &[Val],
    has_result: bool,
) -> Result<Option<Val>, CallError> {
    let mut results = [Val::Bool(false)];
    let places = if has_result { &mut results[..] } else { &mut [] };
    live.call_vals(export, name, params, places).await?;
    let [result] = results;
    Ok(has_result.then_some(result))
}

/// What came from the guest, if it is no more than may come at once.
fn checked(live: &Live, value: Value) -> Result<Value, CallError> {
    check_size(std::slice::from_ref(&value)).map_err(|error| live.failed(&error))?;
    Ok(value)
}

fn finished(reply: &Reply, val: Option<Val>) -> Result<Option<Value>, CallError> {
    let ok = match (&reply.err, val) {
        (Some(err), Some(Val::Result(Err(val)))) => return Err(failed(err.as_ref(), val)),
        (Some(_), Some(Val::Result(Ok(val)))) => val.map(|val| *val),
        (_, val) => val,
    };
    match (&reply.ok, ok) {
        (Some(ty), Some(val)) => from_val(ty, val).map(Some).ok_or_else(|| unfit("finish")),
        _ => Ok(None),
    }
}

/// The error in place of a message, or of the stream itself.
pub(crate) fn failed(err: Option<&Type>, val: Option<Box<Val>>) -> CallError {
    let value = match payload(err, val) {
        Ok(value) => value,
        Err(error) => return error,
    };
    match outcome::part(Some(&err.cloned()), Some(Value::Variant(1, value))) {
        Err(error) => error,
        Ok(_) => unfit("a stream's error"),
    }
}

fn payload(ty: Option<&Type>, val: Option<Box<Val>>) -> Result<Option<Box<Value>>, CallError> {
    match (ty, val) {
        (Some(ty), Some(val)) => match from_val(ty, *val) {
            Some(value) => Ok(Some(Box::new(value))),
            None => Err(unfit("a stream's error")),
        },
        _ => Ok(None),
    }
}

fn unfit(what: &str) -> CallError {
    CallError::Host(format!("{what}: a value of another type than the component promises"))
}
