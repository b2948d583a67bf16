//! The two engines and what they share: the pool of instances, the clock that ends what runs too long, the compile cache.
//!
//! *Lean* runs without support for component-model async, which makes a call nearly twice as fast; *concurrent* has it.
//! Which one runs a component is told by inspection.

use crate::bindings::{self, State};
use crate::cache::Cache;
pub use crate::cache::CacheReport;
use crate::command;
use crate::error::{CallError, LoadError};
use crate::fair;
use crate::inspect::EngineKind;
use crate::limits::TABLE_ELEMENTS;
use crate::loaded::{Code, Loaded, LoadedReport};
use crate::module::Deployable;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often running guests are asked to make room for others. A guest that spins loses its thread this often.
pub const EPOCH: Duration = Duration::from_millis(10);

/// Instances that one engine may hold at once, tried in turn: the address space may be limited.
const POOL_SIZES: [u32; 5] = [4096, 1024, 256, 64, 16];

/// Instances at once where there is no pool.
const UNPOOLED_INSTANCES: usize = 64;

/// Of one component: languages that bring an interpreter are linked from more than a hundred core instances.
const CORE_INSTANCES_PER_COMPONENT: u32 = 256;

/// Of one component. Most have one; those that are composed of others have one for each.
const MEMORIES_PER_COMPONENT: u32 = 32;

/// Tables that the pool has for each of its places: one of a component, and those of what is linked around it.
const TABLES_PER_PLACE: u32 = 4;

/// Memory of a freed slot that stays mapped, so that the next call finds it warm.
const KEEP_MEMORY: usize = 1024 * 1024;
/// The same for tables, and for the stacks that guests run on.
const KEEP_TABLE: usize = 64 * 1024;
const KEEP_STACK: usize = 64 * 1024;

/// Both engines, ready to compile, load and run.
pub struct Engines {
    lean: Side,
    concurrent: Side,
    pub(crate) cache: Cache,
    loaded: Arc<Loaded>,
    ticker: Ticker,
}

/// One engine with everything it needs to make instances.
pub(crate) struct Side {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    /// For the core modules that are programs.
    pub(crate) programs: wasmtime::Linker<State>,
    pub(crate) kind: EngineKind,
    /// One permit per place of the pool, see [`Places`]: a call waits for room instead of failing.
    pub(crate) room: Arc<Semaphore>,
    /// The part of it that instances may take which stay: the rest is for calls that come and go.
    pub(crate) lasting: Arc<Semaphore>,
    pool: Option<u32>,
}

/// Places of a pool, as the instances of one component take them: as many at once as it has memories, so that those with
/// many leave none to others that have a place and no memory.
#[derive(Clone)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    weight: u32,
}

/// What the probes at the start found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// `lean` or `concurrent`.
    pub engine: &'static str,
    /// Instances that the pool holds; none when instances are made on demand because no pool could be had.
    pub pool: Option<u32>,
    /// Whether the kernel tells which pages a guest touched (Linux 6.7), so that only those are cleaned.
    pub pagemap_scan: bool,
}

/// How full an engine is.
#[derive(Debug, Clone, Copy)]
pub struct PoolReport {
    /// `lean` or `concurrent`.
    pub engine: &'static str,
    /// Instances that may live at once. One with several memories stands for as many.
    pub places: usize,
    /// Those that live now.
    pub used: usize,
}

impl Engines {
    /// Makes both engines. `cache_folder` holds compiled code, `key_file` the secret that makes it valid.
    pub fn new(cache_folder: &Path, key_file: &Path) -> Result<Engines, LoadError> {
        let lean = Side::new(EngineKind::Lean)?;
        let concurrent = Side::new(EngineKind::Concurrent)?;
        let cache = Cache::open(cache_folder, key_file)?;
        let ticker = Ticker::start([lean.engine.clone(), concurrent.engine.clone()])?;
        Ok(Engines { lean, concurrent, cache, loaded: Arc::default(), ticker })
    }

    /// What the probes found, for each engine.
    pub fn report(&self) -> [Report; 2] {
        [&self.lean, &self.concurrent].map(|side| Report {
            engine: side.kind.as_str(),
            pool: side.pool,
            pagemap_scan: side.pool.is_some() && PoolingAllocationConfig::is_pagemap_scan_available(),
        })
    }

    /// What the compile cache was good for.
    pub fn cache_report(&self) -> CacheReport {
        self.cache.report()
    }

    /// How full each engine is.
    pub fn pool_report(&self) -> [PoolReport; 2] {
        [&self.lean, &self.concurrent].map(|side| {
            let places = side.places();
            let used = places.saturating_sub(side.room.available_permits());
            PoolReport { engine: side.kind.as_str(), places, used }
        })
    }

    pub(crate) fn side(&self, kind: EngineKind) -> &Side {
        match kind {
            EngineKind::Lean => &self.lean,
            EngineKind::Concurrent => &self.concurrent,
        }
    }

    /// Compiles a component, or takes it from the cache; deployments of the same bytes share it. `bytes` is only asked for when there is something to compile.
    pub(crate) fn component(
        &self,
        kind: EngineKind,
        digest: &str,
        bytes: impl FnOnce() -> std::io::Result<Vec<u8>>,
    ) -> Result<Arc<Code>, LoadError> {
        let engine = &self.side(kind).engine;
        self.loaded.get(kind, digest, || self.compiled(engine, kind, digest, bytes))
    }

    /// Whether a component can be loaded at once, because little has to be read from the cache for it.
    pub fn is_at_hand(&self, kind: EngineKind, digest: &str) -> bool {
        self.cache.has_little(&self.side(kind).engine, kind, digest)
    }

    /// What is in memory.
    pub fn loaded(&self) -> LoadedReport {
        self.loaded.report()
    }

    /// A clock that costs nothing to read: the epochs since the engines were made.
    pub fn epochs(&self) -> u64 {
        self.ticker.epochs.load(Ordering::Relaxed)
    }

    fn compiled(
        &self,
        engine: &Engine,
        kind: EngineKind,
        digest: &str,
        bytes: impl FnOnce() -> std::io::Result<Vec<u8>>,
    ) -> Result<Component, LoadError> {
        if let Some(component) = self.cache.get(engine, kind, digest) {
            return Ok(component);
        }
        let bytes = bytes().map_err(|error| LoadError::Host(format!("read component {digest}: {error}")))?;
        let component = Deployable::read(&bytes)?.into_component()?;
        let began = Instant::now();
        let component = Component::from_binary(engine, &component)
            .map_err(|error| LoadError::Refused(format!("the component does not compile: {error:#}")))?;
        self.cache.missed(began.elapsed());
        self.cache.put(engine, kind, digest, &component);
        Ok(component)
    }

    /// Forgets the compiled code of a component that no revision needs any more.
    pub fn forget(&self, digest: &str) {
        for side in [&self.lean, &self.concurrent] {
            self.cache.remove(&side.engine, side.kind, digest);
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Engines")
            .field("reports", &self.report())
            .field("ticker", &self.ticker)
            .finish_non_exhaustive()
    }
}

impl Side {
    fn new(kind: EngineKind) -> Result<Side, LoadError> {
        let (engine, pool) = engine(kind)?;
        let linker = bindings::linker(&engine, kind == EngineKind::Concurrent)?;
        let programs = command::program::linker(&engine)?;
        let places = places(pool);
        let lasting = Arc::new(Semaphore::new(lasting(places)));
        Ok(Side { engine, linker, programs, kind, room: Arc::new(Semaphore::new(places)), lasting, pool })
    }

    fn places(&self) -> usize {
        places(self.pool)
    }

    /// The room that an instance of a component needs, and the part of it for one that stays.
    pub(crate) fn places_of(&self, component: &Component) -> [Places; 2] {
        let weight = component.resources_required().map_or(1, |needed| weight(needed.num_memories, needed.num_tables));
        [&self.room, &self.lasting].map(|all| Places { all: all.clone(), weight })
    }
}

/// The places of the pool that an instance takes.
fn weight(memories: u32, tables: u32) -> u32 {
    memories.max(tables.div_ceil(TABLES_PER_PLACE)).max(1)
}

impl Places {
    /// Takes what one instance needs, if it is there now.
    pub(crate) fn try_take(&self) -> Option<SemaphorePermit<'_>> {
        self.all.try_acquire_many(self.weight).ok()
    }

    /// As [`Places::try_take`], for an instance that goes elsewhere.
    pub(crate) fn try_take_owned(&self) -> Option<OwnedSemaphorePermit> {
        self.all.clone().try_acquire_many_owned(self.weight).ok()
    }

    /// Waits for what one instance needs.
    pub(crate) async fn take(&self) -> Result<SemaphorePermit<'_>, CallError> {
        self.all.acquire_many(self.weight).await.map_err(|_| CallError::PoolFull)
    }

    /// As [`Places::take`], for an instance that goes elsewhere.
    pub(crate) async fn take_owned(&self) -> Result<OwnedSemaphorePermit, CallError> {
        self.all.clone().acquire_many_owned(self.weight).await.map_err(|_| CallError::PoolFull)
    }
}

/// Instances that may live at once.
fn places(pool: Option<u32>) -> usize {
    pool.map_or(UNPOOLED_INSTANCES, |size| size as usize)
}

/// Those of them for instances that stay. No component may need more.
fn lasting(places: usize) -> usize {
    places * 3 / 4
}

/// An engine with the largest pool that fits the address space, or one that makes instances on demand.
fn engine(kind: EngineKind) -> Result<(Engine, Option<u32>), LoadError> {
    for size in POOL_SIZES {
        let mut config = config(kind);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(size)));
        match Engine::new(&config) {
            Ok(engine) => return Ok((engine, Some(size))),
            Err(error) => tracing::debug!(engine = kind.as_str(), size, "no pool of this size: {error:#}"),
        }
    }
    tracing::warn!(engine = kind.as_str(), "no instance pool fits the address space; instances are made on demand");
    let engine = Engine::new(&config(kind)).map_err(|error| LoadError::Host(format!("start wasmtime: {error:#}")))?;
    Ok((engine, None))
}

fn config(kind: EngineKind) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.wasm_component_model_map(true);
    config.wasm_component_model_fixed_length_lists(true);
    config.concurrency_support(kind == EngineKind::Concurrent);
    config.wasm_component_model_async(kind == EngineKind::Concurrent);
    config
}

fn pool(size: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(size);
    pool.total_stacks(size);
    // A component takes places by its memories and tables, so these are there for whoever has a place. Core instances are
    // only counted: their bound is that of each component.
    let most = u32::try_from(lasting(size as usize)).unwrap_or(u32::MAX);
    pool.total_memories(size);
    pool.total_tables(size.saturating_mul(TABLES_PER_PLACE));
    pool.total_core_instances(size.saturating_mul(CORE_INSTANCES_PER_COMPONENT));
    pool.max_memories_per_component(MEMORIES_PER_COMPONENT.min(most));
    pool.max_tables_per_component(CORE_INSTANCES_PER_COMPONENT.min(most.saturating_mul(TABLES_PER_PLACE)));
    pool.max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT);
    pool.max_tables_per_module(8);
    pool.table_elements(TABLE_ELEMENTS);
    pool.max_core_instance_size(4 * 1024 * 1024);
    pool.max_component_instance_size(8 * 1024 * 1024);
    pool.linear_memory_keep_resident(KEEP_MEMORY);
    pool.table_keep_resident(KEEP_TABLE);
    pool.async_stack_keep_resident(KEEP_STACK);
    pool.pagemap_scan(Enabled::Auto);
    pool
}

/// Advances the engines' clocks until it is dropped.
#[derive(Debug)]
struct Ticker {
    stop: Arc<AtomicBool>,
    epochs: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    #[expect(clippy::disallowed_methods, reason = "the thread that sleeps has nothing else to do")]
    fn start(engines: [Engine; 2]) -> Result<Ticker, LoadError> {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = stop.clone();
        let epochs = Arc::new(AtomicU64::new(0));
        let count = epochs.clone();
        let tick = move || {
            while !is_stopped.load(Ordering::Relaxed) {
                std::thread::sleep(EPOCH);
                fair::tick();
                engines.iter().for_each(Engine::increment_epoch);
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("micro-epoch".into()).spawn(tick);
        let thread = thread.map_err(|error| LoadError::Host(format!("start the epoch thread: {error}")))?;
        Ok(Ticker { stop, epochs, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread has nothing to say but that it ended.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_takes_a_place_for_each_of_its_memories() {
        assert_eq!(weight(0, 0), 1);
        assert_eq!(weight(1, 4), 1);
        assert_eq!(weight(1, 5), 2);
        assert_eq!(weight(20, 4), 20);
        for size in POOL_SIZES {
            let pool = pool(size);
            let most = weight(pool.get_max_memories_per_component(), pool.get_max_tables_per_component());
            assert!(most as usize <= lasting(size as usize), "{size}: an instance that stays can have a place");
        }
    }
}
