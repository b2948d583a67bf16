//! Destinations of `[allow]`: `api.example.com`, `*.example.com:8443`, `10.0.0.0/8:5432`.

use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What `http` below `[allow]` may hold.
const HTTP_FORM: &str = "expected a host like api.example.com or *.example.com, an address, or a network like \
                         10.0.0.0/8, with http:// or https:// before it and :PORT behind it where need be";

/// What `tcp` below `[allow]` may hold.
const TCP_FORM: &str = "expected HOST:PORT, where HOST is like db.internal or *.db.internal, an address, or a network like \
                        10.0.0.0/8, and PORT a number or * for any";

/// The longest name that the domain name system knows, and the longest word of one.
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// The way a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// As it is.
    Http,
    /// Inside of TLS.
    Https,
}

impl Scheme {
    /// As URLs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port where a URL names none.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Hosts and ports that a deployment may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// As the manifest writes it.
    text: String,
    scheme: Option<Scheme>,
    host: Host,
    ports: Ports,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// `*`
    Any,
    /// `api.example.com`
    Name(String),
    /// `*.example.com`, which is not `example.com`.
    Below(String),
    /// `10.0.0.5`, `10.0.0.0/8`
    Network(IpNet),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// 80 or 443.
    OfScheme,
    One(u16),
    Any,
}

impl Destination {
    /// Reads what `http` below `[allow]` holds.
    pub fn http(text: &str) -> Result<Destination, String> {
        let (scheme, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (Some(Scheme::Http), rest),
            (_, Some(rest)) => (Some(Scheme::Https), rest),
            (None, None) => (None, text),
        };
        let found = read(rest).map(|(host, ports)| (host, ports.unwrap_or(Ports::OfScheme)));
        let (host, ports) = found.ok_or_else(|| format!("allow.http {text:?}: {HTTP_FORM}"))?;
        Ok(Destination { text: text.into(), scheme, host, ports })
    }

    /// Reads what `tcp` below `[allow]` holds.
    pub fn tcp(text: &str) -> Result<Destination, String> {
        let found = read(text).and_then(|(host, ports)| Some((host, ports?)));
        let (host, ports) = found.ok_or_else(|| format!("allow.tcp {text:?}: {TCP_FORM}"))?;
        Ok(Destination { text: text.into(), scheme: None, host, ports })
    }

    /// Whether it holds for requests of this scheme to this port.
    pub fn fits_http(&self, scheme: Scheme, port: u16) -> bool {
        self.scheme.is_none_or(|only| only == scheme)
            && match self.ports {
                Ports::OfScheme => port == scheme.port(),
                Ports::One(one) => port == one,
                Ports::Any => true,
            }
    }

    /// Whether it holds for connections to this port.
    pub fn fits_port(&self, port: u16) -> bool {
        match self.ports {
            Ports::OfScheme => false,
            Ports::One(one) => port == one,
            Ports::Any => true,
        }
    }

    /// Whether it names the host: a name in lower case without a dot at its end.
    pub fn names_host(&self, name: &str) -> bool {
        match &self.host {
            Host::Any => true,
            Host::Name(own) => own == name,
            Host::Below(parent) => name
                .strip_suffix(parent.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
            Host::Network(_) => false,
        }
    }

    /// Whether it names the address, alone or as part of a network.
    pub fn names_address(&self, address: IpAddr) -> bool {
        matches!(&self.host, Host::Network(network) if network.contains(&address.to_canonical()))
    }

    /// Whether it stands for any host.
    pub fn is_any(&self) -> bool {
        self.host == Host::Any
    }
}

/// A host, and its port if there is one.
fn read(text: &str) -> Option<(Host, Option<Ports>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        // An address of IPv6 without a port needs no brackets.
        None if text.parse::<Ipv6Addr>().is_ok() || text.parse::<ipnet::Ipv6Net>().is_ok() => (text, None),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let ports = match port {
        None => None,
        Some("*") => Some(Ports::Any),
        Some(port) => Some(Ports::One(port.parse().ok().filter(|port| *port != 0)?)),
    };
    Some((read_host(host)?, ports))
}

fn read_host(text: &str) -> Option<Host> {
    if text == "*" {
        return Some(Host::Any);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Host::Network(address.to_canonical().into()));
    }
    if text.contains('/') {
        return text.parse::<IpNet>().ok().map(|network| Host::Network(network.trunc()));
    }
    match text.strip_prefix("*.") {
        Some(parent) => read_name(parent).map(Host::Below),
        None => read_name(text).map(Host::Name),
    }
}

/// A name in lower case. What ends in a number is an address that is written wrong.
fn read_name(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let ends_in_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let is_name = name.len() <= MAX_HOST && name.split('.').all(is_label) && !ends_in_number;
    is_name.then(|| name.to_ascii_lowercase())
}

impl fmt::Display for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.text)
    }
}

/// Reads `http`, which may be left out.
pub(super) fn http<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<Destination>>, D::Error> {
    let Some(texts) = Option::<Vec<String>>::deserialize(input)? else { return Ok(None) };
    let all: Result<_, _> = texts.iter().map(|text| Destination::http(text)).collect();
    all.map(Some).map_err(D::Error::custom)
}

/// Reads `tcp`.
pub(super) fn tcp<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Destination>, D::Error> {
    let texts = Vec::<String>::deserialize(input)?;
    let all: Result<_, _> = texts.iter().map(|text| Destination::tcp(text)).collect();
    all.map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_by_itself_or_by_a_parent_and_no_further() {
        let one = Destination::http("api.example.com").unwrap();
        assert!(one.names_host("api.example.com"));
        assert!(!one.names_host("example.com") && !one.names_host("x.api.example.com"));
        let below = Destination::http("*.Example.com").unwrap();
        assert!(below.names_host("a.example.com") && below.names_host("a.b.example.com"));
        assert!(!below.names_host("example.com") && !below.names_host("evilexample.com"));
        assert!(!below.names_host(".example.com"));
        assert!(Destination::http("*").unwrap().names_host("anything.org"));
    }

    #[test]
    fn without_a_port_those_of_the_schemes_are_meant() {
        let bare = Destination::http("a.com").unwrap();
        assert!(bare.fits_http(Scheme::Http, 80) && bare.fits_http(Scheme::Https, 443));
        assert!(!bare.fits_http(Scheme::Http, 443) && !bare.fits_http(Scheme::Https, 8443));
        let secure = Destination::http("https://a.com").unwrap();
        assert!(secure.fits_http(Scheme::Https, 443) && !secure.fits_http(Scheme::Http, 80));
        let port = Destination::http("a.com:8443").unwrap();
        assert!(port.fits_http(Scheme::Http, 8443) && !port.fits_http(Scheme::Https, 443));
        assert!(Destination::http("a.com:*").unwrap().fits_http(Scheme::Http, 1));
        assert!(Destination::tcp("db.internal:5432").unwrap().fits_port(5432));
    }

    #[test]
    fn addresses_and_networks_name_addresses_alone() {
        let names =
            |text: &str, address: &str| Destination::http(text).unwrap().names_address(address.parse().unwrap());
        assert!(names("10.0.0.5", "10.0.0.5") && names("10.0.0.5:80", "::ffff:10.0.0.5"));
        assert!(names("::ffff:10.0.0.5", "10.0.0.5"));
        assert!(names("10.0.0.0/8", "10.200.1.1") && !names("10.0.0.0/8", "11.0.0.1"));
        assert!(names("10.1.2.3/8:80", "10.9.9.9"), "the bits behind the prefix do not count");
        assert!(names("[fd00::/8]:80", "fd12::1") && names("fd00::1", "fd00::1") && names("[::1]:80", "::1"));
        assert!(!names("localhost", "127.0.0.1") && !names("*", "10.0.0.1"));
    }

    #[test]
    fn what_is_no_destination_is_refused_with_the_form() {
        for text in [
            "",
            " ",
            "a b",
            "ftp://a.com",
            "a.com/",
            "https://a.com/v1",
            "a.*.com",
            "*a.com",
            "a.com:0",
            "a.com:99999",
            "a.com:http",
            "user@a.com",
            "10.0.0",
            "127.1",
            "10.0.0.0/33",
            "[::1",
            "[::1]80",
            "-a.com",
            "a..com",
            "ü.com",
            "*.",
            "a.com:",
            ":80",
            "300.0.0.1",
        ] {
            let error = Destination::http(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")) && error.contains("expected a host like"), "{error}");
        }
        for text in ["db.internal", "http://db.internal:80", "10.0.0.1", "::1"] {
            let error = Destination::tcp(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")) && error.contains("expected HOST:PORT"), "{error}");
        }
    }
}
