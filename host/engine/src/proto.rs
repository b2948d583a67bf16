//! Endpoints that a `.proto` file describes: their schema, and JSON for callers that do not speak protobuf.
//!
//! A component that exports `micro:function/handler` carries the descriptor set in the custom section
//! `micro.descriptors`. Method `Hello` of service `demo.Say` is endpoint `Say.Hello`.

mod describe;

use crate::json;
use crate::name::Name;
use crate::schema::{Endpoint, Field, Record, Type};
use crate::value::Value;
use bytes::Bytes;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// The custom section with the descriptor set.
pub const SECTION: &str = "micro.descriptors";

/// The interface by which such a component is called.
pub const INTERFACE: &str = "micro:function/handler@0.1.0";

/// The media type of messages between host and guest.
pub const PROTOBUF: &str = "application/protobuf";

/// The messages and services of one component.
#[derive(Debug, Clone)]
pub struct Protos(DescriptorPool);

impl Protos {
    /// Reads a descriptor set.
    pub fn read(bytes: &[u8]) -> Result<Protos, String> {
        check_syntax(bytes)?;
        let pool = contained(|| DescriptorPool::decode(bytes).map_err(|error| format!("section {SECTION}: {error}")))?;
        let is_empty = pool.services().len() == 0;
        match is_empty {
            true => Err(format!("section {SECTION}: there is no service in it")),
            false => Ok(Protos(pool)),
        }
    }

    /// The methods of all services, or why their messages cannot be described.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, String> {
        contained(|| describe::endpoints(&self.0))
    }

    /// A message from its JSON.
    pub fn from_json(&self, name: &str, json: &[u8]) -> Result<Bytes, String> {
        let message = self.message(name)?;
        let json = if json.trim_ascii().is_empty() { b"{}" } else { json };
        let mut reader = serde_json::Deserializer::from_slice(json);
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        contained(|| {
            let message = DynamicMessage::deserialize_with_options(message, &mut reader, &options);
            let message = message.and_then(|message| reader.end().map(|()| message));
            Ok(message.map_err(|error| error.to_string())?.encode_to_vec().into())
        })
    }

    /// A message from the fields of its record, as the request of an endpoint shows it.
    pub fn from_fields(&self, name: &str, record: &Arc<Record>, fields: Vec<Value>) -> Result<Bytes, String> {
        let mut out = Vec::with_capacity(128);
        json::write_value(&Type::Record(Arc::clone(record)), &Value::Record(fields), &mut out)?;
        self.from_json(name, &out)
    }

    /// A message as JSON, with the names of its fields as the `.proto` file has them.
    pub fn to_json(&self, name: &str, message: &[u8]) -> Result<Vec<u8>, String> {
        let descriptor = self.message(name)?;
        let mut out = serde_json::Serializer::new(Vec::with_capacity(128));
        // go-micro shows every field, and so do we.
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        contained(|| {
            let message = DynamicMessage::decode(descriptor, message).map_err(|error| error.to_string())?;
            message.serialize_with_options(&mut out, &options).map(drop).map_err(|error| error.to_string())
        })?;
        Ok(out.into_inner())
    }

    fn message(&self, name: &str) -> Result<MessageDescriptor, String> {
        self.0.get_message_by_name(name).ok_or_else(|| format!("there is no message {name} in the descriptor set"))
    }
}

/// Runs the library, which panics where descriptors contradict themselves: at a map without values, or at a
/// `google.protobuf.Timestamp` with fields of its own.
fn contained<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What it works on is only read, or given up with the error.
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(run));
    outcome.unwrap_or_else(|_| Err(format!("section {SECTION}: the descriptors contradict themselves")))
}

/// Says which file is written in a syntax that is not known, such as an edition: the reader of the pool panics there.
fn check_syntax(bytes: &[u8]) -> Result<(), String> {
    let set = FileDescriptorSet::decode(bytes).map_err(|error| format!("section {SECTION}: {error}"))?;
    let unknown = set.file.iter().find(|file| !matches!(file.syntax.as_deref(), None | Some("proto2" | "proto3")));
    match unknown {
        None => Ok(()),
        Some(file) => Err(format!(
            "section {SECTION}: {} is written in {}, which is not known here: write it in proto3",
            file.name(),
            file.syntax()
        )),
    }
}

/// `micro:function/types.error`
pub(crate) fn error() -> Type {
    fields("error", [("id", Type::String), ("code", Type::U16), ("detail", Type::String), ("status", Type::String)])
}

/// `micro:function/types.context`
fn context() -> Type {
    let deadline = Type::Option(Arc::new(Type::U64));
    fields(
        "context",
        [
            ("service", Type::String),
            ("endpoint", Type::String),
            ("caller", Type::String),
            ("trace", Type::String),
            ("deadline", deadline),
        ],
    )
}

/// `micro:function/handler.body`
fn body() -> Type {
    fields("body", [("content-type", Type::String), ("content", Type::Bytes)])
}

/// The parameters of `handle` and of `open`.
pub(crate) fn parameters() -> Vec<Type> {
    vec![context(), body()]
}

/// What `handle` returns.
pub(crate) fn result() -> Type {
    Type::Result(Some(Arc::new(body())), Some(Arc::new(error())))
}

fn fields<const N: usize>(name: &str, fields: [(&str, Type); N]) -> Type {
    let fields = fields.into_iter().map(|(name, ty)| Field { name: Name::new(name), docs: None, ty });
    Type::Record(Arc::new(Record { name: name.into(), docs: None, fields: fields.collect() }))
}

#[cfg(test)]
mod tests;
