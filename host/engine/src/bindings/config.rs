//! `wasi:config`: the values that the manifest and the deployer give, and the secrets that the manifest asks for.

use super::State;
use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

/// The interface under all the names that components know it by: its functions never changed.
pub(super) const INTERFACES: [&str; 4] = [
    "wasi:config/store@0.2.0-rc.1",
    "wasi:config/store@0.2.0-draft",
    // As Spin has it.
    "wasi:config/store@0.2.0-draft-2024-09-27",
    // As it was called before.
    "wasi:config/runtime@0.2.0-draft",
];

/// Why a value cannot be told; here none ever is.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Failure {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

type Answer<T> = std::result::Result<T, Failure>;
type Entries = Vec<(String, String)>;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    for interface in INTERFACES {
        let mut instance = linker.instance(interface)?;
        instance.func_wrap("get", |store, (key,): (String,)| -> Result<(Answer<Option<String>>,)> {
            let config = &store.data().origin.access.granted.config;
            Ok((Ok(config.iter().find(|(own, _)| *own == key).map(|(_, value)| value.clone())),))
        })?;
        instance.func_wrap("get-all", |store, (): ()| -> Result<(Answer<Entries>,)> {
            Ok((Ok(store.data().origin.access.granted.config.clone()),))
        })?;
    }
    Ok(())
}
