//! Components that take HTTP requests as they are: `wasi:http/incoming-handler` of WASI 0.2 and `wasi:http/handler` of 0.3.
//!
//! A 0.2 guest gets a fresh instance for each request. One of 0.3 is made to be used again: an instance serves one request
//! at a time and then waits for the next, a random number of them, see [`pool`]. As a service either lives on, see
//! [`crate::actor`].

mod errors;
mod handle;
pub(crate) mod pool;
mod respond;
mod slot;
mod upload;
mod watch;

pub use respond::{Body, Cut, Leaving, NoResponse, respond};
pub use slot::Slot;
pub use watch::SILENCE;

pub(crate) use handle::{Handler, Request, handle_03};
pub(crate) use watch::{Bounds, watch};

use crate::access::Scope;
use crate::error::CallError;
use crate::inspect::Web;
use crate::program::{Deadline, Program};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use std::pin::pin;
use std::sync::Arc;
use wasmtime_wasi_http::WasiBody;

pub(crate) type WasiResponse = http::Response<WasiBody>;

/// A request for a guest.
#[derive(Debug)]
pub struct WebRequest {
    request: Request,
    slot: Arc<Slot>,
}

impl WebRequest {
    /// A request with an absolute URI. What its body may have is told by who serves it.
    pub fn new<B>(request: http::Request<B>) -> WebRequest
    where
        B: http_body::Body<Data = Bytes, Error: std::fmt::Display> + Send + Unpin + 'static,
    {
        let slot = Arc::<Slot>::default();
        let request = request.map(|body| upload::upload(body, &slot));
        WebRequest { request, slot }
    }

    /// What it asks to be done.
    pub fn method(&self) -> &http::Method {
        self.request.method()
    }

    /// What it says beside its body.
    pub fn headers(&self) -> &http::HeaderMap {
        self.request.headers()
    }

    /// Lets the body have so many bytes; false if it says itself that it has more.
    pub fn limit_body(&self, bytes: u64) -> bool {
        self.slot.set_most(bytes);
        let length = self.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > bytes) {
            self.slot.set_too_large();
        }
        !self.slot.is_too_large()
    }

    /// Where its response appears.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(crate) fn into_parts(self) -> (Request, Arc<Slot>) {
        (self.request, self.slot)
    }
}

impl Program {
    /// How the component takes HTTP requests as they are, if it does.
    pub fn web(&self) -> Option<Web> {
        self.handler.as_ref().map(Handler::kind)
    }

    /// Serves a request in an instance of a function, to the guest's end. The response appears in the request's slot.
    pub async fn serve_web(
        self: &Arc<Program>,
        scope: Scope,
        request: WebRequest,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let (request, slot) = request.into_parts();
        let handler = self.handler.as_ref().ok_or_else(|| CallError::Host("no HTTP handler is exported".into()))?;
        let guest = pin!(async {
            match handler {
                Handler::Wasi02(export) => self.serve_fresh(*export, scope, request, &slot).await,
                Handler::Wasi03(indices) => self.serve_reused(indices, scope, request, &slot).await,
            }
        });
        watch(&slot, deadline, Some(&self.lasting), guest).await
    }
}
