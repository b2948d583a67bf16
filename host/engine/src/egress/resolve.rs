//! From names to addresses.

use async_trait::async_trait;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 16;

/// Finds the addresses of names.
#[async_trait]
pub trait Resolver: Debug + Send + Sync {
    /// All addresses of a name, the best first.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// As the system does it: by its files and name servers.
#[derive(Debug)]
pub struct System;

#[async_trait]
impl Resolver for System {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
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
    let mut found = resolver.addresses(host).await?;
    found.truncate(MAX_ADDRESSES);
    Ok(found)
}
