//! Environment variables of the guest: a text, or a secret of the host.

use serde::{Deserialize, Serialize};

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text, or { secret = \"NAME\" }")]
pub enum Variable {
    /// As it stands.
    Text(String),
    /// What the host keeps under a name.
    Secret(SecretName),
}

/// `{ secret = "stripe-key" }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretName {
    /// The name that the host knows it by.
    pub secret: String,
}

impl From<String> for Variable {
    fn from(text: String) -> Variable {
        Variable::Text(text)
    }
}
