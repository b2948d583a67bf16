//! What binds the deployments of a host, one by one and all together.

use micro_engine::manifest::HostLimits;
use micro_engine::{GuestMemory, Usage};
use std::sync::Arc;

/// What a host gives to its guests.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// To each deployment.
    pub limits: HostLimits,
    /// To all instances of all deployments together.
    pub memory: Arc<GuestMemory>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds::new(HostLimits::default(), u64::MAX)
    }
}

impl Bounds {
    /// Of a host whose guests may have `memory` bytes together.
    pub fn new(limits: HostLimits, memory: u64) -> Bounds {
        Bounds { limits, memory: Arc::new(GuestMemory::new(memory)) }
    }

    /// The account of one more deployment.
    pub(super) fn usage(&self) -> Usage {
        Usage::new(self.memory.clone())
    }
}
