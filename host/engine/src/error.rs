//! What can go wrong between wasm bytes and a reply.

use crate::manifest::Limit;
use std::time::Duration;

/// Why a component cannot be deployed. The text is meant for the person who deploys.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are not a component that this host can serve.
    #[error("{0}")]
    Refused(String),
    /// The guest trapped or failed while it was instantiated as a check.
    #[error("the component does not start: {0}")]
    Start(String),
    /// The host could not do its part: disk, memory, pool.
    #[error("{0}")]
    Host(String),
}

/// Why a call gave no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The message does not fit the endpoint's request. The text names the place.
    #[error("{0}")]
    BadRequest(String),
    /// The function returned `err`.
    #[error("{detail}")]
    Guest {
        /// The error's own id, if it carries one.
        id: Option<String>,
        /// The code that the function chose, or 500.
        code: u16,
        /// The error's text, or its JSON.
        detail: String,
    },
    /// The call reached its time limit and was ended.
    #[error("no reply within {}", humantime::format_duration(rounded(*.0)))]
    Timeout(Duration),
    /// The call was on a processor for as long as it may be, and was ended.
    #[error("no reply after {} on a processor", humantime::format_duration(*.0))]
    Cpu(Duration),
    /// The instance reached its memory limit.
    #[error("memory limit of {limit} reached")]
    Memory {
        /// The limit, as people write it.
        limit: bytesize::ByteSize,
    },
    /// All guests together have as much memory as they may have.
    #[error("the host has no more memory for guests")]
    HostMemory,
    /// The reply, or what the guest passed to a host function, is larger than the host takes at once.
    #[error("the reply is larger than {limit}, or what the function passed to the host at once")]
    ReplyTooLarge {
        /// The limit, as people write it.
        limit: bytesize::ByteSize,
    },
    /// The guest trapped. The first text is for the caller, the second (with the guest's backtrace) for the log.
    #[error("the function failed: {reason}")]
    Trap {
        /// In a few words, for the caller.
        reason: String,
        /// With the guest's backtrace, for its log.
        backtrace: String,
    },
    /// The command ended by itself, and not well.
    #[error("the command ended with exit code {code}")]
    Exit {
        /// Anything but 0.
        code: i32,
    },
    /// The instance that the call was in ended, for a reason that lies elsewhere.
    #[error("the instance ended: {0}")]
    Ended(String),
    /// All the instances that the host has room for are busy.
    #[error("no room for another instance")]
    PoolFull,
    /// The host could not do its part.
    #[error("{0}")]
    Host(String),
}

impl CallError {
    /// The limit of the deployment that bit, if it was one.
    pub fn limit(&self) -> Option<Limit> {
        Some(match self {
            CallError::Timeout(_) => Limit::Timeout,
            CallError::Cpu(_) => Limit::Cpu,
            CallError::Memory { .. } => Limit::Memory,
            CallError::ReplyTooLarge { .. } => Limit::Reply,
            _ => return None,
        })
    }
}

/// A time as people say it: what was left of a deadline is never a round number.
fn rounded(time: Duration) -> Duration {
    let milliseconds = time.as_micros().div_ceil(1000);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}
