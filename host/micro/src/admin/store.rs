//! The stores of a host, through its admin API.

use super::{ANSWER_LIMIT, Answer, Host, HostError, query, segment};
use reqwest::Method;
use serde::Deserialize;

/// The header that carries the version of a value.
const VERSION: &str = "micro-version";

/// `GET /v1/stores`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Stores {
    /// Every store, sorted by name.
    pub stores: Vec<Usage>,
}

/// A store and the room it takes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Its name.
    pub name: String,
    /// How many entries it has.
    pub entries: u64,
    /// The bytes of its keys and values.
    pub bytes: u64,
}

/// A page of `GET /v1/stores/{store}/keys`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Keys {
    /// In the order of their bytes.
    pub keys: Vec<String>,
    /// The key after which the next page begins, if there may be one.
    pub next: Option<String>,
}

/// A value as it was put.
#[derive(Debug, Clone, Default)]
pub struct Value {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Counted up by each put into its store.
    pub version: u64,
}

/// What a put answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Put {
    /// The version that the value was given.
    pub version: u64,
}

/// What a delete answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Deleted {
    /// Whether there was a value.
    pub deleted: bool,
}

impl Host {
    /// All stores with the room they take.
    pub async fn stores(&self) -> Result<Answer<Stores>, HostError> {
        let request = self.admin(Method::GET, "/v1/stores").await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// Keys of a store that begin with `prefix` and come after `after`; at most `limit`, or as many as the host gives.
    pub async fn keys(
        &self,
        store: &str,
        prefix: &str,
        after: &str,
        limit: Option<u32>,
    ) -> Result<Answer<Keys>, HostError> {
        let limit = limit.map(|limit| limit.to_string());
        let mut pairs = vec![("prefix", prefix), ("after", after)];
        pairs.extend(limit.as_deref().map(|limit| ("limit", limit)));
        let path = format!("/v1/stores/{}/keys?{}", segment(store), query(&pairs));
        let request = self.admin(Method::GET, &path).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// The value at a key.
    pub async fn value(&self, store: &str, key: &str) -> Result<Value, HostError> {
        let request = self.admin(Method::GET, &value_path(store, key)?).await?;
        let response = self.send(request.timeout(ANSWER_LIMIT)).await?;
        let version = response.headers().get(VERSION).and_then(|version| version.to_str().ok()?.parse().ok());
        let version = version.unwrap_or_default();
        let bytes = response.bytes().await.map_err(|error| self.broken(&error))?.to_vec();
        Ok(Value { bytes, version })
    }

    /// Puts a value: for as long as `ttl` says, and only if the one before it is at `if_version`.
    pub async fn put_value(
        &self,
        store: &str,
        key: &str,
        value: Vec<u8>,
        ttl: Option<&str>,
        if_version: Option<u64>,
    ) -> Result<Answer<Put>, HostError> {
        let if_version = if_version.map(|version| version.to_string());
        let pairs = [("ttl", ttl), ("if-version", if_version.as_deref())];
        let pairs: Vec<_> = pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let path = format!("{}?{}", value_path(store, key)?, query(&pairs));
        let request = self.admin(Method::PUT, &path).await?;
        self.answer(request.timeout(ANSWER_LIMIT).body(value)).await
    }

    /// Removes a value.
    pub async fn delete_value(&self, store: &str, key: &str) -> Result<Answer<Deleted>, HostError> {
        let request = self.admin(Method::DELETE, &value_path(store, key)?).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }
}

fn value_path(store: &str, key: &str) -> Result<String, HostError> {
    // In a URL these mean a place, however they are written.
    if let Some(word) = [store, key].into_iter().find(|word| matches!(*word, "." | ".." | "")) {
        let detail = format!("{word:?} cannot stand in the path of a request: only a guest reaches what is named so");
        return Err(HostError::Refused(micro_mesh::Error::bad_request("micro", detail)));
    }
    Ok(format!("/v1/stores/{}/values/{}", segment(store), segment(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_in_its_segment() {
        assert_eq!(value_path("carts", "a/../b c?").unwrap(), "/v1/stores/carts/values/a%2F..%2Fb%20c%3F");
        for (store, key) in [("..", "a"), ("carts", ".."), ("carts", "")] {
            assert!(value_path(store, key).is_err(), "{store} {key}");
        }
    }
}
