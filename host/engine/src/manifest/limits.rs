//! `[limits]`: what the host binds a deployment to.

use super::duration;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[limits]`: what the host binds a deployment to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Limits {
    /// Of one instance: all its linear memories and tables together.
    pub memory: ByteSize,
    /// Wall time of one call, from the moment it has an instance.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Calls that run at once.
    pub concurrency: u32,
    /// Calls that wait for their turn; the next one is turned away.
    pub queue: u32,
    /// Requests that one instance of a WASI 0.3 HTTP handler serves at most, one after the other.
    pub reuse: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: ByteSize::mib(64), timeout: Duration::from_secs(5), concurrency: 64, queue: 256, reuse: 128 }
    }
}
