//! From names to addresses.

use async_trait::async_trait;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 16;

/// The longest name that there can be, in bytes (RFC 1035).
const MAX_NAME: usize = 253;

/// Look-ups that the system does at once. Each takes a thread until a name server answers, and nothing ends it before.
const MAX_LOOK_UPS: usize = 32;

/// Finds the addresses of names.
#[async_trait]
pub trait Resolver: Debug + Send + Sync {
    /// All addresses of a name, the best first.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// As the system does it: by its files and name servers.
#[derive(Debug)]
pub struct System {
    places: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> System {
        System { places: Arc::new(Semaphore::new(MAX_LOOK_UPS)) }
    }
}

#[async_trait]
impl Resolver for System {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = self.places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_string();
        let looked_up = tokio::task::spawn_blocking(move || {
            // Who asked may be gone: the thread is not.
            let _place = place;
            Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

/// The addresses of a host: of an address itself, of `localhost` what the name stands for (RFC 6761), of any other name
/// what the resolver says, in the one look-up that there is for a connection.
pub(super) async fn addresses(resolver: &dyn Resolver, host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if host == super::LOCALHOST {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    if host.len() > MAX_NAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is too long"));
    }
    let mut found = resolver.addresses(host).await?;
    found.truncate(MAX_ADDRESSES);
    Ok(found)
}
