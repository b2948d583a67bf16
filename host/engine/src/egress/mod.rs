//! What goes out in the name of a guest: HTTP requests and TCP connections, to where its manifest allows and nowhere else.
//!
//! A name is resolved once for each connection, and what is connected to is the very address that was checked. Addresses
//! that are not of the public internet are reached only where a pattern names them, or `localhost` by that name.

mod address;
mod connect;
mod resolve;
mod send;
mod tls;

pub use address::special;
pub use resolve::{Resolver, System};
pub use send::SendError;
pub use tls::Trust;

use crate::manifest::{Allow, Destination, Scheme};
use send::Client;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// The name that every host has for itself.
const LOCALHOST: &str = "localhost";

/// Connections for HTTP that one revision holds at once, those that wait to be used again among them.
const MAX_CONNECTIONS: usize = 64;

/// How a host reaches out, for all its guests.
#[derive(Debug)]
pub struct Outside {
    /// Finds the addresses of names.
    pub resolver: Arc<dyn Resolver>,
    /// Whose certificates are believed.
    pub trust: Trust,
}

impl Default for Outside {
    fn default() -> Outside {
        Outside { resolver: Arc::new(System::default()), trust: Trust::default() }
    }
}

/// The way out of one revision's instances.
pub struct Egress {
    rules: Arc<Rules>,
    /// Made for the first request.
    client: OnceLock<Client>,
}

/// What may be reached.
struct Rules {
    http: Vec<Destination>,
    tcp: Vec<Destination>,
    outside: Arc<Outside>,
    room: Arc<Semaphore>,
}

/// A host that a guest wants to reach, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// None for a TCP connection.
    scheme: Option<Scheme>,
    /// In lower case, without a dot at its end; addresses of IPv6 without brackets.
    host: String,
    /// None where a name is looked up and nobody knows for which port.
    port: Option<u16>,
}

/// Why something was not let out. Its text is a line for the guest's log, and says what would permit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    target: Target,
    /// The address that the name stands for and must not be reached, and what it is.
    address: Option<(IpAddr, &'static str)>,
}

impl Egress {
    /// Lets out what `allow` says.
    pub fn new(allow: &Allow, outside: Arc<Outside>) -> Egress {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let rules = Rules { http: allow.http.clone().unwrap_or_default(), tcp: allow.tcp.clone(), outside, room };
        Egress { rules: Arc::new(rules), client: OnceLock::new() }
    }

    /// Whether any TCP connection may be made.
    pub(crate) fn has_tcp(&self) -> bool {
        !self.rules.tcp.is_empty()
    }

    /// The name as it is compared, if it may be looked up for a TCP connection.
    pub(crate) fn check_look_up(&self, name: &str) -> Result<String, Denial> {
        let target = Target { scheme: None, host: plain(name), port: None };
        match self.rules.names(&target) {
            true => Ok(target.host),
            false => Err(Denial { target, address: None }),
        }
    }

    /// Whether a TCP connection may be made to an address, which the guest has from looking up these names.
    pub(crate) fn check_tcp(&self, address: SocketAddr, names: &[String]) -> Result<(), Denial> {
        let ip = address.ip().to_canonical();
        let target = |host: String| Target { scheme: None, host, port: Some(address.port()) };
        let itself = target(ip.to_string());
        let mut denial = Denial { target: itself.clone(), address: None };
        for target in std::iter::once(itself).chain(names.iter().cloned().map(target)) {
            if self.rules.names(&target) {
                match self.rules.check_address(&target, ip) {
                    Ok(()) => return Ok(()),
                    Err(worse) => denial = worse,
                }
            }
        }
        Err(denial)
    }

    /// The addresses of a name, for a guest that may look it up.
    pub(crate) async fn look_up(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        resolve::addresses(&*self.rules.outside.resolver, host).await
    }
}

impl Default for Egress {
    fn default() -> Egress {
        Egress::new(&Allow::default(), Arc::default())
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { http, tcp, .. } = &*self.rules;
        out.debug_struct("Egress").field("http", http).field("tcp", tcp).finish_non_exhaustive()
    }
}

impl Rules {
    /// The patterns that hold for what is wanted there.
    fn fitting(&self, target: &Target) -> impl Iterator<Item = &Destination> {
        let (scheme, port) = (target.scheme, target.port);
        let list = if scheme.is_some() { &self.http } else { &self.tcp };
        list.iter().filter(move |destination| match (scheme, port) {
            (Some(scheme), Some(port)) => destination.fits_http(scheme, port),
            (_, Some(port)) => destination.fits_port(port),
            (_, None) => true,
        })
    }

    /// Whether the host is named, as it was written.
    fn names(&self, target: &Target) -> bool {
        match target.host.parse::<IpAddr>() {
            Ok(ip) => self.fitting(target).any(|pattern| pattern.names_address(ip) || pattern.is_any()),
            Err(_) => self.fitting(target).any(|pattern| pattern.names_host(&target.host)),
        }
    }

    /// Whether the host may be at this address.
    fn check_address(&self, target: &Target, ip: IpAddr) -> Result<(), Denial> {
        let ip = ip.to_canonical();
        let Some(what) = special(ip) else { return Ok(()) };
        let is_named = self.fitting(target).any(|pattern| pattern.names_address(ip));
        // What stands for any host does not name this one.
        let names_itself = |pattern: &Destination| !pattern.is_any() && pattern.names_host(LOCALHOST);
        let is_itself = target.host == LOCALHOST && ip.is_loopback() && self.fitting(target).any(names_itself);
        match is_named || is_itself {
            true => Ok(()),
            false => Err(Denial { target: target.clone(), address: Some((ip, what)) }),
        }
    }
}

/// A host as it is compared.
fn plain(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl Denial {
    /// Whether the host is named, and is at an address that is not.
    pub(crate) fn is_of_address(&self) -> bool {
        self.address.is_some()
    }
}

impl Target {
    /// As a pattern of `[allow]` that permits it names it.
    fn pattern(&self, host: &str) -> String {
        let is_usual = |scheme: Scheme| self.port == Some(scheme.port());
        match (self.scheme, self.port) {
            (Some(scheme), _) if is_usual(scheme) => host.to_string(),
            (_, Some(port)) if host.contains(':') => format!("[{host}]:{port}"),
            (_, Some(port)) => format!("{host}:{port}"),
            (_, None) => format!("{host}:PORT"),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denial { target, address } = self;
        let (what, key) = match (target.scheme, target.port) {
            (Some(_), _) => ("request to", "http"),
            (None, Some(_)) => ("TCP connection to", "tcp"),
            (None, None) => ("look-up of", "tcp"),
        };
        let to = match (target.scheme, target.port) {
            (Some(scheme), _) => format!("{}://{}", scheme.as_str(), target.pattern(&target.host)),
            (None, Some(_)) => target.pattern(&target.host),
            (None, None) => target.host.clone(),
        };
        let host = match address {
            None => target.host.clone(),
            Some((ip, _)) => ip.to_string(),
        };
        write!(out, "the {what} {to} was refused: ")?;
        match address {
            None => write!(out, "[allow] does not name it")?,
            Some((ip, what)) if ip.to_string() == target.host => write!(out, "it is {what}")?,
            Some((ip, what)) => write!(out, "it is at {ip}, {what}, which [allow] does not name")?,
        }
        write!(out, "; {key} = [{:?}] below [allow] in micro.toml permits it", target.pattern(&host))
    }
}

#[cfg(test)]
mod tests;
