//! How a handler is called.

use super::Slot;
use super::errors;
use crate::access::Scope;
use crate::bindings::State;
use crate::error::{CallError, LoadError};
use crate::fair::fair;
use crate::inspect::{Inspection, Web};
use crate::live::Live;
use crate::program::{Program, lost};
use std::future::poll_fn;
use std::sync::Arc;
use wasmtime::component::{Accessor, Component, ComponentExportIndex, InstancePre, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::p3::bindings::{Service, ServiceIndices};
use wasmtime_wasi_http::{FieldMap, WasiBody, WasiHttpView as _, p3};

pub(crate) type Request = http::Request<WasiBody>;

/// The function of that name in both versions.
const HANDLE: &str = "handle";

/// Where a component's handler is.
pub(crate) enum Handler {
    Wasi02(ComponentExportIndex),
    Wasi03(Box<ServiceIndices>),
}

impl Handler {
    pub(crate) fn find(
        component: &Component,
        pre: &InstancePre<State>,
        inspection: &Inspection,
    ) -> Result<Option<Handler>, LoadError> {
        let Some((interface, web)) = inspection.web_interface().zip(inspection.web) else { return Ok(None) };
        Ok(Some(match web {
            Web::Wasi02 => {
                let index = component.get_export_index(None, interface);
                let handle = index.and_then(|index| component.get_export_index(Some(&index), HANDLE));
                Handler::Wasi02(handle.ok_or_else(|| lost(interface))?)
            }
            Web::Wasi03 => Handler::Wasi03(Box::new(ServiceIndices::new(pre).map_err(|error| {
                LoadError::Refused(format!("{interface} is not the one that this host calls: {error:#}"))
            })?)),
        }))
    }

    pub(crate) fn kind(&self) -> Web {
        match self {
            Handler::Wasi02(_) => Web::Wasi02,
            Handler::Wasi03(_) => Web::Wasi03,
        }
    }
}

impl Program {
    /// Serves a request in an instance that nobody had before.
    pub(super) async fn serve_fresh(
        &self,
        handle: ComponentExportIndex,
        scope: Scope,
        request: Request,
        slot: &Arc<Slot>,
    ) -> Result<(), CallError> {
        let _room = self.room.take().await?;
        let mut live = Live::new(self, scope).await?;
        live.handle_02(handle, request, slot).await
    }
}

impl Live {
    /// Lets a handler of WASI 0.2 serve a request. It returns when the guest is done, which may be long after its
    /// response began.
    pub(crate) async fn handle_02(
        &mut self,
        handle: ComponentExportIndex,
        request: Request,
        slot: &Arc<Slot>,
    ) -> Result<(), CallError> {
        let params = {
            let mut http = self.store.data_mut().http();
            let told = slot.clone();
            let respond = move |response: Result<_, _>| told.tell(response.map_err(|code| errors::said(&code)));
            let request = http.new_incoming_request(Scheme::Http, request);
            request.and_then(|request| Ok((request, http.new_response_outparam_from_callback(respond)?)))
        };
        let params = params.map_err(|error| CallError::Host(format!("pass the request: {error:#}")))?;
        let func = self.func(handle, HANDLE)?;
        let func = func.typed::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(&self.store);
        let func = func.map_err(|error| CallError::Host(format!("{HANDLE}: {error:#}")))?;
        match fair(self.store.data().is_long(), func.call_async(&mut self.store, params)).await {
            Ok(()) => errors::answered(slot),
            Err(error) if errors::is_good_exit(&error) => errors::answered(slot),
            Err(error) => {
                // Before the store goes, and the rest of the body with it.
                slot.cut();
                Err(self.failed(&error))
            }
        }
    }

    /// Lets a handler of WASI 0.3 serve a request, until it has nothing left to do.
    pub(crate) async fn handle_03(
        &mut self,
        service: &Service,
        request: Request,
        slot: &Slot,
    ) -> Result<(), CallError> {
        let run = fair(
            self.store.data().is_long(),
            self.store.run_concurrent(async |accessor| {
                handle_03(accessor, service, request, slot).await?;
                poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
                // What of the body passes from host to host, as trailers that the guest hands on, does so in its store.
                slot.over().await;
                wasmtime::Result::Ok(())
            }),
        );
        match run.await.and_then(|ended| ended) {
            Ok(()) => Ok(()),
            Err(error) => {
                // As above.
                slot.cut();
                Err(self.failed(&error))
            }
        }
    }
}

/// Calls a handler of WASI 0.3, and gives its response to the slot. What the guest does after that goes on in its store.
pub(crate) async fn handle_03(
    accessor: &Accessor<State>,
    service: &Service,
    request: Request,
    slot: &Slot,
) -> wasmtime::Result<()> {
    let (head, body) = request.into_parts();
    let headers = accessor.with(|mut access| FieldMap::new_immutable(access.get().http().hooks, head.headers));
    let uri = head.uri.into_parts();
    let (request, sent) =
        p3::Request::new(head.method, uri.scheme, uri.authority, uri.path_and_query, headers, None, body);
    let response = match service.handle(accessor, request).await? {
        Ok(response) => {
            accessor.with(|access| response.into_http(access, sent)).map_err(|error| error.context("response"))
        }
        Err(code) => {
            slot.tell(Err(errors::said_03(&code)));
            return Ok(());
        }
    };
    slot.tell(Ok(response?));
    Ok(())
}
