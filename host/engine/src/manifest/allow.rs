//! `[allow]`: what a deployment may reach.

use serde::{Deserialize, Serialize};

/// `[allow]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Allow {
    /// Services that it may call by name; `*` stands for anything.
    pub call: Vec<String>,
    /// Stores beside its own that it may open; `*` stands for anything.
    pub store: Vec<String>,
}

impl Allow {
    /// Whether the service may be called by name.
    pub fn may_call(&self, service: &str) -> bool {
        self.call.iter().any(|pattern| matches(pattern, service))
    }

    /// Whether the store may be opened.
    pub fn may_open(&self, store: &str) -> bool {
        self.store.iter().any(|pattern| matches(pattern, store))
    }
}

/// Whether a name fits a pattern in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            let ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            ends.filter_map(|at| tail.get(at..)).any(|tail| matches(rest, tail))
        }),
    }
}
