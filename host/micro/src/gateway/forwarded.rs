//! What a guest is told of the way that its request came.
//!
//! | header | holds |
//! |---|---|
//! | `x-forwarded-for` | the client's address, after those that a proxy on this machine tells |
//! | `x-forwarded-host`, `x-forwarded-proto` | what the client asked for, or what a proxy on this machine says of it |

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Who is on the other side of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    /// One of version 4 that came as one of version 6 is what it was.
    address: IpAddr,
    /// The address as a header has it, written once for all requests.
    text: Option<HeaderValue>,
}

impl Peer {
    pub(super) fn new(address: IpAddr) -> Peer {
        let address = address.to_canonical();
        Peer { address, text: HeaderValue::try_from(address.to_string()).ok() }
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address
    }
}

/// Takes away what only a proxy may say, and says it of a request for `authority` that came from `peer`.
pub(super) fn set(headers: &mut HeaderMap, authority: &str, peer: Option<&Peer>) {
    // Only a proxy on this machine is believed: by default nobody else reaches the gateway, and where others do, they
    // could say anything.
    let is_trusted = peer.is_some_and(|peer| peer.address.is_loopback());
    if !is_trusted {
        for name in [FOR, HOST, PROTO, FORWARDED] {
            headers.remove(name);
        }
    }
    if let Some(Peer { address, text: Some(text) }) = peer {
        if headers.contains_key(FOR) {
            let chain = headers.get_all(FOR).iter().filter_map(|value| value.to_str().ok());
            let mut chain: String = chain.flat_map(|before| [before, ", "]).collect();
            chain.push_str(&address.to_string());
            insert(headers, FOR, HeaderValue::try_from(chain));
        } else {
            headers.insert(FOR, text.clone());
        }
    }
    if !headers.contains_key(HOST) {
        insert(headers, HOST, HeaderValue::try_from(authority));
    }
    if !headers.contains_key(PROTO) {
        headers.insert(PROTO, HeaderValue::from_static("http"));
    }
}

/// What cannot be a header's value is none.
pub(super) fn insert<E>(headers: &mut HeaderMap, name: HeaderName, value: Result<HeaderValue, E>) {
    if let Ok(value) = value {
        headers.insert(name, value);
    }
}
