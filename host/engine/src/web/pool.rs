//! Instances of WASI 0.3 handlers between two requests.
//!
//! An instance serves one request at a time: its log lines, its limits and its failures are then that request's, and who
//! breaks it breaks nobody else's. It is used again because its component was made for it, but no component should come
//! to rely on that, so how often is drawn by lot for each.

use super::{Request, Slot};
use crate::access::Scope;
use crate::engines::lock;
use crate::error::CallError;
use crate::live::Live;
use crate::program::Program;
use micro_mesh::call::random_below;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime_wasi_http::p3::bindings::{Service, ServiceIndices};

/// How long an instance waits for its next request.
const IDLE: Duration = Duration::from_secs(5);

/// How old an instance gets that always has something to do.
const AGE: Duration = Duration::from_secs(300);

/// Between two looks for instances that waited long enough.
const SWEEP: Duration = Duration::from_secs(1);

/// The idle instances of one program.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Idle>>,
    /// Whether a task looks after them.
    is_swept: AtomicBool,
}

/// An instance that can serve more requests.
struct Warm {
    live: Live,
    service: Service,
    /// Requests that it may still serve.
    left: usize,
    born: Instant,
    _room: OwnedSemaphorePermit,
}

/// An idle instance, and the place among those that stay which it takes for as long as it is idle.
struct Idle {
    warm: Warm,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// The last instance to come is the first to go: the others get to be idle for long.
    fn take(&self) -> Option<Warm> {
        lock(&self.idle).pop().map(|idle| idle.warm)
    }

    fn put(self: &Arc<Pool>, warm: Warm, place: OwnedSemaphorePermit) {
        lock(&self.idle).push(Idle { warm, since: Instant::now(), _place: place });
        if !self.is_swept.load(Ordering::Relaxed) && !self.is_swept.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Drops what waited long enough. True when nothing is left.
    fn drop_old(&self) -> bool {
        let now = Instant::now();
        let (is_empty, old) = {
            let mut idle = lock(&self.idle);
            // Sorted by the time of their coming.
            let old = idle.partition_point(|idle| now.duration_since(idle.since) >= IDLE);
            let old: Vec<Idle> = idle.drain(..old).collect();
            if idle.is_empty() {
                // Under the lock, so that who comes next starts another.
                self.is_swept.store(false, Ordering::Relaxed);
            }
            (idle.is_empty(), old)
        };
        drop(old);
        is_empty
    }
}

/// Drops idle instances in time, for as long as there are any.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.drop_old() {
            return;
        }
    }
}

impl Program {
    /// Serves a request in an instance that is idle, or in a new one.
    pub(super) async fn serve_reused(
        &self,
        indices: &ServiceIndices,
        scope: Scope,
        request: Request,
        slot: &Slot,
    ) -> Result<(), CallError> {
        let mut warm = match self.idle.take() {
            Some(mut warm) => {
                warm.live.begin_call(scope);
                warm
            }
            None => self.warm(indices, scope).await?,
        };
        warm.live.handle_03(&warm.service, request, slot).await?;
        warm.left -= 1;
        if warm.left > 0
            && warm.born.elapsed() < AGE
            && let Some(place) = self.lasting.try_take_owned()
        {
            self.idle.put(warm, place);
        }
        Ok(())
    }

    async fn warm(&self, indices: &ServiceIndices, scope: Scope) -> Result<Warm, CallError> {
        let room = self.room.take_owned().await?;
        let mut live = Live::new(self, scope).await?;
        let service = indices.load(&mut live.store, &live.instance);
        let service = service.map_err(|error| CallError::Host(format!("find the handler: {error:#}")))?;
        let left = 1 + random_below(self.limits.reuse.max(1) as usize);
        Ok(Warm { live, service, left, born: Instant::now(), _room: room })
    }
}
