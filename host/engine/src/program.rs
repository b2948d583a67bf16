//! A component that is compiled, linked and ready to be instantiated.

use crate::access::{Access, Scope};
use crate::bindings::{self, State};
use crate::canonical::MAX_FLAT_PARAMS;
use crate::engines::Engines;
use crate::error::{CallError, LoadError};
use crate::inspect::{EngineKind, Inspection};
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::manifest::Limits;
use crate::proto::Protos;
use crate::schema::{Endpoint, Type};
use crate::streaming::StreamExports;
use crate::value::Value;
use bytesize::ByteSize;
use micro_mesh::call::RequestId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

/// A component that is compiled, linked and ready to be instantiated: once per call as a function, or for long as a
/// service.
pub struct Program {
    pub(crate) pre: InstancePre<State>,
    pub(crate) engine: EngineKind,
    pub(crate) limits: Limits,
    pub(crate) access: Arc<Access>,
    pub(crate) room: Arc<Semaphore>,
    lasting: Arc<Semaphore>,
    pub(crate) lifecycle: Lifecycle,
    endpoints: HashMap<Arc<str>, Arc<Callable>>,
    calls_others: bool,
    /// Held so that other programs of the same bytes find it.
    _component: Arc<Component>,
    protos: Option<Protos>,
}

/// An endpoint and where it is in the component.
pub(crate) struct Callable {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) export: ComponentExportIndex,
    pub(crate) road: Road,
    pub(crate) stream: Option<StreamExports>,
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
                bindings::link_needs(&mut linker, inspection)?;
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
        Ok(Program {
            pre,
            engine: inspection.engine,
            limits: limits.clone(),
            access,
            room: side.room.clone(),
            lasting: side.lasting.clone(),
            lifecycle: Lifecycle::find(&component),
            endpoints,
            calls_others: inspection.calls_others(),
            _component: component,
            protos: inspection.protos().map_err(LoadError::Refused)?,
        })
    }

    /// Makes one instance and drops it: a component that traps at its start shows it here.
    pub async fn check_start(&self) -> Result<(), LoadError> {
        let _room = self.room.acquire().await;
        let live = Live::new(self, Scope::new(RequestId::next()));
        match tokio::time::timeout(self.limits.timeout, live).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(CallError::Trap { reason, .. })) => Err(LoadError::Start(reason)),
            Ok(Err(error)) => Err(LoadError::Start(error.to_string())),
            Err(_) => {
                Err(LoadError::Start(format!("not ready within {}", humantime::format_duration(self.limits.timeout))))
            }
        }
    }

    /// Calls an endpoint in a fresh instance. `fields` is the request message; the answer is what the function returned.
    /// A caller that gives less time than the deployment's own limit gets its answer in that time.
    pub async fn call(
        &self,
        scope: Scope,
        endpoint: &str,
        fields: Vec<Value>,
        time_left: Option<Duration>,
    ) -> Result<Option<Value>, CallError> {
        let callable = self.callable(endpoint)?;
        let arguments = callable.arguments(fields);
        let time = self.time(time_left);
        let run = async {
            let _room = self.room.acquire().await.map_err(|_| CallError::PoolFull)?;
            let mut live = Live::new(self, scope).await?;
            live.call(callable, arguments).await
        };
        // The timer stands outside of the guest: dropping the future drops the instance, whatever it is doing.
        tokio::time::timeout(time, run).await.map_err(|_| CallError::Timeout(time))?
    }

    /// Room for an instance that stays.
    pub(crate) fn lasting_room(&self) -> Result<[OwnedSemaphorePermit; 2], CallError> {
        let lasting = self.lasting.clone().try_acquire_owned().map_err(|_| CallError::PoolFull)?;
        let room = self.room.clone().try_acquire_owned().map_err(|_| CallError::PoolFull)?;
        Ok([lasting, room])
    }

    /// How long one call may take.
    pub fn time_limit(&self) -> Duration {
        self.limits.timeout
    }

    /// How long a call may take whose caller waits for `time_left`.
    pub fn time(&self, time_left: Option<Duration>) -> Duration {
        time_left.map_or(self.limits.timeout, |left| left.min(self.limits.timeout))
    }

    pub(crate) fn callable(&self, endpoint: &str) -> Result<&Arc<Callable>, CallError> {
        self.endpoints.get(endpoint).ok_or_else(|| CallError::Host(format!("endpoint {endpoint} is not loaded")))
    }

    /// The schema of the endpoint called `name`.
    pub fn endpoint(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(name).map(|callable| &callable.endpoint)
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

    /// The memory limit of one instance.
    pub fn memory_limit(&self) -> ByteSize {
        self.limits.memory
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Program").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Callable {
    fn find(component: &Component, engine: EngineKind, endpoint: &Endpoint) -> Result<Callable, LoadError> {
        let interface = match &endpoint.interface {
            Some(interface) => Some(component.get_export_index(None, &**interface).ok_or_else(|| lost(interface))?),
            None => None,
        };
        let export = component.get_export_index(interface.as_ref(), &*endpoint.function);
        let export = export.ok_or_else(|| lost(&endpoint.function))?;
        let stream = match &endpoint.stream {
            Some(stream) if stream.native.is_some() => None,
            Some(stream) => Some(StreamExports::find(component, interface.as_ref(), stream)?),
            None => None,
        };
        Ok(Callable { endpoint: Arc::new(endpoint.clone()), export, road: road(engine, endpoint), stream })
    }

    /// The arguments of the function for the fields of a message.
    pub(crate) fn arguments(&self, fields: Vec<Value>) -> Vec<Value> {
        if self.endpoint.request.is_one_record { vec![Value::Record(fields)] } else { fields }
    }
}

fn road(engine: EngineKind, endpoint: &Endpoint) -> Road {
    let params: usize = endpoint.parameter_types().iter().map(flat_count).sum();
    let results = endpoint.result_type().map_or(0, |ty| flat_count(&ty));
    match (engine, params, results) {
        // An async function's result comes back as the arguments of a task's end, which only dynamic values cover.
        (EngineKind::Concurrent, ..) => Road::Dynamic,
        _ if endpoint.stream.is_some() || params > MAX_FLAT_PARAMS => Road::Dynamic,
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
