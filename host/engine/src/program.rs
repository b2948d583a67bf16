//! A component that is compiled, linked and ready to be instantiated.

use crate::access::{Access, Scope};
use crate::bindings::{self, State};
use crate::canonical::MAX_FLAT_PARAMS;
use crate::engines::{Engines, Places};
use crate::error::{CallError, LoadError};
use crate::fair;
use crate::inspect::{EngineKind, Inspection, MESSAGING};
use crate::lifecycle::Lifecycle;
use crate::limits::{DIRECT_FUEL, DYNAMIC_FUEL};
use crate::live::Live;
use crate::loaded::Code;
use crate::manifest::Limits;
use crate::module::{PROGRAM, WASI_P1};
use crate::proto::Protos;
use crate::schema::{Endpoint, Type};
use crate::streaming::StreamExports;
use crate::value::Value;
use crate::web::Handler;
use crate::web::pool::Pool;
use crate::{command, dynamic};
use micro_mesh::call::RequestId;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Val};

/// A component that is compiled, linked and ready to be instantiated: once per call as a function, or for long as a
/// service.
pub struct Program {
    pub(crate) pre: InstancePre<State>,
    /// The program for WASIp1 that the component holds.
    pub(crate) start: Option<wasmtime::InstancePre<State>>,
    pub(crate) engine: EngineKind,
    pub(crate) limits: Limits,
    pub(crate) access: Arc<Access>,
    pub(crate) room: Places,
    pub(crate) lasting: Places,
    /// What an instance's store lets through at each crossing from guest to host.
    pub(crate) fuel: usize,
    pub(crate) lifecycle: Lifecycle,
    /// What takes HTTP requests as they are, and its instances between two of them.
    pub(crate) handler: Option<Handler>,
    pub(crate) idle: Arc<Pool>,
    endpoints: HashMap<Arc<str>, Arc<Callable>>,
    calls_others: bool,
    /// Held so that other programs of the same bytes find it.
    component: Arc<Code>,
    protos: Option<Protos>,
}

/// An endpoint of a loaded component, found once per call.
pub struct Callable {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The types of the function's parameters and of its result, which the endpoint shows as messages.
    pub(crate) params: Vec<Type>,
    pub(crate) result: Option<Type>,
    pub(crate) export: ComponentExportIndex,
    pub(crate) road: Road,
    pub(crate) stream: Option<StreamExports>,
}

/// When a call must be done.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// The time by the clock.
    pub at: Instant,
    /// How long that was when the call began.
    pub time: Duration,
}

/// How values pass in and out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Road {
    /// Straight to and from memory; the result in a core value, or none.
    Stack,
    /// Straight to and from memory; the result in memory.
    Heap,
    /// By way of wasmtime's dynamic values.
    Dynamic,
    /// By way of wasmtime's dynamic values, with bytes as a message of `wasi:messaging`.
    Message,
    /// By standard input and output.
    Command,
}

impl Program {
    /// Loads an inspected component. `bytes` is asked for only if the compile cache does not hold it.
    pub fn load(
        engines: &Engines,
        inspection: &Inspection,
        limits: &Limits,
        access: Arc<Access>,
        bytes: impl FnOnce() -> std::io::Result<Vec<u8>>,
    ) -> Result<Program, LoadError> {
        let component = engines.component(inspection.engine, &inspection.digest, bytes)?;
        let side = engines.side(inspection.engine);
        let linked = match inspection.needs.is_empty() {
            true => side.linker.instantiate_pre(&component),
            false => {
                let mut linker = side.linker.clone();
                bindings::link_needs(&mut linker, inspection, &access)?;
                linker.instantiate_pre(&component)
            }
        };
        let pre = linked.map_err(|error| match bindings::missing_imports(&component, inspection).as_slice() {
            [] => LoadError::Refused(format!("an import does not fit what the host gives: {error:#}")),
            missing => LoadError::Refused(format!(
                "the component imports what this host does not give:\n  {}",
                missing.join("\n  ")
            )),
        })?;
        let mut endpoints = HashMap::with_capacity(inspection.endpoints.len());
        for endpoint in &inspection.endpoints {
            let callable = Callable::find(&component, inspection.engine, endpoint)?;
            endpoints.insert(endpoint.name.clone(), Arc::new(callable));
        }
        let is_dynamic = inspection.engine == EngineKind::Concurrent
            || !inspection.needs.is_empty()
            || endpoints.values().any(|callable| matches!(callable.road, Road::Dynamic | Road::Message));
        let [room, lasting] = side.places_of(&component);
        let handler = Handler::find(&component, &pre, inspection)?;
        let start = match inspection.command() {
            Some(WASI_P1) => {
                let export = component.get_export_index(None, PROGRAM).ok_or_else(|| lost(PROGRAM))?;
                let state = State::new(limits, &access, Scope::idle());
                Some(command::program::link(&side.programs, &pre, export, state)?)
            }
            _ => None,
        };
        Ok(Program {
            handler,
            idle: Arc::default(),
            pre,
            start,
            engine: inspection.engine,
            limits: *limits,
            access,
            room,
            lasting,
            fuel: if is_dynamic { DYNAMIC_FUEL } else { DIRECT_FUEL },
            lifecycle: Lifecycle::find(&component),
            endpoints,
            calls_others: inspection.calls_others(),
            component,
            protos: inspection.protos().map_err(LoadError::Refused)?,
        })
    }

    /// A place for one instance, with the limits that it has.
    pub(crate) fn store(&self, state: State) -> Store<State> {
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(self.fuel);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| store.data_mut().tick());
        store
    }

    /// Makes one instance and drops it: a component that traps at its start shows it here.
    pub async fn check_start(&self) -> Result<(), LoadError> {
        let start = async {
            let _room = self.room.take().await?;
            let scope = Scope::new(RequestId::next());
            match &self.start {
                Some(start) => self.check_program(start, scope).await,
                None => Live::new(self, scope).await.map(drop),
            }
        };
        let deadline = self.deadline(Instant::now(), None);
        match deadline.limit(pin!(start)).await {
            Ok(()) => Ok(()),
            Err(CallError::Trap { reason, .. }) => Err(LoadError::Start(reason)),
            Err(CallError::Timeout(time)) => {
                Err(LoadError::Start(format!("not ready within {}", humantime::format_duration(time))))
            }
            Err(error) => Err(LoadError::Start(error.to_string())),
        }
    }

    /// Calls an endpoint in a fresh instance. `fields` is the request message; the answer is what the function returned.
    pub async fn call(
        &self,
        scope: Scope,
        callable: &Callable,
        fields: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Option<Value>, CallError> {
        if callable.road == Road::Command {
            return Box::pin(self.run_whole(scope, callable, fields, deadline)).await;
        }
        let arguments = callable.arguments(fields);
        let _room = self.room(deadline).await?;
        let run = pin!(async {
            let mut live = Live::new(self, scope).await?;
            live.call(callable, arguments).await
        });
        // The timer stands outside of the guest: dropping the future drops the instance, whatever it is doing.
        deadline.limit(run).await
    }

    /// Room for an instance that comes and goes; a call waits for it as long as it has time.
    pub(crate) async fn room(&self, deadline: Deadline) -> Result<SemaphorePermit<'_>, CallError> {
        if let Some(room) = self.room.try_take() {
            return Ok(room);
        }
        tokio::time::timeout_at(deadline.at, self.room.take()).await.unwrap_or(Err(CallError::PoolFull))
    }

    /// Room for an instance that stays.
    pub(crate) async fn lasting_room(&self, deadline: Deadline) -> Result<[OwnedSemaphorePermit; 2], CallError> {
        let wait = async {
            let lasting = self.lasting.take_owned().await?;
            Ok([lasting, self.room.take_owned().await?])
        };
        tokio::time::timeout_at(deadline.at, wait).await.unwrap_or(Err(CallError::PoolFull))
    }

    /// How long one call may take.
    pub fn time_limit(&self) -> Duration {
        self.limits.timeout
    }

    /// When a call must be done that begins `now` and whose caller waits until then.
    pub fn deadline(&self, now: Instant, caller: Option<Instant>) -> Deadline {
        let limit = self.limits.timeout;
        let time = caller.map_or(limit, |caller| caller.saturating_duration_since(now).min(limit));
        Deadline { at: now + time, time }
    }

    /// The endpoint called `name`.
    pub fn endpoint(&self, name: &str) -> Option<&Arc<Callable>> {
        self.endpoints.get(name)
    }

    /// The endpoint that runs the program, if it is a command.
    pub fn command(&self) -> Option<&Arc<Callable>> {
        self.endpoints.values().find(|callable| callable.road == Road::Command)
    }

    /// The names of all endpoints, in no order.
    pub fn endpoint_names(&self) -> impl Iterator<Item = &str> {
        self.endpoints.keys().map(|name| &**name)
    }

    /// What its `.proto` file says, if it has one.
    pub fn protos(&self) -> Option<&Protos> {
        self.protos.as_ref()
    }

    /// Whether it may call other services, so that what surrounds a call must reach it.
    pub fn calls_others(&self) -> bool {
        self.calls_others
    }

    /// How often an instance asked for something that is not allowed.
    pub fn denied(&self) -> u64 {
        self.access.granted.denied.load(Ordering::Relaxed)
    }

    /// The deployment that gives an imported interface.
    pub fn import_target(&self, interface: &str) -> Option<&str> {
        self.access.imports.get(interface).map(String::as_str)
    }

    /// Whether an instance can hand its state to the next one.
    pub fn hands_over(&self) -> (bool, bool) {
        (self.lifecycle.save.is_some(), self.lifecycle.restore.is_some())
    }

    /// Whether instances say how they are.
    pub fn has_health(&self) -> bool {
        self.lifecycle.health.is_some()
    }

    /// The engine that runs it.
    pub fn engine(&self) -> EngineKind {
        self.engine
    }

    /// What binds it.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The memory that its code takes, in bytes, about. Programs of the same component share it.
    pub fn code_bytes(&self) -> u64 {
        self.component.bytes()
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Program").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Deadline {
    /// Does work until its time is over; whoever has it drops it then. It is not moved, and has no timer where it is done
    /// at once, as most calls are.
    pub async fn limit<T, W>(self, mut work: Pin<&mut W>) -> Result<T, CallError>
    where
        W: Future<Output = Result<T, CallError>>,
    {
        let mut timer: Option<Pin<Box<Unconstrained<Sleep>>>> = None;
        let end = self.at.into_std();
        poll_fn(|context| {
            if let Poll::Ready(outcome) = fair::by(end, || work.as_mut().poll(context)) {
                return Poll::Ready(outcome);
            }
            // Work that has used up the task's budget is not to outlive its time for that.
            let timer = timer.get_or_insert_with(|| Box::pin(unconstrained(sleep_until(self.at))));
            timer.as_mut().poll(context).map(|()| Err(self.missed()))
        })
        .await
    }

    pub(crate) fn has_passed(self) -> bool {
        self.at <= Instant::now()
    }

    /// The error of a call that was not done by then.
    pub(crate) fn missed(self) -> CallError {
        CallError::Timeout(self.time)
    }
}

impl Callable {
    fn find(component: &Component, engine: EngineKind, endpoint: &Endpoint) -> Result<Callable, LoadError> {
        let interface = match &endpoint.interface {
            // The component around a program has but the program.
            Some(interface) if **interface == *WASI_P1 => None,
            Some(interface) => Some(component.get_export_index(None, &**interface).ok_or_else(|| lost(interface))?),
            None => None,
        };
        let function = if endpoint.interface.as_deref() == Some(WASI_P1) { PROGRAM } else { &endpoint.function };
        let export = component.get_export_index(interface.as_ref(), function);
        let export = export.ok_or_else(|| lost(&endpoint.function))?;
        let stream = match &endpoint.stream {
            Some(_) if endpoint.streams_natively() => None,
            Some(stream) => Some(StreamExports::find(component, interface.as_ref(), stream)?),
            None => None,
        };
        let (params, result) = (endpoint.parameter_types(), endpoint.result_type());
        let road = match endpoint.stream {
            Some(_) => Road::Dynamic,
            None if endpoint.is_command() => Road::Command,
            None if endpoint.interface.as_deref().is_some_and(|interface| interface.starts_with(MESSAGING)) => {
                if engine == EngineKind::Concurrent {
                    let reason = format!("{MESSAGING}… in a component that uses component-model async is not called");
                    return Err(LoadError::Refused(reason));
                }
                Road::Message
            }
            None => road(engine, &params, result.as_ref()),
        };
        Ok(Callable { endpoint: Arc::new(endpoint.clone()), params, result, export, road, stream })
    }

    /// What it takes and gives.
    pub fn schema(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The arguments of the function for the fields of a message.
    pub(crate) fn arguments(&self, fields: Vec<Value>) -> Vec<Value> {
        if self.endpoint.request.is_one_record { vec![Value::Record(fields)] } else { fields }
    }

    /// Arguments as wasmtime takes them.
    pub(crate) fn to_vals(&self, arguments: &[Value]) -> wasmtime::Result<Vec<Val>> {
        dynamic::to_vals(&self.params, arguments)
    }

    /// Places for what the function returns.
    pub(crate) fn places(&self) -> Vec<Val> {
        dynamic::places(self.result.is_some())
    }

    /// What the function returned, as wasmtime gave it.
    pub(crate) fn returned(&self, results: &[Val]) -> wasmtime::Result<Option<Value>> {
        dynamic::returned(self.result.as_ref(), results)
    }
}

fn road(engine: EngineKind, params: &[Type], result: Option<&Type>) -> Road {
    let params: usize = params.iter().map(flat_count).sum();
    match (engine, params, result.map_or(0, flat_count)) {
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

pub(crate) fn lost(name: &str) -> LoadError {
    LoadError::Refused(format!("the component's WIT promises {name}, but the component does not export it"))
}
