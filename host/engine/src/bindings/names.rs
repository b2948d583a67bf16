//! `wasi:sockets/ip-name-lookup`: guests look up the names that their manifest allows TCP connections to, and no others.
//! What they found is remembered, because a socket is connected by address.

use super::State;
use super::output::CurrentRequest;
use crate::access::Access;
use crate::log::Stream;
use futures::FutureExt as _;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, vec};
use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, HasData, Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{Pollable, subscribe};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup as v03, types};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi::sockets::SocketAddrUse;

/// Addresses that an instance has looked up and may still connect to; the oldest are forgotten.
const MAX_FOUND: usize = 256;

/// What one instance looked up.
#[derive(Default)]
pub(super) struct Names(Mutex<Inner>);

#[derive(Default)]
struct Inner {
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
    builder.allow_tcp(true);
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

/// The interface by the name that wasmtime has for it.
const INTERFACE_02: &str = "wasi:sockets/ip-name-lookup@0.2.12";

/// A look-up of WASI 0.2, which a guest asks for one address after the other.
struct Stream02 {
    name: String,
    answer: Answer02,
}

enum Answer02 {
    Asked(AbortOnDropJoinHandle<io::Result<Vec<IpAddr>>>),
    Found(vec::IntoIter<IpAddr>),
    Failed,
}

#[async_trait::async_trait]
impl Pollable for Stream02 {
    async fn ready(&mut self) {
        if let Answer02::Asked(asked) = &mut self.answer {
            self.answer = asked.await.map_or(Answer02::Failed, |found| Answer02::Found(found.into_iter()));
        }
    }
}

impl Stream02 {
    /// The next address, if it is known by now.
    fn next(&mut self) -> Result<Option<IpAddr>, ErrorCode> {
        // Who waits is woken by another look.
        self.ready().now_or_never().ok_or(ErrorCode::WouldBlock)?;
        match &mut self.answer {
            Answer02::Asked(_) => Err(ErrorCode::WouldBlock),
            Answer02::Found(found) => Ok(found.next()),
            Answer02::Failed => Err(ErrorCode::NameUnresolvable),
        }
    }
}

/// Puts our look-ups in the place of wasmtime's.
pub(super) fn link(linker: &mut Linker<State>, with_wasi_0_3: bool) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    link_02(&mut linker.instance(INTERFACE_02)?)?;
    if with_wasi_0_3 {
        v03::add_to_linker::<_, LookUps>(linker, look_up)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn link_02(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.resource("resolve-address-stream", ResourceType::host::<Stream02>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Stream02>::new_own(rep))?;
        Ok(())
    })?;
    interface.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, State>, (_, name): (Resource<Network>, String)| {
            let LookUp { names: _, access, request } = look_up(store.data_mut());
            let Some(name) = permitted(&access, request, &name) else {
                return Ok((Err(ErrorCode::AccessDenied),));
            };
            let asked = name.clone();
            let answer = Answer02::Asked(spawn(async move { access.granted.egress.look_up(&asked).await }));
            Ok((Ok(store.data_mut().table.push(Stream02 { name, answer })?),))
        },
    )?;
    interface.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: StoreContextMut<'_, State>, (stream,): (Resource<Stream02>,)| {
            let names = look_up(store.data_mut()).names;
            let stream = store.data_mut().table.get_mut(&stream)?;
            let next = stream.next();
            if let Ok(Some(address)) = next {
                names.lock().add(address, &stream.name);
            }
            Ok((next.map(|next| next.map(IpAddress::from)),))
        },
    )?;
    interface.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: StoreContextMut<'_, State>, (stream,): (Resource<Stream02>,)| {
            Ok((subscribe(&mut store.data_mut().table, stream)?,))
        },
    )
}

fn look_up(state: &mut State) -> LookUp<'_> {
    let access = state.origin.access.clone();
    let (wasi, _) = state.wasi();
    let names = wasi.names.get_or_insert_default().clone();
    LookUp { names, access, request: &wasi.request }
}

struct LookUps;

impl HasData for LookUps {
    type Data<'a> = LookUp<'a>;
}

struct LookUp<'a> {
    names: Arc<Names>,
    access: Arc<Access>,
    request: &'a CurrentRequest,
}

/// The name, if the guest may look it up.
fn permitted(access: &Access, request: &CurrentRequest, name: &str) -> Option<String> {
    let checked = access.granted.egress.check_look_up(name);
    checked.inspect_err(|denial| access.deny(request.get(), denial)).ok()
}

impl v03::Host for LookUp<'_> {}

impl<T> v03::HostWithStore<T> for LookUps {
    async fn resolve_addresses(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<types::IpAddress>, v03::ErrorCode>> {
        let (name, names, access) = accessor.with(|mut view| {
            let LookUp { names, access, request } = view.get();
            (permitted(&access, request, &name), names, access)
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
