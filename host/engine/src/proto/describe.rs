//! The methods and messages of a `.proto` file, as our schema shows them.

use super::{INTERFACE, SECTION, error};
use crate::name::Name;
use crate::schema::{Endpoint, Enum, Field, Raw, Record, Reply, Request, Step, Stream, Type};
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    MethodDescriptor,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Messages inside messages are described so deep, tried in turn: there may be too many of them.
const DEPTHS: [usize; 8] = [16, 12, 8, 6, 4, 3, 2, 1];

/// Fields and names of enums that are described for one component. They count wherever a message with them is used,
/// because a schema is kept and shown as a tree: sixteen messages that use each other may make billions.
const MAX_FIELDS: usize = 100_000;

/// The methods of all services.
pub(super) fn endpoints(pool: &DescriptorPool) -> Result<Vec<Endpoint>, String> {
    let comments = Comments::of(pool);
    let found = DEPTHS.into_iter().find_map(|depth| Describer::new(&comments, depth).endpoints(pool));
    found.ok_or_else(|| {
        format!(
            "section {SECTION}: the messages of its methods have more than {MAX_FIELDS} fields and names; leave \
             services that nobody calls out of the descriptor set, or make several components of it"
        )
    })
}

/// Turns descriptors into our schema for as long as there is room; none means that there is no more.
struct Describer<'c> {
    comments: &'c Comments,
    depth: usize,
    room: usize,
    /// The messages around the one that is described: one that holds itself is cut there.
    inside: Vec<String>,
}

impl<'c> Describer<'c> {
    fn new(comments: &'c Comments, depth: usize) -> Describer<'c> {
        Describer { comments, depth, room: MAX_FIELDS, inside: Vec::new() }
    }

    fn endpoints(mut self, pool: &DescriptorPool) -> Option<Vec<Endpoint>> {
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        methods.map(|method| self.endpoint(&method)).collect()
    }

    fn endpoint(&mut self, method: &MethodDescriptor) -> Option<Endpoint> {
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
        let request = Request { message: Arc::new(self.record(&input)?), is_one_record: false };
        let reply = Reply { ok: Some(Type::Record(Arc::new(self.record(&output)?))), err: Some(Some(error())) };
        Some(Endpoint {
            name: name.into(),
            interface: Some(INTERFACE.into()),
            function: if streams { "open".into() } else { "handle".into() },
            docs: self.comments.at(&method.parent_file(), method.path()),
            request,
            reply,
            is_async: false,
            stream,
            raw: Some(Raw { input: input.full_name().into(), output: output.full_name().into() }),
        })
    }

    fn record(&mut self, message: &MessageDescriptor) -> Option<Record> {
        let name = message.full_name().to_string();
        let is_cut = self.inside.contains(&name) || self.inside.len() >= self.depth;
        self.inside.push(name);
        let mut fields = Vec::new();
        for field in message.fields().filter(|_| !is_cut) {
            self.take(1)?;
            fields.push(Field {
                name: Name::exact(field.name()),
                docs: self.comments.at(&message.parent_file(), field.path()),
                ty: self.field_type(&field)?,
            });
        }
        self.inside.pop();
        let docs = self.comments.at(&message.parent_file(), message.path());
        Some(Record { name: message.name().into(), docs, fields })
    }

    fn field_type(&mut self, field: &FieldDescriptor) -> Option<Type> {
        let ty = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let mut part = |number| match entry.get_field(number) {
                    Some(field) => self.plain_type(&field.kind()),
                    None => Some(Type::String),
                };
                Type::Map(Arc::new(part(1)?), Arc::new(part(2)?))
            }
            kind => match (field.cardinality(), self.plain_type(&kind)?) {
                (Cardinality::Repeated, ty) => Type::List(Arc::new(ty)),
                (_, ty) => ty,
            },
        };
        // Every field of a protobuf message may be left out.
        Some(Type::Option(Arc::new(ty)))
    }

    fn plain_type(&mut self, kind: &Kind) -> Option<Type> {
        Some(match kind {
            Kind::Double => Type::F64,
            Kind::Float => Type::F32,
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Type::S32,
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Type::S64,
            Kind::Uint32 | Kind::Fixed32 => Type::U32,
            Kind::Uint64 | Kind::Fixed64 => Type::U64,
            Kind::Bool => Type::Bool,
            Kind::String => Type::String,
            Kind::Bytes => Type::Bytes,
            Kind::Enum(names) => Type::Enum(Arc::new(self.names(names)?)),
            Kind::Message(message) => match well_known(message.full_name()) {
                Some(ty) => ty,
                None => Type::Record(Arc::new(self.record(message)?)),
            },
        })
    }

    fn names(&mut self, names: &EnumDescriptor) -> Option<Enum> {
        self.take(names.values().len())?;
        let cases = names.values().map(|value| Name::exact(value.name())).collect();
        let docs = self.comments.at(&names.parent_file(), names.path());
        Some(Enum { name: names.name().into(), docs, cases })
    }

    fn take(&mut self, count: usize) -> Option<()> {
        self.room = self.room.checked_sub(count)?;
        Some(())
    }
}

/// The messages that proto3 JSON writes in a form of their own. Where that may be any JSON, our schema, which has no type
/// for it, says text; JSON that callers send is read by protobuf's rules and not by this.
fn well_known(message: &str) -> Option<Type> {
    let text = || Arc::new(Type::String);
    Some(match message.strip_prefix("google.protobuf.")? {
        "Timestamp" | "Duration" | "FieldMask" | "StringValue" | "Value" => Type::String,
        "Struct" | "Any" => Type::Map(text(), text()),
        "ListValue" => Type::List(text()),
        "DoubleValue" => Type::F64,
        "FloatValue" => Type::F32,
        "Int64Value" => Type::S64,
        "UInt64Value" => Type::U64,
        "Int32Value" => Type::S32,
        "UInt32Value" => Type::U32,
        "BoolValue" => Type::Bool,
        "BytesValue" => Type::Bytes,
        _ => return None,
    })
}

/// The comments in front of what `.proto` files declare, by file and by the path inside of it.
struct Comments(HashMap<String, HashMap<Vec<i32>, Arc<str>>>);

impl Comments {
    fn of(pool: &DescriptorPool) -> Comments {
        Comments(pool.files().map(|file| (file.name().to_string(), in_file(&file))).collect())
    }

    fn at(&self, file: &FileDescriptor, path: &[i32]) -> Option<Arc<str>> {
        self.0.get(file.name())?.get(path).cloned()
    }
}

fn in_file(file: &FileDescriptor) -> HashMap<Vec<i32>, Arc<str>> {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = info.map_or(&[][..], |info| &info.location);
    let comments = locations.iter().filter_map(|location| {
        let comment = location.leading_comments.as_deref()?;
        // A comment's lines begin with the space that stands after the slashes.
        let lines: Vec<&str> = comment.trim_end().lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        (!lines.is_empty()).then(|| (location.path.clone(), lines.join("\n").into()))
    });
    comments.collect()
}
