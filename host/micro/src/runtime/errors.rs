//! How a call that failed on the way to its function, or in it, looks to its caller.

use super::gate::TurnedAway;
use bytesize::ByteSize;
use micro_engine::{CallError, LoadError};
use micro_mesh::Error;
use micro_mesh::call::RequestId;
use std::time::Duration;

/// The error of a call to `service` that the engine could not answer. `request` is how its log lines are found.
pub(super) fn call_error(service: &str, request: RequestId, error: CallError) -> Error {
    let with_id = |text: String| format!("{text} (request {request})");
    match error {
        CallError::BadRequest(detail) => Error::bad_request(service, detail),
        CallError::Guest { id, code, detail } => Error::new(id.unwrap_or_else(|| service.into()), code, detail),
        CallError::Timeout(_) | CallError::Cpu(_) => Error::timeout(service, with_id(error.to_string())),
        CallError::PoolFull | CallError::HostMemory | CallError::Ended(_) => {
            Error::unavailable(service, with_id(error.to_string())).again_soon()
        }
        CallError::Memory { .. }
        | CallError::ReplyTooLarge { .. }
        | CallError::Trap { .. }
        | CallError::Exit { .. } => Error::internal(service, with_id(error.to_string())),
        CallError::Host(reason) => {
            tracing::error!(service, %request, "the host failed a call: {reason}");
            Error::internal(service, with_id("the host could not serve this call".into()))
        }
    }
}

/// The error of a call to a service that this host does not have.
pub(super) fn unknown_service(service: &str) -> Error {
    Error::not_found("go.micro.client", format!("service {service}: not found")).again_soon()
}

/// The error of a request whose body is read as it comes, and is larger than it may be.
pub(super) fn body_too_large(service: &str, limit: ByteSize) -> Error {
    Error::new(service, 413, format!("the body is larger than {limit}"))
}

/// The error of a call that found no instance of its service.
pub(super) fn no_instance(service: &str, reason: &str) -> Error {
    Error::unavailable(service, format!("no instance takes calls: {reason}")).again_soon()
}

/// The error of a call that was not let in.
pub(super) fn turned_away(service: &str, reason: TurnedAway) -> Error {
    match reason {
        TurnedAway::QueueFull { queue, again } => {
            Error::too_many(service, format!("too many calls at once: {queue} are waiting already")).again_in(again)
        }
        TurnedAway::TooLate { wait } => {
            let wait_text = humantime::format_duration(Duration::from_millis(wait.as_millis() as u64));
            let detail = format!("too many calls at once: the turn of this one would come in {wait_text}, too late");
            Error::unavailable(service, detail).again_in(wait)
        }
        TurnedAway::WaitedTooLong { patience, again } => {
            let detail = format!("no turn within {}: too many calls at once", humantime::format_duration(patience));
            Error::unavailable(service, detail).again_in(again)
        }
        TurnedAway::CallerLeft => {
            Error::timeout(service, "too many calls at once: the caller's time was over before its turn")
        }
    }
}

/// The error of a message that is larger than its deployment takes.
pub(super) fn request_too_large(service: &str, size: usize, limit: ByteSize) -> Error {
    let detail = format!("the message has {} bytes, more than the {limit} that {service} takes", size);
    Error::new(service, 413, detail)
}

/// The error of a call whose revision could not be loaded.
pub(super) fn load_error(service: &str, request: RequestId, error: &LoadError) -> Error {
    tracing::error!(service, %request, "a revision cannot be loaded: {error}");
    Error::unavailable(service, format!("the deployment cannot be loaded (request {request})")).again_soon()
}
