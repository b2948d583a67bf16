//! HTTP requests for the live instances of a service.

use super::{Replicas, ReplicasError};
use micro_engine::actor::WebFailure;
use micro_engine::{Deadline, Scope, WebRequest};

/// Why a request was not served to its end, and the request itself if it was not begun.
pub(in crate::runtime) struct NotServed {
    pub(in crate::runtime) error: ReplicasError,
    pub(in crate::runtime) request: Option<Box<WebRequest>>,
}

impl Replicas {
    /// Serves a request in one of the instances, to the end of what the guest does for it.
    pub(in crate::runtime) async fn serve_web(
        &self,
        scope: Scope,
        mut request: Box<WebRequest>,
        deadline: Deadline,
    ) -> Result<(), NotServed> {
        loop {
            let (actor, _inside) = match self.enter(None, deadline.at).await {
                Ok(entered) => entered,
                Err(error) => return Err(NotServed { error, request: Some(request) }),
            };
            match actor.serve_web(scope.clone(), *request, deadline).await {
                Ok(()) => return Ok(()),
                Err(WebFailure::Failed(error)) => {
                    return Err(NotServed { error: ReplicasError::Call(error), request: None });
                }
                Err(WebFailure::NotBegun(given_back)) => request = given_back,
            }
        }
    }
}
