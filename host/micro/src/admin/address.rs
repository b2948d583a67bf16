//! Where the host is: a flag, the file that a running host leaves in its data directory, or the default.

use std::fmt;
use std::path::{Path, PathBuf};

use super::HostError;
use crate::server::SIDECAR_ADDRESS;

/// The port of the sidecar.
const DEFAULT_PORT: u16 = 8081;
/// Where a host listens unless told otherwise.
const DEFAULT_AUTHORITY: &str = "127.0.0.1:8081";

/// `host:port` of a sidecar, and how it became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    authority: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Given,
    File(PathBuf),
    Default,
}

impl Address {
    /// The address to use: `given`, else the one a host of `data_dir` wrote down, else 127.0.0.1:8081.
    pub fn find(given: Option<&str>, data_dir: &Path) -> Result<Address, HostError> {
        if let Some(given) = given {
            return Address::parse(given);
        }
        let file = data_dir.join(SIDECAR_ADDRESS);
        if let Ok(text) = std::fs::read_to_string(&file)
            && let Ok(address) = Address::parse(&text)
        {
            return Ok(Address { source: Source::File(file), ..address });
        }
        Ok(Address { authority: DEFAULT_AUTHORITY.into(), source: Source::Default })
    }

    /// Reads `host:port`, `:port`, `host` (port 8081) or any of them as an `http://` URL.
    pub fn parse(text: &str) -> Result<Address, HostError> {
        let text = text.trim();
        if text.starts_with("https://") {
            return Err(HostError::BadAddress(format!(
                "proxy address {text}: the sidecar speaks plain http, not https"
            )));
        }
        let is_url = text.starts_with("http://");
        let authority = text.trim_start_matches("http://").trim_end_matches('/');
        let bad =
            |why: &str| Err(HostError::BadAddress(format!("proxy address {text:?}: {why}; write it as host:port")));
        if authority.contains(['/', '?', '#', '@']) || authority.contains(char::is_whitespace) {
            return bad("it has more than a host and a port");
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of a bare IPv6 address is not in front of a port.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port.map(str::parse::<u16>) {
            Some(Ok(port)) => port,
            Some(Err(_)) => return bad("the port is not a number up to 65535"),
            None if is_url => 80,
            None => DEFAULT_PORT,
        };
        let host = match host {
            "" if authority.is_empty() => return bad("it is empty"),
            "" => "127.0.0.1",
            host => host,
        };
        let authority = reachable(&format!("{host}:{port}"));
        Ok(Address { authority, source: Source::Given })
    }

    /// Whether the user named this address.
    pub fn is_given(&self) -> bool {
        self.source == Source::Given
    }

    /// The base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// A remark in brackets for an address that came out of a file, since nobody typed it.
    pub fn origin(&self) -> String {
        match &self.source {
            Source::File(file) => format!(" (the address is from {})", file.display()),
            Source::Given | Source::Default => String::new(),
        }
    }
}

/// A host that listens on every address of its machine says so with one that nobody can call.
pub(super) fn reachable(authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => authority.to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_each_form() {
        for (text, authority) in [
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://10.0.0.1:9000/", "10.0.0.1:9000"),
            (":9000", "127.0.0.1:9000"),
            ("proxy.example.com", "proxy.example.com:8081"),
            ("http://proxy.example.com", "proxy.example.com:80"),
            ("[::1]:9000", "[::1]:9000"),
            ("[::1]", "[::1]:8081"),
            ("0.0.0.0:9000", "127.0.0.1:9000"),
            ("http://[::]:9000", "[::1]:9000"),
            (" 127.0.0.1:41234\n", "127.0.0.1:41234"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), authority, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for (text, reason) in
            [("", "it is empty"), ("https://a:1", "not https"), ("a:99999", "65535"), ("a/b:1", "more than a host")]
        {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_file_of_a_running_host_comes_before_the_default() {
        let guard = tempfile::tempdir().unwrap();
        let data_dir = guard.path();
        let default = Address::find(None, data_dir).unwrap();
        assert_eq!((default.to_string().as_str(), default.origin()), (DEFAULT_AUTHORITY, String::new()));

        std::fs::write(data_dir.join(SIDECAR_ADDRESS), "127.0.0.1:41234\n").unwrap();
        let found = Address::find(None, data_dir).unwrap();
        assert_eq!(found.to_string(), "127.0.0.1:41234");
        assert!(found.origin().contains(SIDECAR_ADDRESS));
        assert!(!found.is_given());

        let given = Address::find(Some(":1"), data_dir).unwrap();
        assert_eq!(given.to_string(), "127.0.0.1:1");
    }
}
