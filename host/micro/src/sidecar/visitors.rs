//! Who may come to the sidecar: programs, and not the web pages that a person beside the host looks at.
//!
//! A browser lets any page send requests to `127.0.0.1`. It does not show the page the answer, but a call has been made
//! by then, and none of the sidecar's calls asks for a token. Three headers that a page cannot choose tell it apart:
//!
//! - `Sec-Fetch-Site` says where the page came from. Browsers send it with everything, an image too, to addresses of
//!   their own machine. Only what came from this very door may call it, and what a person typed.
//! - `Origin` names the page. Browsers that do not know the other header send it with whatever a page may not get as an
//!   image; the rule is the same.
//! - `Host` names whom the page believes to talk to. A page whose name was turned to `127.0.0.1` after it was loaded
//!   (DNS rebinding) gives its own. So a sidecar that listens for its own machine alone is `localhost`, or a number.
//!   One that listens for others has names that only they know; there a proxy or the network decides who comes in.
//!
//! The gateway asks for neither. Pages are among those that it is for, and proxies in front give it any name.

use super::ID;
use crate::gateway::error_response;
use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::{Authority, Uri};
use axum::middleware::Next;
use axum::response::Response;
use micro_mesh::Error;
use std::net::{IpAddr, SocketAddr};

/// Where a page came from that sends a request, as seen from where it is sent to.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rule of one sidecar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visitors {
    is_local: bool,
}

impl Visitors {
    /// For a sidecar that listens there.
    pub(super) fn of(address: SocketAddr) -> Visitors {
        Visitors { is_local: address.ip().is_loopback() }
    }

    /// Why a request is not for this door.
    fn refuse(self, request: &Request) -> Option<String> {
        let headers = request.headers();
        let host = match request.uri().authority() {
            Some(authority) => Some(authority.clone()),
            None => headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok()),
        };
        // A client of HTTP/1.0 names nobody. What is no name is not this machine's either.
        let is_named = host.is_some() || headers.contains_key(HOST);
        let name = host.as_ref().map_or("", Authority::host);
        if self.is_local && is_named && !is_this_machine(name) {
            return Some(format!(
                "the host {name:?} is not known here: this door is for its own machine, so call it localhost or 127.0.0.1"
            ));
        }
        if headers.get_all(SITE).iter().any(|site| site != "same-origin" && site != "none") {
            return Some("web pages may not call this door: it is for programs; pages call the gateway".into());
        }
        let origin = headers.get(ORIGIN)?;
        let page = Uri::try_from(origin.as_bytes()).ok();
        if host.is_some() && page.as_ref().and_then(Uri::authority) == host.as_ref() {
            return None;
        }
        let page = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        Some(format!("the web page {page:?} may not call this door: it is for programs; pages call the gateway"))
    }
}

fn is_this_machine(host: &str) -> bool {
    let number = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    number.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

/// Answers 403 to those who may not come in.
pub(super) async fn check(State(visitors): State<Visitors>, request: Request, next: Next) -> Response {
    match visitors.refuse(&request) {
        Some(reason) => error_response(Error::forbidden(ID, reason)),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn is_refused(listens: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().uri("/rpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Visitors::of(listens.parse().unwrap()).refuse(&request.body(Body::empty()).unwrap()).is_some()
    }

    #[test]
    fn a_local_door_has_no_name_but_its_machines() {
        for host in ["127.0.0.1:8081", "localhost:8081", "LOCALHOST", "micro.localhost:1", "[::1]:8081", "10.0.0.1"] {
            assert!(!is_refused("127.0.0.1:8081", &[("host", host)]), "{host}");
        }
        for host in ["evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost", "x"] {
            assert!(is_refused("127.0.0.1:8081", &[("host", host)]), "{host}");
            assert!(is_refused("[::1]:8081", &[("host", host)]), "{host}");
            assert!(!is_refused("0.0.0.0:8081", &[("host", host)]), "{host}: others know it by a name");
        }
        assert!(!is_refused("127.0.0.1:8081", &[]), "HTTP/1.0");
    }

    #[test]
    fn a_host_that_is_no_name_is_not_that_of_this_machine() {
        for host in ["evil.example/", "http://evil.example", "evil example", "evil.example:80:80", "\u{e9}", "[", ""] {
            assert!(is_refused("127.0.0.1:8081", &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn an_image_on_a_page_from_elsewhere_is_refused_though_it_has_no_origin() {
        let host = ("host", "127.0.0.1:8081");
        for (site, expected) in [("cross-site", true), ("same-site", true), ("same-origin", false), ("none", false)] {
            for listens in ["127.0.0.1:8081", "0.0.0.0:8081"] {
                assert_eq!(is_refused(listens, &[host, ("sec-fetch-site", site)]), expected, "{site}");
            }
        }
        assert!(is_refused("127.0.0.1:8081", &[host, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn a_page_from_elsewhere_is_refused_wherever_the_door_is() {
        let host = ("host", "127.0.0.1:8081");
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8080", "http://127.0.0.1", "file://", "\u{e9}"]
        {
            for listens in ["127.0.0.1:8081", "0.0.0.0:8081"] {
                assert!(is_refused(listens, &[host, ("origin", origin)]), "{origin}");
            }
        }
        assert!(!is_refused("127.0.0.1:8081", &[host, ("origin", "http://127.0.0.1:8081")]), "its own page");
        assert!(is_refused("127.0.0.1:8081", &[("host", "evil.example"), ("origin", "http://evil.example")]));
    }
}
