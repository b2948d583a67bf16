//! Core modules for WASIp1 → components, by the adapter that stands for the interfaces which they import.
//!
//! What runs here, and what a digest speaks of, is the component: the adapter is a part of it, so that a revision stays
//! what it was when a later host brings another one.

use crate::error::LoadError;
use crate::inspect::refused;
use crate::{docs, manifest, proto, section};
use std::borrow::Cow;
use std::collections::BTreeSet;
use wasi_preview1_component_adapter_provider as adapters;
use wasmparser::{ExternalKind, Parser, Payload};
use wit_component::ComponentEncoder;

/// The custom sections that are ours, and that a component keeps of the module that it is made from.
const KEPT: [&str; 3] = [manifest::SECTION, docs::SECTION, proto::SECTION];

/// How the custom sections begin in which `wit-bindgen` leaves the types of what a module imports and exports.
const TYPES: &str = "component-type";

/// The function that runs a program.
const START: &str = "_start";

/// The memory by which WASI reaches what a program passes.
const MEMORY: &str = "memory";

/// Imports that an error names; of more it gives the number.
const MOST_NAMED: usize = 8;

/// The component that these bytes stand for: made from a core module, and else the bytes as they are.
pub fn as_component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, LoadError> {
    if !Parser::is_core_wasm(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    let module = Module::read(bytes)?;
    let adapter = module.adapter()?;
    let encoded = ComponentEncoder::default()
        .module(bytes)
        .and_then(|encoder| encoder.adapter(adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(ComponentEncoder::encode);
    let mut component =
        encoded.map_err(|error| refused(format!("a core wasm module that does not become a component: {error:#}")))?;
    for (name, content) in module.kept {
        component = section::put(&component, name, content).map_err(refused)?;
    }
    Ok(Cow::Owned(component))
}

/// The same for bytes that the host will look at: it tells what is wrong with those that stay as they are.
pub fn to_component(bytes: Vec<u8>) -> Vec<u8> {
    match as_component(&bytes) {
        Ok(Cow::Owned(component)) => component,
        Ok(Cow::Borrowed(_)) | Err(_) => bytes,
    }
}

/// What a core module shows of itself.
#[derive(Default)]
struct Module<'m> {
    has_start: bool,
    has_memory: bool,
    has_types: bool,
    /// What it imports from elsewhere than WASIp1.
    foreign: BTreeSet<String>,
    /// Our own sections.
    kept: Vec<(&'m str, &'m [u8])>,
}

impl<'m> Module<'m> {
    fn read(bytes: &'m [u8]) -> Result<Module<'m>, LoadError> {
        let mut module = Module::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(invalid)? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.map_err(invalid)?;
                        if import.module != adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME {
                            module.foreign.insert(format!("{}.{}", import.module, import.name));
                        }
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export.map_err(invalid)?;
                        module.has_start |= export.name == START && export.kind == ExternalKind::Func;
                        module.has_memory |= export.name == MEMORY && export.kind == ExternalKind::Memory;
                    }
                }
                Payload::CustomSection(custom) if custom.name().starts_with(TYPES) => module.has_types = true,
                Payload::CustomSection(custom) if KEPT.contains(&custom.name()) => {
                    module.kept.push((custom.name(), custom.data()));
                }
                _ => {}
            }
        }
        Ok(module)
    }

    /// The adapter that makes a component of it, if one does.
    fn adapter(&self) -> Result<&'static [u8], LoadError> {
        // Imports whose types are there are told by them.
        if !self.has_types && !self.foreign.is_empty() {
            let mut names: Vec<&str> = self.foreign.iter().map(String::as_str).take(MOST_NAMED).collect();
            let more = format!("and {} more", self.foreign.len().saturating_sub(MOST_NAMED));
            if self.foreign.len() > MOST_NAMED {
                names.push(&more);
            }
            return Err(refused(format!(
                "a core wasm module that imports what this host does not give:\n  {}\nof core modules only those for \
                 WASIp1 run here, which import from {} alone",
                names.join("\n  "),
                adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME
            )));
        }
        match (self.has_start, self.has_types) {
            (true, _) if !self.has_memory => Err(refused(format!(
                "a core wasm module that exports {START}, and no memory called {MEMORY}, by which WASI reaches a program"
            ))),
            (true, _) => Ok(adapters::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER),
            (false, true) => Ok(adapters::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER),
            (false, false) => Err(refused(
                "a core wasm module, not a component, and not a program either: it exports no function _start, and what \
                 it exports has no types that callers could use; build a program for WASIp1, or build for the target \
                 wasm32-wasip2",
            )),
        }
    }
}

fn invalid(error: wasmparser::BinaryReaderError) -> LoadError {
    refused(format!("not a valid core wasm module: {error}"))
}

#[cfg(test)]
mod tests;
