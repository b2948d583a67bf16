//! `wasi:messaging` in its draft 0.2: messages as resources, for functions that publish and that take messages as they are.
//!
//! The draft changed whether a message always has a topic; both forms are given what they ask for.

use super::State;
use super::contract::events::Outgoing;
use bytes::Bytes;
use micro_mesh::Error;
use micro_mesh::broker::{CONTENT_TYPE, MAX_HEADER_BYTES, MAX_HEADER_NAMES, MAX_MESSAGE};
use wasmtime::component::types::Type;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType, Val};
use wasmtime::{Result, Store, StoreContextMut, bail, format_err};

/// The interface whose function takes messages.
pub const HANDLER: &str = "wasi:messaging/incoming-handler@";

const TYPES: &str = "wasi:messaging/types@0.2.0-draft";
const PRODUCER: &str = "wasi:messaging/producer@0.2.0-draft";

/// Messages that an instance may hold at a time. Each may have as many bytes as a broker takes.
const MAX_MESSAGES: usize = 16;

/// A connection, of which there is one: to the host's broker, whatever it is called.
struct Client;

/// A message that a guest holds.
#[derive(Default)]
struct Message {
    topic: String,
    content_type: Option<String>,
    data: Bytes,
    metadata: Metadata,
}

type Metadata = Vec<(String, String)>;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Failure {
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "connection")]
    Connection(String),
    #[component(name = "permission-denied")]
    PermissionDenied(String),
    #[component(name = "other")]
    Other(String),
}

type Answer<T = ()> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(Error { code, detail, .. }: Error) -> Failure {
        match code {
            403 => Failure::PermissionDenied(detail),
            408 => Failure::Timeout,
            503 => Failure::Connection(detail),
            _ => Failure::Other(detail),
        }
    }
}

/// The message that a call is about, as a handler takes it.
pub(crate) fn incoming(store: &mut Store<State>, data: Bytes) -> Result<Val> {
    let state = store.data_mut();
    let mut message = Message { data, ..Message::default() };
    if let Some(delivery) = &state.origin.scope.delivery {
        message.topic = delivery.topic.to_string();
        for (name, value) in delivery.header.iter() {
            match name.eq_ignore_ascii_case(CONTENT_TYPE) {
                true => message.content_type = Some(value.to_owned()),
                false => message.metadata.push((name.to_ascii_lowercase(), value.to_owned())),
            }
        }
    }
    let message = state.table.push(message)?;
    Ok(Val::Resource(message.try_into_resource_any(store)?))
}

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.resource("client", ResourceType::host::<Client>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Client>::new_own(rep))?;
        Ok(())
    })?;
    types.func_wrap("[static]client.connect", |mut store: StoreContextMut<'_, State>, (_,): (String,)| {
        Ok((Answer::Ok(store.data_mut().table.push(Client)?),))
    })?;
    types.func_wrap("[method]client.disconnect", |_: StoreContextMut<'_, State>, (_,): (Resource<Client>,)| {
        Ok((Answer::Ok(()),))
    })?;
    link_message(&mut types)?;
    linker.instance(PRODUCER)?.func_wrap_async(
        "send",
        |mut store: StoreContextMut<'_, State>, (_, topic, message): (Resource<Client>, String, Resource<Message>)| {
            let message = store.data_mut().table.delete(message);
            Box::new(async move {
                let Message { content_type, data, metadata, .. } = message?;
                let outgoing = Outgoing {
                    content_type: content_type.unwrap_or_else(|| BYTES.to_owned()),
                    key: None,
                    header: metadata,
                    body: data.into(),
                    deliver_at: None,
                };
                Ok((store.data_mut().publish_message(topic, outgoing).await.map_err(Failure::from),))
            })
        },
    )
}

fn link_message(types: &mut LinkerInstance<'_, State>) -> Result<()> {
    types.resource("message", ResourceType::host::<Message>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Message>::new_own(rep))?;
        Ok(())
    })?;
    types.func_wrap("[constructor]message", |mut store: StoreContextMut<'_, State>, (data,): (Vec<u8>,)| {
        let state = store.data_mut();
        if state.table.iter_mut().filter(|handle| handle.is::<Message>()).count() >= MAX_MESSAGES {
            bail!("more than {MAX_MESSAGES} messages at once: drop those that are done with");
        }
        let message = Message { data: checked(data)?, ..Message::default() };
        Ok((state.table.push(message)?,))
    })?;
    types.func_new("[method]message.topic", |mut store, function, arguments, results| {
        let [Val::Resource(message)] = arguments else { bail!("a message is asked for its topic") };
        let message = message.try_into_resource::<Message>(&mut store)?;
        let topic = store.data().table.get(&message)?.topic.clone();
        let is_optional = matches!(function.results().next(), Some(Type::Option(_)));
        let result = match is_optional {
            true => Val::Option((!topic.is_empty()).then(|| Box::new(Val::String(topic)))),
            false => Val::String(topic),
        };
        *results.first_mut().ok_or_else(|| format_err!("a topic has no place"))? = result;
        Ok(())
    })?;
    types.func_wrap("[method]message.content-type", |store: StoreContextMut<'_, State>, (message,)| {
        Ok((store.data().table.get::<Message>(&message)?.content_type.clone(),))
    })?;
    types.func_wrap("[method]message.set-content-type", |mut store, (message, content_type): (_, String)| {
        of(&mut store, &message)?.change(|message| message.content_type = Some(content_type))
    })?;
    types.func_wrap("[method]message.data", |store: StoreContextMut<'_, State>, (message,)| {
        Ok((store.data().table.get::<Message>(&message)?.data.to_vec(),))
    })?;
    types.func_wrap("[method]message.set-data", |mut store, (message, data): (_, Vec<u8>)| {
        of(&mut store, &message)?.data = checked(data)?;
        Ok(())
    })?;
    types.func_wrap("[method]message.metadata", |store: StoreContextMut<'_, State>, (message,)| {
        let metadata = &store.data().table.get::<Message>(&message)?.metadata;
        Ok(((!metadata.is_empty()).then(|| metadata.clone()),))
    })?;
    types.func_wrap("[method]message.add-metadata", |mut store, (message, name, value): (_, String, String)| {
        of(&mut store, &message)?.change(|message| {
            message.metadata.retain(|(known, _)| *known != name);
            message.metadata.push((name, value));
        })
    })?;
    types.func_wrap("[method]message.set-metadata", |mut store, (message, metadata): (_, Metadata)| {
        of(&mut store, &message)?.change(|message| message.metadata = metadata)
    })?;
    types.func_wrap("[method]message.remove-metadata", |mut store, (message, name): (_, String)| {
        of(&mut store, &message)?.change(|message| message.metadata.retain(|(known, _)| *known != name))
    })
}

/// What a message is that does not say so.
const BYTES: &str = "application/octet-stream";

fn of<'s>(store: &'s mut StoreContextMut<'_, State>, message: &Resource<Message>) -> Result<&'s mut Message> {
    Ok(store.data_mut().table.get_mut(message)?)
}

fn checked(data: Vec<u8>) -> Result<Bytes> {
    if data.len() > MAX_MESSAGE {
        bail!("a message has {} bytes, and may have {MAX_MESSAGE}", data.len());
    }
    Ok(data.into())
}

impl Message {
    /// Changes what is said of it, which may not be more than any message may say.
    fn change(&mut self, change: impl FnOnce(&mut Message)) -> Result<()> {
        change(self);
        let texts = self.metadata.iter().flat_map(|(name, value)| [name, value]).chain(&self.content_type);
        let size: usize = texts.map(String::len).sum();
        let names = self.metadata.len();
        if size > MAX_HEADER_BYTES || names > MAX_HEADER_NAMES {
            bail!(
                "the metadata of a message has {names} names and {size} bytes, and may have {MAX_HEADER_NAMES} and \
                 {MAX_HEADER_BYTES}"
            );
        }
        Ok(())
    }
}
