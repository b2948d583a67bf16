//! Core modules: programs for WASIp1, and what `wit-bindgen` makes that nobody made a component of yet.
//!
//! What is deployed stays what it is, and so does its digest. A component is made of it where one is asked for:
//!
//! - A program runs as it is, with the host's own WASIp1. The component around it only hands the module out, so that one
//!   road leads through compiler, cache and memory. The usual way, an adapter inside of the component, takes a piece of
//!   the program's memory by `memory.grow`, and the allocators of Go, TinyGo and older C libraries believe that nobody but
//!   they do that: they write over it.
//! - A module with types in it becomes the component that they tell. It has `cabi_realloc`, by which the adapter gets
//!   memory that is nobody else's.

use crate::error::LoadError;
use crate::inspect::refused;
use crate::{docs, manifest, proto, section};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use wasi_preview1_component_adapter_provider as adapters;
use wasm_encoder::{
    Component, ComponentExportKind, ComponentExportSection, ComponentSectionId, EntityType, ImportSection, RawSection,
    Section as _,
};
use wasmparser::{ExternalKind, ImportSectionReader, Parser, Payload, TypeRef};
use wit_component::ComponentEncoder;

/// The module that programs import from, and the interface by which they run.
pub(crate) const WASI_P1: &str = adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;

/// The function that runs a program.
pub(crate) const START: &str = "_start";

/// What the component around a program calls it.
pub(crate) const PROGRAM: &str = "program";

/// The memory by which WASI reaches what a program passes.
const MEMORY: &str = "memory";

/// The function by which others get memory of a module.
const REALLOC: &str = "cabi_realloc";

/// The custom sections that are ours, and that a component keeps of the module that it is made from.
const KEPT: [&str; 3] = [manifest::SECTION, docs::SECTION, proto::SECTION];

/// How the custom sections begin in which `wit-bindgen` leaves the types of what a module imports and exports.
const TYPES: &str = "component-type";

/// Imports that an error names; of more it gives the number.
const MOST_NAMED: usize = 8;

/// What bytes are that can be deployed.
#[derive(Debug)]
pub enum Deployable<'b> {
    /// A component, or what becomes one.
    Component(Cow<'b, [u8]>),
    /// A program for WASIp1.
    Program(&'b [u8]),
}

impl<'b> Deployable<'b> {
    /// Tells what the bytes are. Of components only the first few are looked at.
    pub fn read(bytes: &'b [u8]) -> Result<Deployable<'b>, LoadError> {
        if !is_module(bytes) {
            return Ok(Deployable::Component(Cow::Borrowed(bytes)));
        }
        let module = Module::read(bytes)?;
        match module.has_types {
            true => module.typed(bytes).map(|component| Deployable::Component(Cow::Owned(component))),
            false => module.check_program().map(|()| Deployable::Program(bytes)),
        }
    }

    /// The component that is compiled.
    pub(crate) fn into_component(self) -> Result<Cow<'b, [u8]>, LoadError> {
        match self {
            Deployable::Component(component) => Ok(component),
            Deployable::Program(module) => Ok(Cow::Owned(around(&with_own_names(module)?))),
        }
    }
}

/// Whether the bytes begin as those of a core module do.
pub fn is_module(bytes: &[u8]) -> bool {
    Parser::is_core_wasm(bytes)
}

/// A component that holds a module and hands it out.
fn around(module: &[u8]) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data: module });
    let mut exports = ComponentExportSection::new();
    exports.export(PROGRAM, ComponentExportKind::Module, 0, None);
    component.section(&exports);
    component.finish()
}

/// The module with a name of its own for each import, as there has to be inside of a component: Go imports some functions
/// twice. From the second one on it is that of the module which has a number; the linker gives the same for all.
fn with_own_names(module: &[u8]) -> Result<Cow<'_, [u8]>, LoadError> {
    let mut begin = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::ImportSection(section) => {
                let end = section.range().end as usize;
                let (imports, is_changed) = named_imports(section)?;
                let (Some(before), Some(behind), true) = (module.get(..begin), module.get(end..), is_changed) else {
                    break;
                };
                let mut out = before.to_vec();
                imports.append_to(&mut out);
                out.extend_from_slice(behind);
                return Ok(Cow::Owned(out));
            }
            Payload::Version { range, .. } => begin = range.end as usize,
            payload => begin = payload.as_section().map_or(begin, |(_, range)| range.end as usize),
        }
    }
    Ok(Cow::Borrowed(module))
}

/// The imports by their names, and whether some of these are new.
fn named_imports(section: ImportSectionReader<'_>) -> Result<(ImportSection, bool), LoadError> {
    let mut imports = ImportSection::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut is_changed = false;
    for import in section.into_imports() {
        let import = import.map_err(invalid)?;
        let TypeRef::Func(ty) = import.ty else {
            return Err(refused(format!(
                "a core wasm module that imports {}.{}, which is no function: WASIp1 has nothing else",
                import.module, import.name
            )));
        };
        let count = seen.entry(import.name).or_default();
        *count += 1;
        if *count == 1 {
            imports.import(import.module, import.name, EntityType::Function(ty));
        } else {
            is_changed = true;
            imports.import(&format!("{} {count}", import.module), import.name, EntityType::Function(ty));
        }
    }
    Ok((imports, is_changed))
}

/// What a core module shows of itself.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, by itself")]
struct Module<'m> {
    has_start: bool,
    has_memory: bool,
    has_realloc: bool,
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
                        if import.module != WASI_P1 {
                            module.foreign.insert(format!("{}.{}", import.module, import.name));
                        }
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export.map_err(invalid)?;
                        match (export.name, export.kind) {
                            (START, ExternalKind::Func) => module.has_start = true,
                            (REALLOC, ExternalKind::Func) => module.has_realloc = true,
                            (MEMORY, ExternalKind::Memory) => module.has_memory = true,
                            _ => {}
                        }
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

    /// Says why it is no program for WASIp1, if so.
    fn check_program(&self) -> Result<(), LoadError> {
        if !self.has_start {
            return Err(refused(format!(
                "a core wasm module, not a component, and not a program either: it exports no function {START}, and what \
                 it exports has no types that callers could use; build a program for WASIp1, or build for the target \
                 wasm32-wasip2"
            )));
        }
        if !self.foreign.is_empty() {
            let mut names: Vec<&str> = self.foreign.iter().map(String::as_str).take(MOST_NAMED).collect();
            let more = format!("and {} more", self.foreign.len().saturating_sub(MOST_NAMED));
            if self.foreign.len() > MOST_NAMED {
                names.push(&more);
            }
            return Err(refused(format!(
                "a core wasm module that imports what this host does not give:\n  {}\nof core modules only those for \
                 WASIp1 run here, which import from {WASI_P1} alone",
                names.join("\n  ")
            )));
        }
        match self.has_memory {
            true => Ok(()),
            false => Err(refused(format!(
                "a core wasm module that exports {START}, and no memory called {MEMORY}, by which WASI reaches a program"
            ))),
        }
    }

    /// The component that its types tell.
    fn typed(&self, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
        if !self.has_realloc {
            return Err(refused(format!("a core wasm module with types in it that exports no function {REALLOC}")));
        }
        let adapter = match self.has_start {
            true => adapters::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            false => adapters::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        };
        let encoded = ComponentEncoder::default()
            .module(bytes)
            .and_then(|encoder| encoder.adapter(WASI_P1, adapter))
            .and_then(ComponentEncoder::encode);
        let mut component = encoded
            .map_err(|error| refused(format!("a core wasm module that does not become a component: {error:#}")))?;
        for (name, content) in &self.kept {
            component = section::put(&component, name, content).map_err(refused)?;
        }
        Ok(component)
    }
}

fn invalid(error: wasmparser::BinaryReaderError) -> LoadError {
    refused(format!("not a valid core wasm module: {error}"))
}

#[cfg(test)]
mod tests;
