//! `wasi:keyvalue`: the stores of `micro:function/store` under the names that other hosts know them by. The empty name and
//! `default` stand for the deployment's own store.
//!
//! Two drafts are in use. In the first one `increment` knows no numbers below zero, and there is no compare-and-swap.

use super::State;
use crate::limits::DIRECT_FUEL;
use bytes::Bytes;
use micro_mesh::Store;
use micro_mesh::store::{KeyQuery, MAX_KEYS_LISTED, MAX_STORE_NAME, PutOptions, StoreError};
use std::sync::Arc;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};

/// The name that other hosts have for the store that needs none.
const DEFAULT: &str = "default";

/// How often an increment is tried against others who change the same value.
const MAX_TRIES: usize = 100;

/// Keys that one call of `wasi:keyvalue/batch` may name.
const MAX_BATCH: usize = 1_000;

/// Bytes of all values that one call of `get-many` may give: as many as a guest may bring to the host at once.
const MAX_FOUND: usize = DIRECT_FUEL;

/// A store that a guest has opened.
#[derive(Clone)]
struct Bucket {
    store: Arc<dyn Store>,
    name: String,
}

/// A value at a key as it was last read, to be put anew only if nobody else did.
struct Cas {
    bucket: Bucket,
    key: String,
    version: u64,
}

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Failure {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum CasFailure {
    #[component(name = "store-error")]
    Store(Failure),
    #[component(name = "cas-failed")]
    Changed(Resource<Cas>),
}

/// A page of keys; `C` is what the next one is asked for with.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Keys<C> {
    keys: Vec<String>,
    cursor: Option<C>,
}

type Answer<T, E = Failure> = std::result::Result<T, E>;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Other(error.to_string())
    }
}

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    let mut second = linker.instance("wasi:keyvalue/store@0.2.0-draft2")?;
    link_bucket(&mut second)?;
    second.func_wrap_async(
        "[method]bucket.list-keys",
        |mut store: StoreContextMut<'_, State>, (bucket, after): (Resource<Bucket>, Option<String>)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move {
                let page = bucket?.page(after.unwrap_or_default()).await;
                Ok((page.map(|(keys, cursor)| Keys { keys, cursor }),))
            })
        },
    )?;
    // Cursors of the first draft are numbers: they say how many keys were seen.
    let mut first = linker.instance("wasi:keyvalue/store@0.2.0-draft")?;
    link_bucket(&mut first)?;
    first.func_wrap_async(
        "[method]bucket.list-keys",
        |mut store: StoreContextMut<'_, State>, (bucket, seen): (Resource<Bucket>, Option<u64>)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.counted_page(seen.unwrap_or(0)).await,)) })
        },
    )?;
    link_batch(linker)?;
    link_atomics(linker)
}

/// What both drafts have in common.
fn link_bucket(instance: &mut LinkerInstance<'_, State>) -> Result<()> {
    instance.resource("bucket", ResourceType::host::<Bucket>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Bucket>::new_own(rep))?;
        Ok(())
    })?;
    instance.func_wrap("open", |mut store: StoreContextMut<'_, State>, (name,): (String,)| {
        let state = store.data_mut();
        Ok((match state.open_bucket(&name) {
            Ok(bucket) => Ok(state.table.push(bucket)?),
            Err(failure) => Err(failure),
        },))
    })?;
    instance.func_wrap_async(
        "[method]bucket.get",
        |mut store: StoreContextMut<'_, State>, (bucket, key): (Resource<Bucket>, String)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.get(&key).await,)) })
        },
    )?;
    instance.func_wrap_async(
        "[method]bucket.set",
        |mut store: StoreContextMut<'_, State>, (bucket, key, value): (Resource<Bucket>, String, Vec<u8>)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.set(&key, value).await,)) })
        },
    )?;
    instance.func_wrap_async(
        "[method]bucket.delete",
        |mut store: StoreContextMut<'_, State>, (bucket, key): (Resource<Bucket>, String)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.delete(&key).await,)) })
        },
    )?;
    instance.func_wrap_async(
        "[method]bucket.exists",
        |mut store: StoreContextMut<'_, State>, (bucket, key): (Resource<Bucket>, String)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.get(&key).await.map(|value| value.is_some()),)) })
        },
    )
}

fn link_batch(linker: &mut Linker<State>) -> Result<()> {
    type Found = Vec<(String, Option<Vec<u8>>)>;
    type FoundOnly = Vec<Option<(String, Vec<u8>)>>;
    let mut second = linker.instance("wasi:keyvalue/batch@0.2.0-draft2")?;
    link_changes_of_many(&mut second)?;
    second.func_wrap_async(
        "get-many",
        |mut store: StoreContextMut<'_, State>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.get_many(keys).await,)) as Result<(Answer<Found>,)> })
        },
    )?;
    let mut first = linker.instance("wasi:keyvalue/batch@0.2.0-draft")?;
    link_changes_of_many(&mut first)?;
    first.func_wrap_async(
        "get-many",
        |mut store: StoreContextMut<'_, State>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move {
                let found = bucket?.get_many(keys).await;
                let only = |found: Found| found.into_iter().map(|(key, value)| Some((key, value?))).collect();
                Ok((found.map(only),)) as Result<(Answer<FoundOnly>,)>
            })
        },
    )
}

fn link_changes_of_many(instance: &mut LinkerInstance<'_, State>) -> Result<()> {
    instance.func_wrap_async(
        "set-many",
        |mut store: StoreContextMut<'_, State>, (bucket, entries): (Resource<Bucket>, Vec<(String, Vec<u8>)>)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.set_many(entries).await,)) })
        },
    )?;
    instance.func_wrap_async(
        "delete-many",
        |mut store: StoreContextMut<'_, State>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.delete_many(keys).await,)) })
        },
    )
}

fn link_atomics(linker: &mut Linker<State>) -> Result<()> {
    linker.instance("wasi:keyvalue/atomics@0.2.0-draft")?.func_wrap_async(
        "increment",
        |mut store: StoreContextMut<'_, State>, (bucket, key, delta): (Resource<Bucket>, String, u64)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.increment::<u64>(&key, |value| value.checked_add(delta)).await,)) })
        },
    )?;
    let mut second = linker.instance("wasi:keyvalue/atomics@0.2.0-draft2")?;
    second.func_wrap_async(
        "increment",
        |mut store: StoreContextMut<'_, State>, (bucket, key, delta): (Resource<Bucket>, String, i64)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move { Ok((bucket?.increment::<i64>(&key, |value| value.checked_add(delta)).await,)) })
        },
    )?;
    second.resource("cas", ResourceType::host::<Cas>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Cas>::new_own(rep))?;
        Ok(())
    })?;
    second.func_wrap_async(
        "[static]cas.new",
        |mut store: StoreContextMut<'_, State>, (bucket, key): (Resource<Bucket>, String)| {
            let bucket = store.data_mut().bucket(&bucket);
            Box::new(async move {
                Ok((match bucket?.cas(key).await {
                    Ok((cas, _)) => Ok(store.data_mut().table.push(cas)?),
                    Err(failure) => Err(failure),
                },))
            })
        },
    )?;
    second.func_wrap_async(
        "[method]cas.current",
        |mut store: StoreContextMut<'_, State>, (cas,): (Resource<Cas>,)| {
            Box::new(async move {
                let own = store.data_mut().table.get(&cas)?;
                let (bucket, key) = (own.bucket.clone(), own.key.clone());
                Ok((match bucket.cas(key).await {
                    // What is read now is what a swap replaces.
                    Ok((now, value)) => {
                        *store.data_mut().table.get_mut(&cas)? = now;
                        Ok(value)
                    }
                    Err(failure) => Err(failure),
                },))
            })
        },
    )?;
    second.func_wrap_async("swap", |mut store: StoreContextMut<'_, State>, (cas, value): (Resource<Cas>, Vec<u8>)| {
        Box::new(async move {
            let Cas { bucket, key, version } = store.data_mut().table.delete(cas)?;
            let put = bucket.store.put(&bucket.name, &key, Bytes::from(value), PutOptions::if_version(version)).await;
            Ok((match put {
                Ok(_) => Ok(()),
                Err(StoreError::Conflict { version }) => {
                    let now = store.data_mut().table.push(Cas { bucket, key, version })?;
                    Err(CasFailure::Changed(now))
                }
                Err(error) => Err(CasFailure::Store(error.into())),
            },))
        })
    })
}

impl State {
    fn open_bucket(&self, name: &str) -> Answer<Bucket> {
        let name = if name == DEFAULT { "" } else { name };
        let Some(store) = &self.origin.access.store else { return Err(Failure::NoSuchStore) };
        if name.len() > MAX_STORE_NAME {
            // A pattern of [allow] may fit names of any length, and a bucket keeps its own.
            return Err(Failure::NoSuchStore);
        }
        match self.store_name(name) {
            Some(name) => Ok(Bucket { store: store.clone(), name: name.to_string() }),
            None => {
                self.origin.access.deny(self.origin.scope.id, &super::store::denial(&self.origin.access.service, name));
                Err(Failure::AccessDenied)
            }
        }
    }

    fn bucket(&mut self, bucket: &Resource<Bucket>) -> Result<Bucket> {
        Ok(self.table.get(bucket)?.clone())
    }
}

impl Bucket {
    async fn get(&self, key: &str) -> Answer<Option<Vec<u8>>> {
        Ok(self.store.get(&self.name, key).await?.map(|entry| entry.value.into()))
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Answer<()> {
        self.store.put(&self.name, key, Bytes::from(value), PutOptions::default()).await?;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Answer<()> {
        self.store.delete(&self.name, key).await?;
        Ok(())
    }

    /// The keys after one, and the last of them if there may be more.
    async fn page(&self, after: String) -> Answer<(Vec<String>, Option<String>)> {
        let keys = self.store.keys(&self.name, KeyQuery { after, ..KeyQuery::default() }).await?;
        let last = if keys.len() == MAX_KEYS_LISTED as usize { keys.last().cloned() } else { None };
        Ok((keys, last))
    }

    /// The page of keys behind so many.
    async fn counted_page(&self, seen: u64) -> Answer<Keys<u64>> {
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let (keys, last) = self.page(after).await?;
            let next = count + keys.len() as u64;
            match last {
                Some(last) if next <= seen => (after, count) = (last, next),
                last => {
                    let keys = keys.into_iter().skip(usize::try_from(seen - count.min(seen)).unwrap_or(usize::MAX));
                    return Ok(Keys { keys: keys.collect(), cursor: last.map(|_| next) });
                }
            }
        }
    }

    async fn get_many(&self, keys: Vec<String>) -> Answer<Vec<(String, Option<Vec<u8>>)>> {
        check_batch(keys.len())?;
        let mut found = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            let value = self.get(&key).await?;
            bytes += value.as_ref().map_or(0, Vec::len);
            if bytes > MAX_FOUND {
                return Err(Failure::Other(format!("the values have more than {MAX_FOUND} bytes: ask in parts")));
            }
            found.push((key, value));
        }
        Ok(found)
    }

    async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Answer<()> {
        check_batch(entries.len())?;
        for (key, value) in entries {
            self.set(&key, value).await?;
        }
        Ok(())
    }

    async fn delete_many(&self, keys: Vec<String>) -> Answer<()> {
        check_batch(keys.len())?;
        for key in keys {
            self.delete(&key).await?;
        }
        Ok(())
    }

    async fn cas(&self, key: String) -> Answer<(Cas, Option<Vec<u8>>)> {
        let found = self.store.get(&self.name, &key).await?;
        let (version, value) = found.map_or((0, None), |entry| (entry.version, Some(entry.value.into())));
        Ok((Cas { bucket: self.clone(), key, version }, value))
    }

    /// Changes a number, which is kept as the text that people write; none yet is 0.
    async fn increment<N>(&self, key: &str, add: impl Fn(N) -> Option<N>) -> Answer<N>
    where
        N: std::str::FromStr + std::fmt::Display + Copy + Default,
    {
        for _ in 0..MAX_TRIES {
            let found = self.store.get(&self.name, key).await?;
            let (version, number) = match &found {
                None => (0, Some(N::default())),
                Some(entry) => {
                    (entry.version, std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()))
                }
            };
            let number = number.ok_or_else(|| Failure::Other(format!("the value at {key:?} is no number")))?;
            let sum = add(number).ok_or_else(|| Failure::Other(format!("{number} at {key:?} can grow no further")))?;
            let put = self.store.put(&self.name, key, sum.to_string().into(), PutOptions::if_version(version)).await;
            match put {
                Ok(_) => return Ok(sum),
                Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::Other(format!("others changed {key:?} {MAX_TRIES} times meanwhile: try again later")))
    }
}

fn check_batch(keys: usize) -> Answer<()> {
    match keys > MAX_BATCH {
        true => Err(Failure::Other(format!("{keys} keys at once, and {MAX_BATCH} at most may be: ask in parts"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use micro_mesh::store::{MAX_VALUE, OpenOptions, memory, open};

    #[tokio::test]
    async fn many_values_at_once_are_bounded_in_bytes() {
        let store = open(memory::NAME, OpenOptions::default()).await.unwrap();
        let bucket = Bucket { store, name: "own".into() };
        bucket.set("k", vec![0; MAX_VALUE]).await.unwrap();
        let most = MAX_FOUND / MAX_VALUE;
        assert_eq!(bucket.get_many(vec!["k".into(); most]).await.unwrap().len(), most);
        let failure = bucket.get_many(vec!["k".into(); most + 1]).await.unwrap_err();
        assert!(matches!(&failure, Failure::Other(reason) if reason.contains("ask in parts")), "{failure:?}");
    }
}
