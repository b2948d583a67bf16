//! What a guest can import, and the state behind it.

mod bounds;
mod client;
mod config;
mod events;
mod guests;
mod keyvalue;
mod logging;
pub(crate) mod messaging;
mod names;
mod origin;
mod outbox;
mod output;
mod store;

use crate::access::{Access, Scope};
use crate::command::Run;
use crate::engines::EPOCH;
use crate::error::LoadError;
use crate::fair;
use crate::inspect::Inspection;
use crate::limits::{CpuUsedUp, Limiter};
use crate::log::Stream;
use crate::manifest::Limits;
use names::Names;
use origin::Origin;
use output::{CurrentRequest, Output};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasData, HasSelf, Linker, ResourceTable};
use wasmtime::{ResourceLimiter, UpdateDeadline};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

pub(crate) use guests::link as link_needs;

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package micro:host;

        world guest {
            import micro:function/client@0.1.0;
            import micro:function/events@0.1.0;
            import micro:function/outbox@0.1.0;
            import micro:function/store@0.1.0;
        }
    ",
    imports: { default: async | trappable },
    with: { "micro:function/client.exchange": client::Exchange },
});

use self::micro::function as contract;

/// Who speaks in the errors that a guest gets from the host.
const ID: &str = "go.micro.client";

/// Handles of an instance to what the host keeps for it, sockets and header fields among them, so that it cannot use up
/// the host's memory beside its own.
const MAX_HANDLES: usize = 2048;

/// Bytes that the header fields behind one such handle may have.
const MAX_FIELDS: usize = 64 * 1024;

/// What belongs to one instance.
pub(crate) struct State {
    /// Made when the guest first asks for any of it: most functions only compute.
    wasi: Option<Box<Wasi>>,
    /// The same for a program of WASIp1.
    program: Option<Box<WasiP1Ctx>>,
    /// What HTTP needs is there at once, because it is little.
    http: WasiHttpCtx,
    table: ResourceTable,
    origin: Origin,
    /// What a command gets beside `access`, until the guest first asks.
    run: Option<Box<Run>>,
    pub(crate) limiter: Limiter,
    /// Ticks of the engine's clock that found the present call running.
    ticks: u32,
    /// What [`fair::spent`] was when it began.
    begun: u64,
    /// Nanoseconds on a processor that one call may have, and that the present ones may have together.
    cpu: u64,
    most: u64,
}

struct Wasi {
    ctx: WasiCtx,
    request: Arc<CurrentRequest>,
    /// What it looked up; made when it does.
    names: Option<Arc<Names>>,
}

impl State {
    /// The state of a fresh instance, which may use clocks, random numbers and its log, and what `access` names.
    pub(crate) fn new(limits: &Limits, access: &Arc<Access>, scope: Scope) -> State {
        access.usage.begin_instance();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        State {
            wasi: None,
            program: None,
            http,
            table,
            origin: Origin { access: access.clone(), scope, has_many_bodies: false },
            run: None,
            limiter: Limiter::new(limits.memory),
            ticks: 0,
            begun: 0,
            cpu: nanoseconds(limits.cpu),
            most: nanoseconds(limits.cpu),
        }
    }

    /// The state of an instance that is a program's run.
    pub(crate) fn for_command(mut self, run: Run) -> State {
        self.run = Some(Box::new(run));
        self
    }

    /// Works for another call from now on, and for no other.
    pub(crate) fn begin_call(&mut self, scope: Scope) {
        self.set_scope(scope);
        self.limiter.begin_call();
        (self.ticks, self.begun, self.most) = (0, 0, self.cpu);
    }

    /// Works for one more call from now on, inside of work that goes on already. Calls at once have the time of all
    /// together, because nobody can tell for whom the guest computes.
    pub(crate) fn begin_beside(&mut self, scope: Scope, is_alone: bool) {
        match is_alone {
            true => {
                self.begin_call(scope);
                self.begun = fair::spent();
            }
            false => {
                self.set_scope(scope);
                self.most = self.most.saturating_add(self.cpu);
            }
        }
    }

    /// Does what it does in this name.
    pub(crate) fn set_scope(&mut self, scope: Scope) {
        if let Some(wasi) = &mut self.wasi {
            wasi.request.set(scope.id);
        }
        self.origin.scope = scope;
    }

    /// What a program for WASIp1 gets, which is the same.
    pub(crate) fn program(&mut self) -> &mut WasiP1Ctx {
        self.program.get_or_insert_with(|| {
            let (mut builder, _) = Wasi::builder(&self.origin, self.run.take());
            let mut program = Box::new(builder.build_p1());
            // It keeps handles of its own.
            program.ctx().table.set_max_capacity(MAX_HANDLES);
            program
        })
    }

    /// The engine's clock found this instance running: it makes room for others, unless its time is used up.
    pub(crate) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let has_ticked = fair::has_ticked();
        if has_ticked {
            self.origin.access.usage.tick();
            self.ticks += 1;
            if self.ticks >= fair::SHORT {
                fair::is_long();
                self.origin.access.usage.habit.note();
            }
        }
        // A guest that waits whenever the clock ticks is never found running, and one that does much at once is found
        // only once: so its time is measured as well.
        let found = u64::from(self.ticks).saturating_mul(nanoseconds(EPOCH));
        if fair::spent().saturating_sub(self.begun).max(found) > self.most {
            return Err(wasmtime::Error::new(CpuUsedUp));
        }
        Ok(if has_ticked { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
    }

    /// Whether what it does next may well compute for long.
    pub(crate) fn is_long(&self) -> bool {
        self.origin.access.usage.habit.is_long()
    }

    fn wasi(&mut self) -> (&mut Wasi, &mut ResourceTable) {
        (self.wasi.get_or_insert_with(|| Wasi::new(&self.origin, self.run.take())), &mut self.table)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Drop for State {
    fn drop(&mut self) {
        self.origin.access.usage.end_instance(self.limiter.told() as u64);
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.limiter.grow_memory(current, desired, maximum, &self.origin.access.usage))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.limiter.grow_table(current, desired, maximum, &self.origin.access.usage))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.origin }
    }
}

impl Wasi {
    fn new(origin: &Origin, run: Option<Box<Run>>) -> Box<Wasi> {
        let (mut builder, request) = Wasi::builder(origin, run);
        let mut names = None;
        if origin.access.granted.egress.has_tcp() {
            names::open_tcp(&mut builder, &origin.access, names.get_or_insert_default(), &request);
        }
        Box::new(Wasi { ctx: builder.build(), request, names })
    }

    /// What all guests get, whichever WASI they are for.
    fn builder(Origin { access, scope, .. }: &Origin, run: Option<Box<Run>>) -> (WasiCtxBuilder, Arc<CurrentRequest>) {
        let request = Arc::new(CurrentRequest::new(scope.id));
        let mut builder = WasiCtxBuilder::new();
        builder.stdout(Output::new(access.log.clone(), request.clone(), Stream::Stdout));
        builder.stderr(Output::new(access.log.clone(), request.clone(), Stream::Stderr));
        builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        builder.args(&access.args).envs(&access.env);
        if let Some(run) = run {
            builder.args(&run.args).envs(&run.env).stdin(run.stdin).stdout(run.stdout);
        }
        for folder in &access.granted.files {
            if let Err(error) = builder.preopened_dir(&folder.path, &folder.seen_as, FsPerms::ReadOnly) {
                let line = format!("the folder {} cannot be opened: {error:#}", folder.path.display());
                access.log.line(scope.id, Stream::Host, &line);
            }
        }
        (builder, request)
    }
}

/// `wasi:io` needs no more than the table. By the way of the context, as wasmtime links it, an HTTP handler that only
/// reads and writes would have clocks, random numbers and a log made for each of its requests.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Puts our way to `wasi:io` in the place of wasmtime's.
fn link_io(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::io::{error, poll, streams};
    linker.allow_shadowing(true);
    error::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    poll::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    streams::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Everything that the host gives. `with_wasi_0_3` is for the concurrent engine.
pub(crate) fn linker(engine: &wasmtime::Engine, with_wasi_0_3: bool) -> Result<Linker<State>, LoadError> {
    let mut linker = Linker::new(engine);
    let linked = wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| link_io(&mut linker))
        .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
        .and_then(|()| match with_wasi_0_3 {
            true => wasmtime_wasi::p3::add_to_linker(&mut linker)
                .and_then(|()| wasmtime_wasi_http::p3::add_to_linker(&mut linker)),
            false => Ok(()),
        });
    let linked = linked
        .and_then(|()| names::link(&mut linker, with_wasi_0_3))
        .and_then(|()| bounds::link(&mut linker, with_wasi_0_3))
        .and_then(|()| config::link(&mut linker))
        .and_then(|()| logging::link(&mut linker))
        .and_then(|()| keyvalue::link(&mut linker))
        .and_then(|()| messaging::link(&mut linker));
    linked.map_err(|error| LoadError::Host(format!("link WASI: {error:#}")))?;
    let linked = contract::client::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)
        .and_then(|()| contract::events::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state))
        .and_then(|()| contract::outbox::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state))
        .and_then(|()| contract::store::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state));
    linked.map_err(|error| LoadError::Host(format!("link micro:function: {error:#}")))?;
    Ok(linker)
}

/// The packages whose interfaces every linker holds.
const GIVEN: [&str; 16] = [
    "micro:function/client@0.1",
    "micro:function/events@0.1",
    "micro:function/outbox@0.1",
    "micro:function/store@0.1",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:cli/",
    "wasi:filesystem/",
    "wasi:sockets/",
    "wasi:http/",
    "wasi:config/",
    "wasi:logging/",
    "wasi:keyvalue/",
    "wasi:messaging/types@0.2.0-draft",
    "wasi:messaging/producer@0.2.0-draft",
];

/// The imports of `component` that are from no package that the host gives. Imports of nothing but types need nobody.
pub(crate) fn missing_imports(component: &Component, inspection: &Inspection) -> Vec<String> {
    let engine = component.engine();
    let needs_somebody = |item: ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, export)| !matches!(export.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => false,
        _ => true,
    };
    let ty = component.component_type();
    let is_given = |name: &str| {
        GIVEN.iter().any(|package| name.starts_with(package))
            || inspection.needs.iter().any(|need| *need.interface == *name)
    };
    let imports = ty.imports(engine).filter(|(name, _)| !is_given(name));
    imports.filter_map(|(name, item)| needs_somebody(item.ty).then(|| name.to_string())).collect()
}
