//! `micro:function/store`: keys and values that outlive instances.

use super::State;
use super::contract::store::{Entry, Failure, Host, PutOptions};
use bytes::Bytes;
use micro_mesh::Store;
use micro_mesh::store::{KeyQuery, StoreError};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;

type Answer<T> = std::result::Result<T, Failure>;

impl Host for State {
    async fn get(&mut self, store: String, key: String) -> Result<Answer<Option<Entry>>> {
        let (store, name) = match self.named_store(&store) {
            Ok(found) => found,
            Err(failure) => return Ok(Err(failure)),
        };
        let found = store.get(&name, &key).await;
        let entry = |entry: micro_mesh::store::Entry| Entry { key, value: entry.value.into(), version: entry.version };
        Ok(found.map(|found| found.map(entry)).map_err(failure))
    }

    async fn put(&mut self, store: String, key: String, value: Vec<u8>, options: PutOptions) -> Result<Answer<u64>> {
        let (store, name) = match self.named_store(&store) {
            Ok(found) => found,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(store.put(&name, &key, Bytes::from(value), options.into()).await.map_err(failure))
    }

    async fn delete(&mut self, store: String, key: String) -> Result<Answer<bool>> {
        let (store, name) = match self.named_store(&store) {
            Ok(found) => found,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(store.delete(&name, &key).await.map_err(failure))
    }

    async fn keys(&mut self, store: String, prefix: String, after: String, limit: u32) -> Result<Answer<Vec<String>>> {
        let (store, name) = match self.named_store(&store) {
            Ok(found) => found,
            Err(failure) => return Ok(Err(failure)),
        };
        let query = KeyQuery { prefix, after, limit };
        Ok(store.keys(&name, query).await.map_err(failure))
    }
}

impl State {
    /// The store that a guest means, and its full name.
    pub(super) fn named_store(&self, name: &str) -> Answer<(Arc<dyn Store>, String)> {
        let access = &self.origin.access;
        let Some(store) = &access.store else { return Err(Failure::Unavailable("the host keeps no stores".into())) };
        let own = &access.service;
        let Some(full) = self.store_name(name) else {
            access.count_denied();
            return Err(Failure::Denied(denial(own, name)));
        };
        Ok((store.clone(), full.to_string()))
    }

    /// The full name of the store that a guest means: its own, or one that its manifest allows.
    pub(super) fn store_name<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        let own = &*self.origin.access.service;
        match name.is_empty() || name == own {
            true => Some(own),
            false => self.origin.access.allow.may_open(name).then_some(name),
        }
    }
}

impl From<PutOptions> for micro_mesh::store::PutOptions {
    fn from(options: PutOptions) -> Self {
        Self { ttl: options.ttl.map(Duration::from_millis), if_version: options.if_version }
    }
}

/// Why a guest may not open a store.
pub(super) fn denial(own: &str, name: &str) -> String {
    format!("{own} may not open the store {name}: its micro.toml does not name it in `store` below [allow]")
}

pub(super) fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Conflict { version } => Failure::Conflict(version),
        StoreError::TooLarge(_) => Failure::TooLarge(error.to_string()),
        _ => Failure::Unavailable(error.to_string()),
    }
}
