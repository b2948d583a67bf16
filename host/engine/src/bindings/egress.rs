//! Requests that a guest sends out by `wasi:http`.

use super::output::CurrentRequest;
use crate::access::{Access, Scope};
use crate::egress::SendError;
use http::header::HeaderName;
use micro_mesh::HeaderMap;
use std::sync::Arc;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// What of the surroundings of a call goes on to others, where the guest says nothing: the trace.
const TRACE: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// Lets out what the manifest allows.
pub(super) struct Outgoing {
    access: Arc<Access>,
    request: Arc<CurrentRequest>,
    deadline: Option<Instant>,
    header: Option<Arc<HeaderMap>>,
}

/// The response, and the work that is left while its body is read.
type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>)>;

impl Outgoing {
    pub(super) fn new(access: Arc<Access>, request: Arc<CurrentRequest>, scope: &Scope) -> Outgoing {
        Outgoing { access, request, deadline: scope.deadline, header: scope.header.clone() }
    }

    /// Works for another call from now on.
    pub(super) fn set_scope(&mut self, scope: &Scope) {
        (self.deadline, self.header) = (scope.deadline, scope.header.clone());
    }

    fn add_trace(&self, header: &mut HeaderMap) {
        let Some(own) = &self.header else { return };
        if header.contains_key(&TRACE[0]) {
            return;
        }
        for name in TRACE {
            if let Some(value) = own.get(&name) {
                header.insert(name, value.clone());
            }
        }
    }
}

/// How much of a response a guest may write before its client has taken any of it: so many pieces of so many bytes. A
/// guest that needs no more is done before the first byte leaves, and takes no room while its client reads.
const PIECES: usize = 15;
const PIECE: usize = 64 * 1024;

impl WasiHttpHooks for Outgoing {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        PIECES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
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
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        self.add_trace(request.headers_mut());
        let (access, id, deadline) = (self.access.clone(), self.request.get(), self.deadline);
        Box::new(async move {
            match access.granted.egress.send(request, options, deadline).await {
                // Whoever reads the body drives the connection as well: nothing is left to do beside it.
                Ok(response) => Ok((response, Box::new(async { Ok(()) }) as Box<_>)),
                Err(SendError::Failed(error)) => Err(error),
                Err(SendError::Denied(denial)) => {
                    access.deny(id, &denial);
                    Err(match denial.is_of_address() {
                        true => Error::DestinationIpProhibited,
                        false => Error::HttpRequestDenied,
                    })
                }
            }
        })
    }
}
