//! Why a call ended without a reply, from what wasmtime says of it. This is the one place that tells.

use crate::error::CallError;
use crate::limits::{CpuUsedUp, Limiter, REPLY_LIMIT, Refusal, ReplyTooLarge};
use crate::manifest::Limits;
use wasmtime::component::ResourceTableError;
use wasmtime::{Error, PoolConcurrencyLimitError, Trap};

/// The end of what wasmtime says when a guest passes more than [`REPLY_LIMIT`]; the type of that error is private.
const FUEL_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// The error of a call that failed inside the engine. `limiter` is the failed instance's, if it came to be.
pub(crate) fn call_error(error: &Error, limiter: Option<&Limiter>, limits: &Limits) -> CallError {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return CallError::PoolFull;
    }
    if error.downcast_ref::<CpuUsedUp>().is_some() {
        return CallError::Cpu(limits.cpu);
    }
    if error.downcast_ref::<ReplyTooLarge>().is_some() || error.root_cause().to_string().ends_with(FUEL_EXHAUSTED) {
        return CallError::ReplyTooLarge { limit: REPLY_LIMIT };
    }
    // A guest that was refused memory mostly aborts, so the trap itself says nothing of the cause.
    if let Some(error) = limiter.and_then(|limiter| refused(limiter, limits)) {
        return error;
    }
    CallError::Trap { reason: reason(error), backtrace: format!("{error:?}") }
}

/// The error of a call that did not go well after it was refused memory.
pub(crate) fn refused(limiter: &Limiter, limits: &Limits) -> Option<CallError> {
    limiter.refusal().map(|refusal| match refusal {
        Refusal::Own => CallError::Memory { limit: limits.memory },
        Refusal::Host => CallError::HostMemory,
    })
}

/// In a few words that are fit for a caller: no addresses, no paths of the guest's source.
pub(crate) fn reason(error: &Error) -> String {
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return format!("it ended itself with exit code {}", exit.0);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return "it keeps more handles to what the host holds than it may".into();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "it panicked or aborted (unreachable code was reached)".into(),
        Some(Trap::StackOverflow) => "its stack overflowed".into(),
        Some(Trap::CannotEnterComponent) => "it called itself again while it was running".into(),
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    }
}
