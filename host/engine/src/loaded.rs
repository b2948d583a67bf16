//! The compiled components that are in memory: each once, however many deployments run it, and counted for as long as
//! anything holds it.

use crate::engines::lock;
use crate::error::LoadError;
use crate::inspect::EngineKind;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use wasmtime::component::Component;

/// What a loaded component holds beside its image: types, linked imports, tables of what can be called. Measured by the
/// kernel's count over thousands of components: 14 KiB with an image of 19 KiB, and 55 KiB with one of 216 KiB.
const BESIDE: u64 = 10 * 1024;
/// And for each so many bytes of the image another one.
const IMAGE_PER_BYTE: u64 = 5;

/// Components in memory, by engine and digest.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    places: Mutex<HashMap<Key, Place>>,
    components: AtomicU64,
    bytes: AtomicU64,
    loads: AtomicU64,
    unloads: AtomicU64,
}

type Key = (EngineKind, Arc<str>);

/// Each has a lock of its own: who comes for one that is being loaded waits and shares it, and keeps nobody else waiting.
type Place = Arc<Mutex<Weak<Code>>>;

/// What the host's loaded components come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LoadedReport {
    /// Components in memory.
    pub components: u64,
    /// Bytes that they hold, about.
    pub bytes: u64,
    /// Components that were loaded since the start, from the compile cache or from the compiler.
    pub loads: u64,
    /// Components that went again.
    pub unloads: u64,
}

/// A component in memory. The last who holds it takes it out of the books.
pub(crate) struct Code {
    component: Component,
    bytes: u64,
    key: Key,
    loaded: Arc<Loaded>,
}

impl Loaded {
    /// The component if it is in memory, or what `load` makes; those who ask at the same time share it.
    pub(crate) fn get(
        self: &Arc<Self>,
        kind: EngineKind,
        digest: &str,
        load: impl FnOnce() -> Result<Component, LoadError>,
    ) -> Result<Arc<Code>, LoadError> {
        let key: Key = (kind, digest.into());
        let place = lock(&self.places).entry(key.clone()).or_default().clone();
        let found = {
            let mut code = lock(&place);
            match code.upgrade() {
                Some(known) => Ok(known),
                None => load().map(|component| {
                    let new = Arc::new(Code::new(component, key.clone(), self.clone()));
                    *code = Arc::downgrade(&new);
                    new
                }),
            }
        };
        drop(place);
        if found.is_err() {
            self.leave(&key);
        }
        found
    }

    pub(crate) fn report(&self) -> LoadedReport {
        LoadedReport {
            components: self.components.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            loads: self.loads.load(Ordering::Relaxed),
            unloads: self.unloads.load(Ordering::Relaxed),
        }
    }

    /// Gives up a place that nobody is at.
    fn leave(&self, key: &Key) {
        let mut places = lock(&self.places);
        let is_empty = |place: &Place| Arc::strong_count(place) == 1 && lock(place).strong_count() == 0;
        if places.get(key).is_some_and(is_empty) {
            places.remove(key);
        }
    }
}

impl Code {
    fn new(component: Component, key: Key, loaded: Arc<Loaded>) -> Code {
        let image = component.image_range();
        let image = (image.end.addr() - image.start.addr()) as u64;
        let bytes = image + image / IMAGE_PER_BYTE + BESIDE;
        loaded.components.fetch_add(1, Ordering::Relaxed);
        loaded.bytes.fetch_add(bytes, Ordering::Relaxed);
        loaded.loads.fetch_add(1, Ordering::Relaxed);
        Code { component, bytes, key, loaded }
    }

    /// What it holds, in bytes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Deref for Code {
    type Target = Component;

    fn deref(&self) -> &Component {
        &self.component
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.loaded.components.fetch_sub(1, Ordering::Relaxed);
        self.loaded.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.loaded.unloads.fetch_add(1, Ordering::Relaxed);
        self.loaded.leave(&self.key);
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Code").field("key", &self.key).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::Engine;

    fn component() -> Component {
        let bytes = wasm_encoder::Component::new().finish();
        Component::from_binary(&Engine::default(), &bytes).unwrap()
    }

    #[test]
    fn a_component_is_loaded_once_and_counted_until_the_last_lets_go() {
        let loaded = Arc::new(Loaded::default());
        let get = || loaded.get(EngineKind::Lean, "sha256:1", || Ok(component())).unwrap();
        let (one, other) = (get(), get());
        assert!(Arc::ptr_eq(&one, &other));
        let report = loaded.report();
        assert_eq!((report.components, report.loads, report.unloads), (1, 1, 0));
        assert_eq!(report.bytes, one.bytes());
        drop(one);
        assert_eq!(loaded.report().components, 1);
        drop(other);
        let report = loaded.report();
        assert_eq!((report.components, report.bytes, report.loads, report.unloads), (0, 0, 1, 1));
        assert!(lock(&loaded.places).is_empty());
        drop(get());
        assert_eq!(loaded.report().loads, 2);
    }

    #[test]
    fn what_cannot_be_loaded_leaves_nothing() {
        let loaded = Arc::new(Loaded::default());
        let refused = loaded.get(EngineKind::Lean, "sha256:1", || Err(LoadError::Refused("no".into())));
        assert!(refused.is_err() && lock(&loaded.places).is_empty());
    }
}
