//! `wasi:sockets/ip-name-lookup`: guests look up the names that their manifest allows TCP connections to, and no others.
//! What they found is remembered, because a socket is connected by address.

use super::State;
use super::output::CurrentRequest;
use crate::access::Access;
use crate::log::Stream;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::Result;
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup as v02;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup as v03, types};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};

/// Addresses that an instance has looked up and may still connect to; the oldest are forgotten.
const MAX_FOUND: usize = 256;

/// What one instance looked up.
#[derive(Default)]
pub(super) struct Names(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Look-ups that go on, by handle.
    streams: HashMap<u32, String>,
    found: VecDeque<(IpAddr, String)>,
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names that led to an address.
    fn of(&self, address: IpAddr) -> Vec<String> {
        let inner = self.lock();
        inner.found.iter().filter(|(found, _)| *found == address).map(|(_, name)| name.clone()).collect()
    }
}

impl Inner {
    fn add(&mut self, address: IpAddr, name: &str) {
        let address = address.to_canonical();
        if self.found.iter().any(|(known, own)| *known == address && own == name) {
            return;
        }
        if self.found.len() >= MAX_FOUND {
            self.found.pop_front();
        }
        self.found.push_back((address, name.to_string()));
    }
}

/// Lets TCP connections be made to where the manifest allows. Listening and UDP stay closed.
pub(super) fn open_tcp(
    builder: &mut WasiCtxBuilder,
    access: &Arc<Access>,
    names: &Arc<Names>,
    request: &Arc<CurrentRequest>,
) {
    let (access, names, request) = (access.clone(), names.clone(), request.clone());
    builder.allow_tcp(true).allow_ip_name_lookup(true);
    builder.socket_addr_check(move |address, what| {
        let is_permitted = match what {
            // A socket that connects is bound to any address and port before.
            SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
            SocketAddrUse::TcpConnect => {
                let names = names.of(address.ip().to_canonical());
                let checked = access.granted.egress.check_tcp(address, &names);
                checked.inspect_err(|denial| access.deny(request.get(), denial)).is_ok()
            }
            _ => {
                let line =
                    "listening for connections was refused: no function may, and nothing in micro.toml permits it";
                access.log.line(request.get(), Stream::Host, line);
                false
            }
        };
        Box::pin(std::future::ready(is_permitted)) as Pin<Box<_>>
    });
}

/// Puts our look-ups in the place of wasmtime's.
pub(super) fn link(linker: &mut Linker<State>, with_wasi_0_3: bool) -> Result<()> {
    linker.allow_shadowing(true);
    v02::add_to_linker::<_, LookUps>(linker, look_up)?;
    if with_wasi_0_3 {
        v03::add_to_linker::<_, LookUps>(linker, look_up)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn look_up(state: &mut State) -> LookUp<'_> {
    let access = state.origin.access.clone();
    let (wasi, table) = state.wasi();
    let names = wasi.names.get_or_insert_default().clone();
    let sockets = WasiSocketsCtxView { ctx: wasi.ctx.sockets(), table };
    LookUp { sockets, names, access, request: &wasi.request }
}

struct LookUps;

impl HasData for LookUps {
    type Data<'a> = LookUp<'a>;
}

struct LookUp<'a> {
    sockets: WasiSocketsCtxView<'a>,
    names: Arc<Names>,
    access: Arc<Access>,
    request: &'a CurrentRequest,
}

impl LookUp<'_> {
    /// The name, if the guest may look it up.
    fn permitted(&self, name: &str) -> Option<String> {
        let checked = self.access.granted.egress.check_look_up(name);
        checked.inspect_err(|denial| self.access.deny(self.request.get(), denial)).ok()
    }
}

impl network::Host for LookUp<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        network::Host::convert_error_code(&mut self.sockets, error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.sockets, error)
    }
}

impl network::HostNetwork for LookUp<'_> {
    fn drop(&mut self, network: Resource<Network>) -> Result<()> {
        network::HostNetwork::drop(&mut self.sockets, network)
    }
}

impl v02::Host for LookUp<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<v02::ResolveAddressStream>, SocketError> {
        let name = self.permitted(&name).ok_or(ErrorCode::AccessDenied)?;
        let stream = v02::Host::resolve_addresses(&mut self.sockets, network, name.clone())?;
        self.names.lock().streams.insert(stream.rep(), name);
        Ok(stream)
    }
}

impl v02::HostResolveAddressStream for LookUp<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<v02::ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let rep = stream.rep();
        let next = self.sockets.resolve_next_address(stream)?;
        let mut names = self.names.lock();
        if let (Some(address), Some(name)) = (&next, names.streams.get(&rep).cloned()) {
            names.add(plain(address), &name);
        }
        Ok(next)
    }

    fn subscribe(&mut self, stream: Resource<v02::ResolveAddressStream>) -> Result<Resource<DynPollable>> {
        self.sockets.subscribe(stream)
    }

    fn drop(&mut self, stream: Resource<v02::ResolveAddressStream>) -> Result<()> {
        self.names.lock().streams.remove(&stream.rep());
        v02::HostResolveAddressStream::drop(&mut self.sockets, stream)
    }
}

impl v03::Host for LookUp<'_> {}

impl<T> v03::HostWithStore<T> for LookUps {
    async fn resolve_addresses(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> Result<Result<Vec<types::IpAddress>, v03::ErrorCode>> {
        let (name, names, access) = accessor.with(|mut view| {
            let look_up = view.get();
            (look_up.permitted(&name), look_up.names.clone(), look_up.access.clone())
        });
        let Some(name) = name else { return Ok(Err(v03::ErrorCode::AccessDenied)) };
        let Ok(found) = access.granted.egress.look_up(&name).await else {
            return Ok(Err(v03::ErrorCode::NameUnresolvable));
        };
        let mut names = names.lock();
        found.iter().for_each(|address| names.add(*address, &name));
        Ok(Ok(found.into_iter().map(Into::into).collect()))
    }
}

fn plain(address: &IpAddress) -> IpAddr {
    match *address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
    }
}
