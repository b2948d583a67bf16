//! Bounds where wasmtime keeps for a guest as much as it asks for: the texts of a request, what is written of bodies
//! that nobody takes, and sockets.

use super::{MAX_FIELDS, State};
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::TcpSocket;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket;
use wasmtime_wasi::p3::bindings::sockets::types as sockets_03;
use wasmtime_wasi::sockets::{TcpSocket as TcpSocket03, WasiSocketsCtxView};
use wasmtime_wasi_http::p2::bindings::http::types as http_02;
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::http::types as http_03;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView as _};

/// The interfaces by the names that wasmtime has for them.
const HTTP_02: &str = "wasi:http/types@0.2.12";
const HTTP_03: &str = "wasi:http/types@0.3.0";
const SOCKETS_02: &str = "wasi:sockets/tcp-create-socket@0.2.12";
const SOCKETS_03: &str = "wasi:sockets/types@0.3.0";

/// Handles of an instance to bodies, and to requests and responses with bodies, that have all the room which a body may
/// have. What comes after them has little.
const ROOMY: usize = 16;

/// TCP sockets of one instance. Each holds a descriptor of the process from the start.
const MAX_SOCKETS: usize = 64;

type Answer<T = (), E = ()> = std::result::Result<T, E>;

/// Puts these functions in the place of wasmtime's.
pub(super) fn link(linker: &mut Linker<State>, with_wasi_0_3: bool) -> Result<()> {
    linker.allow_shadowing(true);
    link_http_02(&mut linker.instance(HTTP_02)?)?;
    linker.instance(SOCKETS_02)?.func_wrap("create-tcp-socket", create_tcp_socket)?;
    if with_wasi_0_3 {
        link_http_03(&mut linker.instance(HTTP_03)?)?;
        linker.instance(SOCKETS_03)?.func_wrap("[static]tcp-socket.create", create_tcp_socket_03)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn link_http_02(types: &mut LinkerInstance<'_, State>) -> Result<()> {
    use http_02::{HostOutgoingRequest as _, Method};
    type Sent = HostOutgoingRequest;
    fn text(method: &Method) -> Option<&str> {
        if let Method::Other(text) = method { Some(text) } else { None }
    }
    setter(types, "[method]outgoing-request.set-method", text, |mut http, request: Resource<Sent>, method| {
        http.set_method(request, method)
    })?;
    setter(types, "[method]outgoing-request.set-path-with-query", Option::as_deref, |mut http, request, path| {
        http.set_path_with_query(request, path)
    })?;
    setter(types, "[method]outgoing-request.set-authority", Option::as_deref, |mut http, request, authority| {
        http.set_authority(request, authority)
    })?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store: StoreContextMut<'_, State>, (request,): (Resource<Sent>,)| {
            let state = store.data_mut();
            state.weigh_bodies();
            Ok((http_02::HostOutgoingRequest::body(&mut state.http(), request)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store: StoreContextMut<'_, State>, (response,): (Resource<HostOutgoingResponse>,)| {
            let state = store.data_mut();
            state.weigh_bodies();
            Ok((http_02::HostOutgoingResponse::body(&mut state.http(), response)?,))
        },
    )
}

fn link_http_03(types: &mut LinkerInstance<'_, State>) -> Result<()> {
    use http_03::{HostRequest as _, Method};
    fn text(method: &Method) -> Option<&str> {
        if let Method::Other(text) = method { Some(text) } else { None }
    }
    setter(types, "[method]request.set-method", text, |mut http, request: Resource<Request>, method| {
        http.set_method(request, method)
    })?;
    setter(types, "[method]request.set-path-with-query", Option::as_deref, |mut http, request, path| {
        http.set_path_with_query(request, path)
    })?;
    setter(types, "[method]request.set-authority", Option::as_deref, |mut http, request, authority| {
        http.set_authority(request, authority)
    })
}

/// Links a function that gives a part to a request. Its text may be no longer than all header fields of a request.
fn setter<R: 'static, T: ComponentType + Lift + 'static>(
    types: &mut LinkerInstance<'_, State>,
    name: &str,
    text: fn(&T) -> Option<&str>,
    set: fn(WasiHttpCtxView<'_>, Resource<R>, T) -> Result<Answer>,
) -> Result<()> {
    types.func_wrap(name, move |mut store: StoreContextMut<'_, State>, (request, part): (Resource<R>, T)| {
        Ok((match text(&part).is_none_or(|text| text.len() <= MAX_FIELDS) {
            true => set(store.data_mut().http(), request, part)?,
            false => Err(()),
        },))
    })
}

fn create_tcp_socket(
    mut store: StoreContextMut<'_, State>,
    (family,): (IpAddressFamily,),
) -> Result<(Answer<Resource<TcpSocket>, ErrorCode>,)> {
    let state = store.data_mut();
    if state.has_all_sockets() {
        return Ok((Err(ErrorCode::NewSocketLimit),));
    }
    Ok((match tcp_create_socket::Host::create_tcp_socket(&mut state.sockets(), family) {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

fn create_tcp_socket_03(
    mut store: StoreContextMut<'_, State>,
    (family,): (sockets_03::IpAddressFamily,),
) -> Result<(Answer<Resource<TcpSocket03>, sockets_03::ErrorCode>,)> {
    let state = store.data_mut();
    if state.has_all_sockets() {
        return Ok((Err(sockets_03::ErrorCode::Other(Some(format!("more than {MAX_SOCKETS} sockets at once")))),));
    }
    Ok((match sockets_03::HostTcpSocket::create(&mut state.sockets(), family) {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

impl State {
    /// Looks how much room the next body may have.
    fn weigh_bodies(&mut self) {
        let holds_body = |handle: &&mut (dyn std::any::Any + Send)| {
            handle.is::<HostOutgoingBody>()
                || handle.is::<HostOutgoingRequest>()
                || handle.is::<HostOutgoingResponse>()
                || handle.is::<HostFutureIncomingResponse>()
        };
        self.origin.has_many_bodies = self.table.iter_mut().filter(holds_body).count() > ROOMY;
    }

    fn has_all_sockets(&mut self) -> bool {
        self.table.iter_mut().filter(|handle| handle.is::<TcpSocket>() || handle.is::<TcpSocket03>()).count()
            >= MAX_SOCKETS
    }

    fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiSocketsCtxView { ctx: wasi.ctx.sockets(), table }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Access, Scope};
    use crate::log::{Log, Stream};
    use crate::manifest::Limits;
    use micro_mesh::call::RequestId;
    use std::sync::Arc;
    use wasmtime::{Config, Engine};
    use wasmtime_wasi_http::WasiHttpHooks as _;
    use wasmtime_wasi_http::p2::body::StreamContext;

    struct Nowhere;

    impl Log for Nowhere {
        fn line(&self, _: RequestId, _: Stream, _: &str) {}
    }

    #[test]
    fn who_keeps_many_bodies_has_little_room_in_the_next() {
        let access = Arc::new(Access::to_log("own", Arc::new(Nowhere)));
        let mut state = State::new(&Limits::default(), &access, Scope::idle());
        let room = |state: &mut State| {
            state.weigh_bodies();
            state.origin.p2_outgoing_body_buffer_chunks() * state.origin.p2_outgoing_body_chunk_size()
        };
        let roomy = room(&mut state);
        let mut kept: Vec<_> = (0..ROOMY)
            .map(|_| state.table.push(HostOutgoingBody::new(StreamContext::Response, None, 1, 1).0).unwrap())
            .collect();
        assert_eq!(room(&mut state), roomy);
        kept.push(state.table.push(HostOutgoingBody::new(StreamContext::Response, None, 1, 1).0).unwrap());
        assert!(room(&mut state) * crate::bindings::MAX_HANDLES <= 16 * 1024 * 1024);
        state.table.delete(kept.remove(0)).unwrap();
        assert_eq!(room(&mut state), roomy, "what is given back counts no more");
    }

    #[test]
    fn what_is_bounded_is_what_wasmtime_gives() {
        let mut config = Config::new();
        config.concurrency_support(true);
        config.wasm_component_model_async(true);
        let engine = Engine::new(&config).unwrap();
        let mut linker = crate::bindings::linker(&engine, true).unwrap();
        // What is there already cannot be defined again.
        for (interface, function) in [
            (HTTP_02, "[constructor]outgoing-request"),
            (HTTP_03, "[static]request.new"),
            (SOCKETS_02, "create-tcp-socket"),
            (SOCKETS_03, "[method]tcp-socket.bind"),
        ] {
            let mut instance = linker.instance(interface).unwrap();
            assert!(instance.func_wrap(function, |_, (): ()| Ok(())).is_err(), "{interface} {function}");
        }
    }
}
