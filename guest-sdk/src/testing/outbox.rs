//! Both of them in one step: the stores in memory, and what is told of published messages.

use super::{events, stores};
use crate::bindings::micro::function::store::Failure;
use crate::outbox::{Change, Message, Refused};
use crate::types::Error;

pub(crate) fn commit(store: &str, changes: &[Change], messages: &[Message]) -> Result<Vec<u64>, Refused> {
    let make = |change: &Change| {
        let (key, made) = match change {
            Change::Put(put) => (&put.key, stores::put(store, &put.key, &put.value, put.options)),
            Change::Delete(key) => (key, stores::delete(store, key).map(|_| 0)),
        };
        made.map_err(|why| Refused { key: Some(key.clone()), why })
    };
    let unavailable = |error: Error| Refused { key: None, why: Failure::Unavailable(error.detail) };
    stores::all_or_none(|| {
        let versions = changes.iter().map(make).collect::<Result<Vec<u64>, Refused>>()?;
        messages
            .iter()
            .try_for_each(|message| events::publish(&message.topic, &message.outgoing))
            .map_err(unavailable)?;
        Ok(versions)
    })
}
