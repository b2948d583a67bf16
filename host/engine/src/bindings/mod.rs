//! What a guest can import, and the state behind it.

mod output;

use crate::error::LoadError;
use crate::limits::Limiter;
use crate::log::{Log, Stream};
use crate::manifest::Limits;
use micro_mesh::call::RequestId;
use output::Output;
use std::sync::Arc;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// What belongs to one instance.
pub(crate) struct State {
    /// Made when the guest first asks for any of it: most functions only compute.
    wasi: Option<Box<Wasi>>,
    log: Arc<dyn Log>,
    request: RequestId,
    pub(crate) limiter: Limiter,
}

struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl State {
    /// The state of a fresh instance that may use clocks, random numbers and its log, and nothing else.
    pub(crate) fn new(limits: &Limits, log: &Arc<dyn Log>, request: RequestId) -> State {
        State { wasi: None, log: log.clone(), request, limiter: Limiter::new(limits.memory) }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::new(&self.log, self.request)));
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

impl Wasi {
    fn new(log: &Arc<dyn Log>, request: RequestId) -> Wasi {
        let mut builder = WasiCtxBuilder::new();
        builder.stdout(Output::new(log.clone(), request, Stream::Stdout));
        builder.stderr(Output::new(log.clone(), request, Stream::Stderr));
        builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        Wasi { ctx: builder.build(), table: ResourceTable::new() }
    }
}

/// Everything that the host gives. `with_wasi_0_3` is for the concurrent engine.
pub(crate) fn linker(engine: &wasmtime::Engine, with_wasi_0_3: bool) -> Result<Linker<State>, LoadError> {
    let mut linker = Linker::new(engine);
    let linked = wasmtime_wasi::p2::add_to_linker_async(&mut linker).and_then(|()| match with_wasi_0_3 {
        true => wasmtime_wasi::p3::add_to_linker(&mut linker),
        false => Ok(()),
    });
    linked.map_err(|error| LoadError::Host(format!("link WASI: {error:#}")))?;
    Ok(linker)
}

/// The packages whose interfaces every linker holds.
const GIVEN: [&str; 6] = ["wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:cli/", "wasi:filesystem/", "wasi:sockets/"];

/// The imports of `component` that are from no package that the host gives. Imports of nothing but types need nobody.
pub(crate) fn missing_imports(component: &Component) -> Vec<String> {
    let engine = component.engine();
    let needs_somebody = |item: ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, export)| !matches!(export.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => false,
        _ => true,
    };
    let ty = component.component_type();
    let imports = ty.imports(engine).filter(|(name, _)| !GIVEN.iter().any(|package| name.starts_with(package)));
    imports.filter_map(|(name, item)| needs_somebody(item.ty).then(|| name.to_string())).collect()
}
