//! Programs for WASIp1: core modules, linked against the host's own WASIp1.

use crate::bindings::State;
use crate::error::LoadError;
use crate::module::{PROGRAM, START, WASI_P1};
use std::borrow::Cow;
use wasmtime::component::{self, ComponentExportIndex};
use wasmtime::{Engine, InstancePre, Linker, Store};

/// What programs import.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>, LoadError> {
    let mut linker = Linker::new(engine);
    let linked = wasmtime_wasi::p1::add_to_linker_async(&mut linker, State::program);
    linked.map_err(|error| LoadError::Host(format!("link WASIp1: {error:#}")))?;
    Ok(linker)
}

/// The program that a component holds, ready to run. `state` is for the moment in which it is handed out.
pub(crate) fn link(
    linker: &Linker<State>,
    holder: &component::InstancePre<State>,
    export: ComponentExportIndex,
    state: State,
) -> Result<InstancePre<State>, LoadError> {
    let mut store = Store::new(holder.engine(), state);
    let instance = holder.instantiate(&mut store);
    let instance = instance.map_err(|error| LoadError::Host(format!("take the program: {error:#}")))?;
    let module = instance.get_module(&mut store, export);
    let module = module.ok_or_else(|| LoadError::Host(format!("the component has no module {PROGRAM}")))?;
    let is_program = |ty: wasmtime::FuncType| ty.params().len() == 0 && ty.results().len() == 0;
    if !module.get_export(START).is_some_and(|ty| ty.func().is_some_and(|ty| is_program(ty.clone()))) {
        return Err(LoadError::Refused(format!(
            "the function {START} takes or gives something, which no program does"
        )));
    }
    let mut linker = Cow::Borrowed(linker);
    // An import that is there more than once got the others' names; see `module`.
    for import in module.imports().filter(|import| import.module() != WASI_P1) {
        let aliased = linker.to_mut().alias(WASI_P1, import.name(), import.module(), import.name());
        aliased.map_err(|error| LoadError::Refused(format!("an import is not one of WASIp1: {error:#}")))?;
    }
    let linked = linker.instantiate_pre(&module);
    linked.map_err(|error| LoadError::Refused(format!("an import is not one of WASIp1: {error:#}")))
}
