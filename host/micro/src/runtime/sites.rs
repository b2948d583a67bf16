//! Where a request goes that came to the gateway.
//!
//! | asked in turn | what it leads to |
//! |---|---|
//! | `[[route]]` with the request's host | an endpoint, or the handler of its deployment |
//! | `host` | the handler of its deployment |
//! | `[[route]]` without a host | an endpoint, or the handler of its deployment |
//! | the longest name that the path begins with and a deployment with a handler has | that handler, without the name |
//! | the first word of the path, where a deployment of that name is a program | a run of it |
//! | go-micro's rules | an endpoint |

use super::Runtime;
use super::paths::Leads;
use http::Method;
use micro_engine::Inspection;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where a request goes.
#[derive(Debug)]
pub enum Destination {
    /// To the HTTP handler of a deployment.
    Handler {
        /// The deployment.
        service: Arc<str>,
        /// How much of the path is its name, which the handler does not see: `/demo/site` of `/demo/site/index.html`.
        prefix: usize,
    },
    /// To the program that a deployment is, whose name is the first word of the path.
    Command {
        /// The deployment.
        service: Arc<str>,
    },
    /// To an endpoint that a manifest names.
    Endpoint {
        /// The deployment.
        service: Arc<str>,
        /// The endpoint.
        endpoint: Arc<str>,
        /// What stands in the path for the pattern's names.
        fields: Vec<(String, String)>,
    },
    /// Where go-micro's rules lead.
    Rules,
}

/// What becomes of an HTTP request below the name of a deployment: inspection tells, and every request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// A call.
    Calls,
    /// Its handler takes it as it is.
    Handler,
    /// A run of the program that it is.
    Command,
}

impl Takes {
    pub(super) fn of(inspection: &Inspection) -> Takes {
        match (inspection.web, inspection.command()) {
            (Some(_), _) => Takes::Handler,
            (None, Some(_)) => Takes::Command,
            (None, None) => Takes::Calls,
        }
    }

    /// As it stands in the database.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Takes::Calls => "calls",
            Takes::Handler => "handler",
            Takes::Command => "command",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Takes> {
        [Takes::Calls, Takes::Handler, Takes::Command].into_iter().find(|takes| takes.as_str() == text)
    }
}

impl Runtime {
    /// Where a request goes.
    pub fn destination(&self, host: Option<&str>, method: &Method, path: &str, namespace: &str) -> Destination {
        let paths = self.paths.load();
        if let Some(found) = paths.find(host, method, path) {
            let service = found.service;
            return match found.leads {
                Leads::Endpoint { endpoint, fields } => Destination::Endpoint { service, endpoint, fields },
                Leads::Handler => Destination::Handler { service, prefix: 0 },
            };
        }
        let mut destination = Destination::Rules;
        let mut name = Cow::Borrowed("");
        let mut prefix = 0;
        for word in path.split('/').skip(1).take(self.most_words.load(Ordering::Relaxed)) {
            prefix += 1 + word.len();
            let Some(plain) = plain(word) else { break };
            name = if name.is_empty() { plain } else { Cow::Owned(format!("{name}.{plain}")) };
            let found = match namespace {
                "" => None,
                _ => self.raw(&format!("{namespace}.{name}")),
            };
            let found = if found.is_some() { found } else { self.raw(&name) };
            destination = match found {
                Some((service, Takes::Handler)) => Destination::Handler { service, prefix },
                Some((service, Takes::Command)) if prefix == 1 + word.len() => Destination::Command { service },
                _ => destination,
            };
        }
        destination
    }

    /// Notes how many words the name of a deployment has: paths are not searched for longer names than there are.
    pub(super) fn note_words(&self, name: &str) {
        self.most_words.fetch_max(name.split('.').count(), Ordering::Relaxed);
    }

    /// The name as the deployment holds it, and what it takes, if it takes more than calls.
    fn raw(&self, name: &str) -> Option<(Arc<str>, Takes)> {
        let routes = self.routes.load();
        let deployment = routes.get(name)?;
        match deployment.takes() {
            Takes::Calls => None,
            takes => Some((deployment.name.clone(), takes)),
        }
    }
}

/// A part of a path as a word of a name; none if it cannot be one.
fn plain(word: &str) -> Option<Cow<'_, str>> {
    let word = match word.contains('%') {
        true => percent_decode_str(word).decode_utf8().ok()?,
        false => Cow::Borrowed(word),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!word.is_empty() && word.bytes().all(is_name)).then_some(word)
}
