//! How a component takes HTTP requests.

use serde::{Deserialize, Serialize};

/// The interface by which a component takes HTTP requests as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Web {
    /// `wasi:http/incoming-handler@0.2`
    #[serde(rename = "0.2")]
    Wasi02,
    /// `wasi:http/handler@0.3`
    #[serde(rename = "0.3")]
    Wasi03,
}

impl Web {
    /// The exports that say so, without the rest of their versions.
    const INTERFACES: [(&str, Web); 2] =
        [("wasi:http/handler@0.3.", Web::Wasi03), ("wasi:http/incoming-handler@0.2.", Web::Wasi02)];

    /// The export that says so, and what it says.
    pub(super) fn find(exports: &[String]) -> Option<(&str, Web)> {
        Web::INTERFACES.iter().find_map(|(name, web)| {
            let export = exports.iter().find(|export| export.starts_with(name))?;
            Some((export.as_str(), *web))
        })
    }

    /// `wasi:http 0.2`
    pub fn as_str(self) -> &'static str {
        match self {
            Web::Wasi02 => "wasi:http 0.2",
            Web::Wasi03 => "wasi:http 0.3",
        }
    }
}
