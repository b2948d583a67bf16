//! `micro:function/lifecycle`: what a service is told of its own life. Every part of it is optional.

use crate::error::CallError;
use crate::live::Live;
use wasmtime::component::{Component, ComponentExportIndex};

/// The interface, as components export it.
pub(crate) const INTERFACE: &str = "micro:function/lifecycle@0.1.0";

/// Where the functions of the interface are in one component.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    pub(crate) start: Option<ComponentExportIndex>,
    pub(crate) stop: Option<ComponentExportIndex>,
    pub(crate) health: Option<ComponentExportIndex>,
    pub(crate) save: Option<ComponentExportIndex>,
    pub(crate) restore: Option<ComponentExportIndex>,
}

impl Lifecycle {
    pub(crate) fn find(component: &Component) -> Lifecycle {
        let Some(interface) = component.get_export_index(None, INTERFACE) else { return Lifecycle::default() };
        let find = |name: &str| component.get_export_index(Some(&interface), name);
        Lifecycle {
            start: find("start"),
            stop: find("stop"),
            health: find("health"),
            save: find("save"),
            restore: find("restore"),
        }
    }
}

/// What one of these functions says: the inner error is the guest's own, which the instance survives.
pub(crate) type Said<T> = Result<Result<T, String>, CallError>;

impl Live {
    /// Lets the instance begin its work.
    pub(crate) async fn start(&mut self, lifecycle: &Lifecycle) -> Said<()> {
        self.ask(lifecycle.start, "start", ()).await
    }

    /// Asks the instance how it is.
    pub(crate) async fn health(&mut self, lifecycle: &Lifecycle) -> Said<()> {
        self.ask(lifecycle.health, "health", ()).await
    }

    /// Gives the instance what its predecessor saved.
    pub(crate) async fn restore(&mut self, lifecycle: &Lifecycle, state: &[u8]) -> Said<()> {
        self.ask(lifecycle.restore, "restore", (state.to_vec(),)).await
    }

    /// What the successor has to know; none if the component does not say.
    pub(crate) async fn save(&mut self, lifecycle: &Lifecycle) -> Said<Option<Vec<u8>>> {
        let Some(export) = lifecycle.save else { return Ok(Ok(None)) };
        // A state is no reply: it may be as large as the memory that it comes from.
        let fuel = self.store.hostcall_fuel();
        self.store.set_hostcall_fuel(fuel.max(usize::try_from(self.limits.memory.as_u64()).unwrap_or(usize::MAX)));
        let saved = self.call_typed::<(), (Result<Vec<u8>, String>,)>(export, "save", ()).await;
        self.store.set_hostcall_fuel(fuel);
        let (said,) = saved?;
        Ok(said.map(Some))
    }

    /// Tells the instance that it ends.
    pub(crate) async fn stop(&mut self, lifecycle: &Lifecycle) -> Result<(), CallError> {
        match lifecycle.stop {
            Some(export) => self.call_typed::<(), ()>(export, "stop", ()).await,
            None => Ok(()),
        }
    }

    async fn ask<P>(&mut self, export: Option<ComponentExportIndex>, name: &str, params: P) -> Said<()>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower + Send + Sync,
    {
        let Some(export) = export else { return Ok(Ok(())) };
        let (said,) = self.call_typed::<P, (Result<(), String>,)>(export, name, params).await?;
        Ok(said)
    }
}
