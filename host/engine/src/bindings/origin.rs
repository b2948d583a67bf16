//! Calls and requests that go out in the name of a guest.

use super::ID;
use crate::access::{Access, MAX_DEPTH, Scope};
use crate::egress::SendError;
use http::header::HeaderName;
use micro_mesh::{Call, Client, Error, HeaderMap, Payload, Reply};
use std::sync::Arc;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody, WasiHttpHooks};

/// What of the surroundings of a call goes on to others, where the guest says nothing: the trace.
static TRACE: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// Where what an instance does comes from: whose it is, and the call that it works for.
pub(super) struct Origin {
    pub(super) access: Arc<Access>,
    pub(super) scope: Scope,
    /// Whether the guest keeps so many bodies that the next one has little room.
    pub(super) has_many_bodies: bool,
}

/// The response, and the work that is left while its body is read.
type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>), HttpError>;

impl Origin {
    /// A call of another function, with what this one has of its caller: deadline, id, headers.
    pub(super) fn call(&self, service: Arc<str>, endpoint: Arc<str>, payload: Payload) -> Result<Call, Error> {
        let Origin { access, scope, .. } = self;
        if scope.depth >= MAX_DEPTH {
            let detail = format!("{MAX_DEPTH} calls are inside of each other: {service} is not called, this is a loop");
            return Err(Error::new(ID, 508, detail));
        }
        Ok(Call {
            service,
            endpoint,
            query: None,
            header: scope.header.as_ref().map(|header| (**header).clone()).unwrap_or_default(),
            payload,
            deadline: scope.deadline,
            caller: Some(access.service.clone()),
            version: None,
            depth: scope.depth + 1,
            id: scope.id,
            trace: scope.trace,
            delivery: None,
        })
    }

    /// What of the call's trace goes on to others.
    pub(super) fn trace(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let own = self.scope.header.as_deref();
        TRACE.iter().filter_map(move |name| Some((name.as_str(), own?.get(name)?.to_str().ok()?)))
    }

    fn add_trace(&self, header: &mut HeaderMap) {
        let Some(own) = &self.scope.header else { return };
        if header.contains_key(&TRACE[0]) {
            return;
        }
        for name in &TRACE {
            if let Some(value) = own.get(name) {
                header.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Makes a call for a guest. If it fails when the guest's own time is over as well, the guest waits once: whoever called it
/// is told that its time is over, and not what the guest makes of the error.
pub(super) async fn make(client: &Client, call: Call) -> Result<Reply, Error> {
    let deadline = call.deadline;
    let outcome = client.call(call).await;
    if outcome.is_err() && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        tokio::task::yield_now().await;
    }
    outcome
}

/// How much of a response a guest may write before its client has taken any of it: so many pieces of so many bytes. A
/// guest that needs no more is done before the first byte leaves, and takes no room while its client reads.
const PIECES: usize = 15;
const PIECE: usize = 64 * 1024;

/// The same where a guest keeps many bodies: one piece, as large as what it can write at once in any case.
const FEW_PIECES: usize = 1;
const SMALL_PIECE: usize = 4 * 1024;

/// Lets out what the manifest allows.
impl WasiHttpHooks for Origin {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        if self.has_many_bodies { FEW_PIECES } else { PIECES }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        if self.has_many_bodies { SMALL_PIECE } else { PIECE }
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE
    }

    // The client knows better: of HTTP/2 it is no part.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        self.add_trace(request.headers_mut());
        let (access, id, deadline) = (self.access.clone(), self.scope.id, self.scope.deadline);
        Box::new(async move {
            match access.granted.egress.send(request, options, deadline).await {
                // Whoever reads the body drives the connection as well: nothing is left to do beside it.
                Ok(response) => Ok((response, Box::new(async { Ok(()) }) as Box<_>)),
                Err(SendError::Failed(error)) => Err(error),
                Err(SendError::Denied(denial)) => {
                    access.deny(id, &denial);
                    Err(match denial.is_of_address() {
                        true => HttpError::DestinationIpProhibited,
                        false => HttpError::HttpRequestDenied,
                    })
                }
            }
        })
    }
}
