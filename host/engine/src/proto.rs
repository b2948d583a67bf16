//! Endpoints that a `.proto` file describes: their schema, and JSON for callers that do not speak protobuf.
//!
//! A component that exports `micro:function/handler` carries the descriptor set in the custom section
//! `micro.descriptors`. Method `Hello` of service `demo.Say` is endpoint `Say.Hello`.

use crate::json;
use crate::name::Name;
use crate::schema::{Endpoint, Enum, Field, Raw, Record, Reply, Request, Step, Stream, Type};
use crate::value::Value;
use bytes::Bytes;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DeserializeOptions, DynamicMessage, FieldDescriptor, FileDescriptor, Kind,
    MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use std::sync::Arc;

/// The custom section with the descriptor set.
pub const SECTION: &str = "micro.descriptors";

/// The interface by which such a component is called.
pub const INTERFACE: &str = "micro:function/handler@0.1.0";

/// The media type of messages between host and guest.
pub const PROTOBUF: &str = "application/protobuf";

/// Messages inside messages are described so deep.
const MAX_DEPTH: usize = 16;

/// The messages and services of one component.
#[derive(Debug, Clone)]
pub struct Protos(DescriptorPool);

impl Protos {
    /// Reads a descriptor set.
    pub fn read(bytes: &[u8]) -> Result<Protos, String> {
        let pool = DescriptorPool::decode(bytes).map_err(|error| format!("section {SECTION}: {error}"))?;
        let is_empty = pool.services().len() == 0;
        match is_empty {
            true => Err(format!("section {SECTION}: there is no service in it")),
            false => Ok(Protos(pool)),
        }
    }

    /// The methods of all services.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.0.services().flat_map(|service| service.methods().collect::<Vec<_>>()).map(|it| endpoint(&it)).collect()
    }

    /// A message from its JSON.
    pub fn from_json(&self, name: &str, json: &[u8]) -> Result<Bytes, String> {
        let message = self.message(name)?;
        let json = if json.trim_ascii().is_empty() { b"{}" } else { json };
        let mut reader = serde_json::Deserializer::from_slice(json);
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let message = DynamicMessage::deserialize_with_options(message, &mut reader, &options);
        let message = message.and_then(|message| reader.end().map(|()| message)).map_err(|error| error.to_string())?;
        Ok(message.encode_to_vec().into())
    }

    /// A message from the fields of its record, as the request of an endpoint shows it.
    pub fn from_fields(&self, name: &str, record: &Arc<Record>, fields: Vec<Value>) -> Result<Bytes, String> {
        let mut out = Vec::with_capacity(128);
        json::write_value(&Type::Record(Arc::clone(record)), &Value::Record(fields), &mut out)?;
        self.from_json(name, &out)
    }

    /// A message as JSON, with the names of its fields as the `.proto` file has them.
    pub fn to_json(&self, name: &str, message: &[u8]) -> Result<Vec<u8>, String> {
        let message = DynamicMessage::decode(self.message(name)?, message).map_err(|error| error.to_string())?;
        let mut out = serde_json::Serializer::new(Vec::with_capacity(128));
        // go-micro shows every field, and so do we.
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        message.serialize_with_options(&mut out, &options).map_err(|error| error.to_string())?;
        Ok(out.into_inner())
    }

    fn message(&self, name: &str) -> Result<MessageDescriptor, String> {
        self.0.get_message_by_name(name).ok_or_else(|| format!("there is no message {name} in the descriptor set"))
    }
}

fn endpoint(method: &MethodDescriptor) -> Endpoint {
    let name = format!("{}.{}", method.parent_service().name(), method.name());
    let (input, output) = (method.input(), method.output());
    let streams = method.is_client_streaming() || method.is_server_streaming();
    let step = || Step { item: Type::Bytes, err: Some(Some(error())) };
    let stream = streams.then(|| Stream {
        resource: "exchange".into(),
        sends: method.is_client_streaming().then(step),
        gives: Some(step()),
        finish: method.is_client_streaming().then(|| Reply { ok: None, err: Some(Some(error())) }),
        native: None,
    });
    Endpoint {
        name: name.into(),
        interface: Some(INTERFACE.into()),
        function: if streams { "open".into() } else { "handle".into() },
        docs: docs(&method.parent_file(), method.path()),
        request: Request { message: Arc::new(record(&input, &mut Vec::new())), is_one_record: false },
        reply: Reply { ok: Some(Type::Record(Arc::new(record(&output, &mut Vec::new())))), err: Some(Some(error())) },
        is_async: false,
        stream,
        raw: Some(Raw { input: input.full_name().into(), output: output.full_name().into() }),
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

/// A message as our schema shows it. `inside` holds the messages around it: one that holds itself is cut there.
fn record(message: &MessageDescriptor, inside: &mut Vec<String>) -> Record {
    let name = message.full_name().to_string();
    let is_cut = inside.contains(&name) || inside.len() >= MAX_DEPTH;
    inside.push(name);
    let fields = message.fields().filter(|_| !is_cut).map(|field| Field {
        name: Name::exact(field.name()),
        docs: docs(&message.parent_file(), field.path()),
        ty: field_type(&field, inside),
    });
    let fields = fields.collect();
    inside.pop();
    Record { name: message.name().into(), docs: docs(&message.parent_file(), message.path()), fields }
}

/// The comment in front of what is at `path` in the `.proto` file, without the space that begins its lines.
fn docs(file: &FileDescriptor, path: &[i32]) -> Option<Arc<str>> {
    let locations = &file.file_descriptor_proto().source_code_info.as_ref()?.location;
    let comment = locations.iter().find(|location| location.path == path)?.leading_comments.as_deref()?;
    let lines: Vec<&str> = comment.trim_end().lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    (!lines.is_empty()).then(|| lines.join("\n").into())
}

fn field_type(field: &FieldDescriptor, inside: &mut Vec<String>) -> Type {
    if field.is_map()
        && let Kind::Message(entry) = field.kind()
    {
        let part =
            |number| entry.get_field(number).map_or(Type::String, |field| plain_type(&field.kind(), &mut Vec::new()));
        return Type::Option(Arc::new(Type::Map(Arc::new(part(1)), Arc::new(part(2)))));
    }
    let ty = plain_type(&field.kind(), inside);
    // Every field of a protobuf message may be left out.
    Type::Option(Arc::new(match (field.cardinality(), ty) {
        (Cardinality::Repeated, ty) => Type::List(Arc::new(ty)),
        (_, ty) => ty,
    }))
}

fn plain_type(kind: &Kind, inside: &mut Vec<String>) -> Type {
    match kind {
        Kind::Double => Type::F64,
        Kind::Float => Type::F32,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Type::S32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Type::S64,
        Kind::Uint32 | Kind::Fixed32 => Type::U32,
        Kind::Uint64 | Kind::Fixed64 => Type::U64,
        Kind::Bool => Type::Bool,
        Kind::String => Type::String,
        Kind::Bytes => Type::Bytes,
        Kind::Enum(names) => {
            let cases = names.values().map(|value| Name::exact(value.name())).collect();
            let docs = docs(&names.parent_file(), names.path());
            Type::Enum(Arc::new(Enum { name: names.name().into(), docs, cases }))
        }
        Kind::Message(message) => match message.full_name() {
            // As proto3 JSON writes them.
            "google.protobuf.Timestamp" | "google.protobuf.Duration" | "google.protobuf.FieldMask" => Type::String,
            _ => Type::Record(Arc::new(record(message, inside))),
        },
    }
}

#[cfg(test)]
mod tests;
