//! Whether a component needs the engine with component-model async.

use super::refused;
use crate::error::LoadError;
use wasmparser::{CanonicalFunction, CanonicalOption, Payload};
use wit_parser::{Function, FunctionKind, InterfaceId, Resolve, TypeDefKind, WorldId, WorldItem};

/// Whether the binary lifts or lowers asynchronously anywhere, or uses one of the async built-ins.
pub(super) fn uses_async(bytes: &[u8]) -> Result<bool, LoadError> {
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| refused(format!("not a wasm component: {error}")))?;
        let Payload::ComponentCanonicalSection(section) = payload else { continue };
        for function in section {
            let function = function.map_err(|error| refused(format!("not a valid component: {error}")))?;
            let is_async = match function {
                CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
                    options.iter().any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)))
                }
                CanonicalFunction::ResourceNew { .. }
                | CanonicalFunction::ResourceDrop { .. }
                | CanonicalFunction::ResourceRep { .. } => false,
                _ => true,
            };
            if is_async {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether the component imports something of WASI 0.3, which only the concurrent engine gives: not all of it is async.
pub(super) fn imports_wasi_0_3(imports: &[String]) -> bool {
    let is_0_3 = |version: &str| version == "0.3" || version.starts_with("0.3.");
    let mut versions = imports.iter().filter(|name| name.starts_with("wasi:")).filter_map(|name| name.split_once('@'));
    versions.any(|(_, version)| is_0_3(version))
}

/// Whether the world's own types speak of async functions, streams or futures.
pub(super) fn mentions_async(resolve: &Resolve, world: WorldId) -> bool {
    let world = &resolve.worlds[world];
    world.imports.values().chain(world.exports.values()).any(|item| match item {
        WorldItem::Function(function) => is_async(function),
        WorldItem::Interface { id, .. } => interface_mentions_async(resolve, *id),
        WorldItem::Type { .. } => false,
    })
}

fn interface_mentions_async(resolve: &Resolve, id: InterfaceId) -> bool {
    let interface = &resolve.interfaces[id];
    let has_stream = |id| matches!(resolve.types[id].kind, TypeDefKind::Stream(_) | TypeDefKind::Future(_));
    interface.functions.values().any(is_async) || interface.types.values().copied().any(has_stream)
}

fn is_async(function: &Function) -> bool {
    matches!(
        function.kind,
        FunctionKind::AsyncFreestanding | FunctionKind::AsyncMethod(_) | FunctionKind::AsyncStatic(_)
    )
}
