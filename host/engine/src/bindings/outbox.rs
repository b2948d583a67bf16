//! `micro:function/outbox`: values and messages in one step.

use super::State;
use super::contract::outbox::{Change, Host, Message, Put, Refusal};
use super::contract::store::Failure;
use super::store::failure;
use bytes::Bytes;
use micro_mesh::{Error, store};
use wasmtime::Result;

type Answer<T> = std::result::Result<T, Refusal>;

impl Host for State {
    async fn commit(
        &mut self,
        store: String,
        changes: Vec<Change>,
        messages: Vec<Message>,
    ) -> Result<Answer<Vec<u64>>> {
        let name = match self.named_store(&store) {
            Ok((_, name)) => name,
            Err(failure) => return Ok(Err(whole(failure))),
        };
        let Some(outbox) = &self.origin.access.outbox else {
            return Ok(Err(whole(Failure::Unavailable("the host has no outbox".into()))));
        };
        let messages = messages.into_iter().map(|Message { topic, outgoing }| self.outgoing(topic, outgoing));
        let messages = match messages.collect::<std::result::Result<Vec<_>, Error>>() {
            Ok(messages) => messages,
            Err(error) => return Ok(Err(whole(denied(error)))),
        };
        let changes: Vec<store::Change> = changes.into_iter().map(|change| change.of(name.clone())).collect();
        let keys: Vec<String> = changes.iter().map(|change| change.key.clone()).collect();
        let committed = outbox.commit(changes, messages).await;
        Ok(committed.map_err(|store::Refusal { change, error }| Refusal {
            key: change.and_then(|at| keys.into_iter().nth(at)),
            why: failure(error),
        }))
    }
}

impl Change {
    /// The same, of a store by its full name.
    fn of(self, store: String) -> store::Change {
        match self {
            Change::Put(Put { key, value, options }) => {
                store::Change { store, key, value: Some((Bytes::from(value), options.into())) }
            }
            Change::Delete(key) => store::Change { store, key, value: None },
        }
    }
}

fn whole(why: Failure) -> Refusal {
    Refusal { key: None, why }
}

/// Why a message cannot be published.
fn denied(error: Error) -> Failure {
    match error.code {
        403 => Failure::Denied(error.detail),
        413 => Failure::TooLarge(error.detail),
        _ => Failure::Unavailable(error.detail),
    }
}
