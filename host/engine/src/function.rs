//! A loaded component, and one call of it: a fresh instance, within its limits.

use crate::bindings::{self, State};
use crate::canonical::{Arguments, HeapResult, MAX_FLAT_PARAMS, StackResult};
use crate::dynamic;
use crate::engines::Engines;
use crate::error::{CallError, LoadError};
use crate::inspect::{EngineKind, Inspection};
use crate::json;
use crate::limits::REPLY_LIMIT;
use crate::log::Log;
use crate::manifest::Limits;
use crate::schema::{Endpoint, Type};
use crate::trap;
use crate::value::Value;
use bytesize::ByteSize;
use micro_mesh::call::RequestId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Func, InstancePre, TypedFunc, Val};

/// A component that is compiled, linked and ready to be called.
pub struct Function {
    pre: InstancePre<State>,
    engine: EngineKind,
    limits: Limits,
    log: Arc<dyn Log>,
    room: Arc<Semaphore>,
    endpoints: HashMap<Arc<str>, Callable>,
}

/// An endpoint and where it is in the component.
struct Callable {
    endpoint: Arc<Endpoint>,
    export: ComponentExportIndex,
    road: Road,
}

/// How values pass in and out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Road {
    /// Straight to and from memory; the result in a core value, or none.
    Stack,
    /// Straight to and from memory; the result in memory.
    Heap,
    /// By way of wasmtime's dynamic values.
    Dynamic,
}

impl Function {
    /// Loads an inspected component. `bytes` is asked for only if the compile cache does not hold it.
    pub fn load(
        engines: &Engines,
        inspection: &Inspection,
        limits: &Limits,
        log: Arc<dyn Log>,
        bytes: impl FnOnce() -> std::io::Result<Vec<u8>>,
    ) -> Result<Function, LoadError> {
        let component = engines.component(inspection.engine, &inspection.digest, bytes)?;
        let pre = engines.side(inspection.engine).linker.instantiate_pre(&component).map_err(|error| {
            match bindings::missing_imports(&component).as_slice() {
                [] => LoadError::Refused(format!("an import does not fit what the host gives: {error:#}")),
                missing => LoadError::Refused(format!(
                    "the component imports what this host does not give:\n  {}",
                    missing.join("\n  ")
                )),
            }
        })?;
        let room = engines.side(inspection.engine).room.clone();
        let mut endpoints = HashMap::with_capacity(inspection.endpoints.len());
        for endpoint in &inspection.endpoints {
            let interface = match &endpoint.interface {
                Some(interface) => Some(component.get_export_index(None, &**interface).ok_or_else(|| lost(interface))?),
                None => None,
            };
            let export = component.get_export_index(interface.as_ref(), &*endpoint.function);
            let export = export.ok_or_else(|| lost(&endpoint.function))?;
            let road = road(inspection.engine, endpoint);
            let callable = Callable { endpoint: Arc::new(endpoint.clone()), export, road };
            endpoints.insert(endpoint.name.clone(), callable);
        }
        Ok(Function { pre, engine: inspection.engine, limits: limits.clone(), log, room, endpoints })
    }

    /// Makes one instance and drops it: a component that traps at its start shows it here.
    pub async fn check_start(&self) -> Result<(), LoadError> {
        let mut store = self.store(RequestId::next());
        let instance = self.pre.instantiate_async(&mut store);
        match tokio::time::timeout(self.limits.timeout, instance).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let error = trap::call_error(&error, Some(&store.data().limiter), self.limits.memory);
                Err(LoadError::Start(match error {
                    CallError::Trap { reason, .. } => reason,
                    other => other.to_string(),
                }))
            }
            Err(_) => {
                Err(LoadError::Start(format!("not ready within {}", humantime::format_duration(self.limits.timeout))))
            }
        }
    }

    /// The schema of the endpoint called `name`.
    pub fn endpoint(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(name).map(|callable| &callable.endpoint)
    }

    /// The names of all endpoints, in no order.
    pub fn endpoint_names(&self) -> impl Iterator<Item = &str> {
        self.endpoints.keys().map(|name| &**name)
    }

    /// Calls an endpoint in a fresh instance. `fields` is the request message; the answer is the `ok` of its reply.
    /// A caller that gives less time than the deployment's own limit gets its answer in that time.
    pub async fn call(
        &self,
        request: RequestId,
        endpoint: &str,
        fields: Vec<Value>,
        time_left: Option<Duration>,
    ) -> Result<Option<Value>, CallError> {
        let Some(callable) = self.endpoints.get(endpoint) else {
            return Err(CallError::Host(format!("endpoint {endpoint} is not loaded")));
        };
        let arguments = if callable.endpoint.request.is_one_record { vec![Value::Record(fields)] } else { fields };
        let time = time_left.map_or(self.limits.timeout, |left| left.min(self.limits.timeout));
        // The timer stands outside of the guest: dropping the future drops the instance, whatever it is doing.
        let result = tokio::time::timeout(time, self.run(request, callable, arguments)).await;
        reply(&callable.endpoint, result.map_err(|_| CallError::Timeout(time))??)
    }

    async fn run(
        &self,
        request: RequestId,
        callable: &Callable,
        arguments: Vec<Value>,
    ) -> Result<Option<Value>, CallError> {
        let _room = self.room.acquire().await.map_err(|_| CallError::PoolFull)?;
        let mut store = self.store(request);
        let instance = match self.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(trap::call_error(&error, Some(&store.data().limiter), self.limits.memory)),
        };
        let Some(func) = instance.get_func(&mut store, callable.export) else {
            return Err(CallError::Host(format!("{} is not exported", callable.endpoint.function)));
        };
        let result = match callable.road {
            Road::Stack => direct::<StackResult>(&func, &mut store, arguments).await.map(|result| result.0),
            Road::Heap => direct::<HeapResult>(&func, &mut store, arguments).await.map(|result| result.0),
            Road::Dynamic => dynamic_call(&func, &mut store, &callable.endpoint, &arguments).await,
        };
        result.map_err(|error| trap::call_error(&error, Some(&store.data().limiter), self.limits.memory))
    }

    fn store(&self, request: RequestId) -> Store<State> {
        let mut store = Store::new(self.pre.engine(), State::new(&self.limits, &self.log, request));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(REPLY_LIMIT.as_u64() as usize);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    /// The engine that runs it.
    pub fn engine(&self) -> EngineKind {
        self.engine
    }

    /// The memory limit of one instance.
    pub fn memory_limit(&self) -> ByteSize {
        self.limits.memory
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Function").field("engine", &self.engine).finish_non_exhaustive()
    }
}

async fn direct<R>(func: &Func, store: &mut Store<State>, arguments: Vec<Value>) -> wasmtime::Result<R>
where
    R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift + 'static,
{
    // SAFETY: `Arguments` and both results match each value against the function's real type (see `canonical`).
    let func = unsafe { TypedFunc::<Arguments, R>::new_unchecked(*func) };
    func.call_async(store, Arguments(arguments)).await
}

async fn dynamic_call(
    func: &Func,
    store: &mut Store<State>,
    endpoint: &Endpoint,
    arguments: &[Value],
) -> wasmtime::Result<Option<Value>> {
    let unfit = || wasmtime::format_err!("a value of another type than the function takes");
    let request = &endpoint.request;
    let params: Option<Vec<Val>> = if request.is_one_record {
        let ty = Type::Record(request.message.clone());
        arguments.iter().map(|value| dynamic::to_val(&ty, value)).collect()
    } else {
        let fields = request.message.fields.iter().zip(arguments);
        fields.map(|(field, value)| dynamic::to_val(&field.ty, value)).collect()
    };
    let result_ty = result_type(endpoint);
    let mut results = vec![Val::Bool(false); usize::from(result_ty.is_some())];
    func.call_async(store, &params.ok_or_else(unfit)?, &mut results).await?;
    match (result_ty, results.pop()) {
        (Some(ty), Some(val)) => dynamic::from_val(&ty, val).map(Some).ok_or_else(unfit),
        _ => Ok(None),
    }
}

/// The type that the function itself returns.
fn result_type(endpoint: &Endpoint) -> Option<Type> {
    match (&endpoint.reply.ok, &endpoint.reply.err) {
        (ok, Some(err)) => Some(Type::Result(ok.clone().map(Arc::new), err.clone().map(Arc::new))),
        (ok, None) => ok.clone(),
    }
}

fn road(engine: EngineKind, endpoint: &Endpoint) -> Road {
    let params: usize = endpoint.request.message.fields.iter().map(|field| flat_count(&field.ty)).sum();
    let results = result_type(endpoint).map_or(0, |ty| flat_count(&ty));
    match (engine, params, results) {
        // An async function's result comes back as the arguments of a task's end, which only dynamic values cover.
        (EngineKind::Concurrent, ..) => Road::Dynamic,
        _ if params > MAX_FLAT_PARAMS => Road::Dynamic,
        (_, _, 0 | 1) => Road::Stack,
        _ => Road::Heap,
    }
}

/// How many core values a value of this type is.
fn flat_count(ty: &Type) -> usize {
    match ty {
        Type::String | Type::Bytes | Type::List(_) | Type::Map(..) => 2,
        Type::FixedList(item, length) => flat_count(item).saturating_mul(*length),
        Type::Tuple(types) => types.iter().map(flat_count).sum(),
        Type::Record(record) => record.fields.iter().map(|field| flat_count(&field.ty)).sum(),
        Type::Variant(variant) => {
            let payloads = variant.cases.iter().map(|case| case.ty.as_ref().map_or(0, flat_count));
            1 + payloads.max().unwrap_or(0)
        }
        Type::Option(some) => 1 + flat_count(some),
        Type::Result(ok, err) => {
            let count = |ty: &Option<Arc<Type>>| ty.as_ref().map_or(0, |ty| flat_count(ty));
            1 + count(ok).max(count(err))
        }
        _ => 1,
    }
}

/// Parts the `ok` of a reply from its `err`.
fn reply(endpoint: &Endpoint, result: Option<Value>) -> Result<Option<Value>, CallError> {
    let Some(err_ty) = &endpoint.reply.err else { return Ok(result) };
    match result {
        Some(Value::Variant(0, payload)) => Ok(payload.map(|value| *value)),
        Some(Value::Variant(_, payload)) => Err(guest_error(err_ty.as_ref(), payload.map(|value| *value))),
        other => Ok(other),
    }
}

/// The error that a function returned: `micro:function/types.error` keeps its id and code, anything else becomes text.
fn guest_error(ty: Option<&Type>, value: Option<Value>) -> CallError {
    let (Some(ty), Some(value)) = (ty, value) else {
        return CallError::Guest {
            id: None,
            code: 500,
            detail: "the function returned an error without a text".into(),
        };
    };
    if let (Type::Record(record), Value::Record(values)) = (ty, &value)
        && let Some(error) = known_error(record, values)
    {
        return error;
    }
    let detail = match value {
        Value::String(text) => text,
        value => {
            let mut out = Vec::new();
            match json::write_value(ty, &value, &mut out) {
                Ok(()) => String::from_utf8_lossy(&out).into_owned(),
                Err(error) => error,
            }
        }
    };
    CallError::Guest { id: None, code: 500, detail }
}

/// Whether a record is an error as go-micro knows it: it has a `code` that is a number and a `detail` that is text.
fn known_error(record: &crate::schema::Record, values: &[Value]) -> Option<CallError> {
    let field = |name: &str| {
        let index = record.fields.iter().position(|field| *field.name.wit == *name)?;
        values.get(index)
    };
    let (Some(Value::Unsigned(code)), Some(Value::String(detail))) = (field("code"), field("detail")) else {
        return None;
    };
    let id = match field("id") {
        Some(Value::String(id)) if !id.is_empty() => Some(id.clone()),
        _ => None,
    };
    // A code that HTTP does not know as an error is the function's mistake, and an error all the same.
    let code = u16::try_from(*code).ok().filter(|code| (400..600).contains(code)).unwrap_or(500);
    Some(CallError::Guest { id, code, detail: detail.clone() })
}

fn lost(name: &str) -> LoadError {
    LoadError::Refused(format!("the component's WIT promises {name}, but the component does not export it"))
}
