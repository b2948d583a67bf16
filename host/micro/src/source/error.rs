//! Why a source gives no component.

use crate::build::BuildError;
use micro_engine::inspect::MAX_COMPONENT;

/// What keeps a source from becoming a component; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The text names nothing.
    #[error("source {text:?}: {reason}")]
    Text {
        /// As it was given, without passwords.
        text: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// What was found does not build, or cannot be read.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The program `git` is missing.
    #[error(
        "fetch {0}: no program `git` on PATH: install it (on Debian: apt-get install git), or name a folder or a .wasm \
         file"
    )]
    NoGit(String),
    /// Somebody else, or the way there, failed.
    #[error("{action} {place}: {reason}")]
    Failed {
        /// In a word or two: `fetch`, `push`.
        action: &'static str,
        /// The URL or the reference, without passwords.
        place: String,
        /// What was said there.
        reason: String,
    },
    /// The bytes are not those that were asked for.
    #[error(
        "fetch {place}: expected {expected}, got {actual}: nothing was deployed; if the new content is wanted, write its \
         digest"
    )]
    WrongDigest {
        /// The URL.
        place: String,
        /// `sha256:…`, as it was asked for.
        expected: String,
        /// `sha256:…` of what came.
        actual: String,
    },
    /// More than the host would take.
    #[error("fetch {0}: it is larger than {limit}, the largest component that a host takes", limit = bytesize::ByteSize::b(MAX_COMPONENT as u64))]
    TooLarge(String),
}

impl SourceError {
    pub(super) fn failed(action: &'static str, place: impl Into<String>, reason: impl ToString) -> SourceError {
        SourceError::Failed { action, place: place.into(), reason: reason.to_string() }
    }
}

/// What an HTTP client's error is about: the outer ones only repeat the URL.
pub(super) fn http_reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_connect() { format!("no connection: {cause}") } else { cause.to_string() }
}
