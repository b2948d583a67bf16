//! Why the host gave no answer, or not the wanted one.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::Address;

/// What keeps a command from getting its answer; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Nobody listens there.
    #[error("no micro host at {address}: start one with 'micro server' or set --proxy-address{origin}")]
    NotReachable {
        /// `host:port`.
        address: String,
        /// Where the address was taken from, in brackets, when nobody gave it.
        origin: String,
    },
    /// The address cannot be one.
    #[error("{0}")]
    BadAddress(String),
    /// The admin API wants a token and there is none to be read.
    #[error("no token at {}{reason}; --data-dir must name the data directory of the host", place.display())]
    NoToken {
        /// The file that was looked for.
        place: PathBuf,
        /// What the system said, behind a colon, unless the file is just not there.
        reason: String,
    },
    /// There is a new token, and nothing to keep it in.
    #[error(
        "the host has a new token, which could not be written to {}: {reason}; on its machine, 'micro token show' tells it",
        place.display()
    )]
    TokenNotKept {
        /// The file that was meant for it.
        place: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The host does not know the token.
    #[error(
        "the host at {address} does not accept the token in {}: --data-dir must name the data directory of that host",
        place.display()
    )]
    WrongToken {
        /// `host:port`.
        address: String,
        /// The file that the token came from.
        place: PathBuf,
    },
    /// The host understood and said no.
    #[error("{}", readable(.0))]
    Refused(micro_mesh::Error),
    /// Something answers there that does not talk like a host.
    #[error("{address} answered {what}: is it a micro host?")]
    Strange {
        /// `host:port`.
        address: String,
        /// What came.
        what: String,
    },
    /// The connection ended before the answer did.
    #[error("connection to the host at {address}: {reason}")]
    Broken {
        /// `host:port`.
        address: String,
        /// What the connection said.
        reason: String,
    },
    /// This program could not set up its own side.
    #[error("HTTP client: {0}")]
    Client(String),
}

impl HostError {
    /// A token that cannot be read.
    pub(crate) fn no_token(place: PathBuf, error: &std::io::Error) -> HostError {
        let reason = match error.kind() {
            ErrorKind::NotFound => String::new(),
            _ => format!(": {error}"),
        };
        HostError::NoToken { place, reason }
    }

    /// Sorts what the HTTP client reports.
    pub(super) fn from_transport(address: &Address, error: &reqwest::Error) -> HostError {
        if error.is_connect() {
            return HostError::NotReachable { address: address.to_string(), origin: address.origin() };
        }
        HostError::broken(address.to_string(), error)
    }

    /// A host that is there, and a connection that failed.
    pub(super) fn broken(address: String, error: &reqwest::Error) -> HostError {
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { root(error) };
        HostError::Broken { address, reason }
    }

    /// Whether the host says that it knows no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, HostError::Refused(error) if error.code == 404)
    }
}

/// The detail is written for people; an error without one shows its JSON.
fn readable(error: &micro_mesh::Error) -> String {
    if error.detail.is_empty() { error.to_string() } else { error.detail.clone() }
}

/// The innermost cause: the outer ones only repeat the URL.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
