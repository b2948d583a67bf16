//! `[allow]`: what a deployment may reach.

use super::destination::{self, Destination};
use super::folder::Folder;
use micro_mesh::store::HOSTS_OWN;
use serde::{Deserialize, Serialize};

/// The longest pattern for a name.
const MAX_PATTERN: usize = 128;

/// `[allow]`: nothing is reached that is not named here. Lists that can be missing tell apart what was forgotten from
/// what is empty on purpose.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Allow {
    /// Services that it may call by name; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Vec<String>>,
    /// Stores beside its own that it may open; `*` stands for anything.
    pub store: Vec<String>,
    /// Hosts that its HTTP requests may go to.
    #[serde(deserialize_with = "destination::http", skip_serializing_if = "Option::is_none")]
    pub http: Option<Vec<Destination>>,
    /// Hosts and ports that it may connect to by TCP.
    #[serde(deserialize_with = "destination::tcp", skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<Destination>,
    /// Variables of the host's own environment that it is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Secrets of the host that it is given, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Folders of the host that it may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Folder>,
    /// Topics that it may publish to; `*` stands for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
}

impl Allow {
    /// Whether the service may be called by name.
    pub fn may_call(&self, service: &str) -> bool {
        self.call.iter().flatten().any(|pattern| matches(pattern, service))
    }

    /// Whether the store may be opened.
    pub fn may_open(&self, store: &str) -> bool {
        !store.starts_with(HOSTS_OWN) && self.store.iter().any(|pattern| matches(pattern, store))
    }

    /// Whether it may publish to the topic.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.iter().any(|pattern| matches(pattern, topic))
    }

    /// Adds what the deployer allows beside the manifest.
    pub fn extend(&mut self, more: Allow) {
        let Allow { call, store, http, tcp, env, secrets, files, publish } = more;
        extend_list(&mut self.call, call);
        extend_list(&mut self.http, http);
        self.store.extend(store);
        self.tcp.extend(tcp);
        self.env.extend(env);
        self.secrets.extend(secrets);
        self.files.extend(files);
        self.publish.extend(publish);
    }

    /// Says what is wrong with a pattern, if so. Destinations and folders were checked when they were read.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = "expected letters, digits and any of - _ . : with * for anything";
        let variable = "expected the name of an environment variable: letters, digits and _";
        let secret = "expected the name of a secret: letters, digits and any of - _ .";
        let is_variable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let call = self.call.as_deref().unwrap_or_default();
        check_each("call", call, name, is_in_pattern)?;
        check_each("store", &self.store, name, is_in_pattern)?;
        if let Some(store) = self.store.iter().find(|store| store.starts_with(HOSTS_OWN)) {
            return Err(format!("allow.store {store:?}: stores that begin with {HOSTS_OWN} are the host's own"));
        }
        check_each("publish", &self.publish, name, is_in_pattern)?;
        check_each("env", &self.env, variable, is_variable)?;
        check_each("secrets", &self.secrets, secret, is_in_secret)
    }
}

fn extend_list<T>(list: &mut Option<Vec<T>>, more: Option<Vec<T>>) {
    if let Some(more) = more {
        list.get_or_insert_default().extend(more);
    }
}

fn is_in_pattern(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:*".contains(&byte)
}

/// Whether a secret's name may hold it.
pub fn is_in_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn check_each(key: &str, words: &[String], form: &str, is_fit: impl Fn(u8) -> bool) -> Result<(), String> {
    let is_wrong = |word: &&String| word.is_empty() || word.len() > MAX_PATTERN || !word.bytes().all(&is_fit);
    match words.iter().find(is_wrong) {
        Some(wrong) => Err(format!("allow.{key} {wrong:?}: {form}, {MAX_PATTERN} at most")),
        None => Ok(()),
    }
}

/// Whether a name fits a pattern in which each `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    // Each text between stars is taken where it first comes: what is left for those behind it is never more elsewhere.
    for part in middle.split('*') {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pattern_opens_the_stores_of_the_host() {
        let allow = |store: &str| Allow { store: vec![store.to_owned()], ..Allow::default() };
        for pattern in ["*", "micro*", "*outbox", "micro:outbox"] {
            assert!(!allow(pattern).may_open("micro:outbox"), "{pattern}");
        }
        assert!(allow("*").may_open("micro"));
        assert!(allow("micro:outbox").check().unwrap_err().contains("the host's own"));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [
            ("a", "a"),
            ("*", ""),
            ("*", "abc"),
            ("a*", "a"),
            ("a*c", "abc"),
            ("*b*", "abc"),
            ("a*b*c", "aXbYbZc"),
            ("**", "x"),
            ("a*a", "aa"),
            ("*.orders", "eu.orders"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "b"), ("a*a", "a"), ("*b*", "ac"), ("a*b*c", "acb"), ("", "x"), ("*x", "xy")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_longer() {
        assert!(!matches(&"*a".repeat(60), &format!("{}b", "a".repeat(10_000))));
    }
}
