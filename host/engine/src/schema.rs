//! The types of a component's endpoints, as its WIT declares them.
//!
//! One schema serves everything that faces a caller: JSON and query strings in, JSON out, OpenAPI, the registry's
//! request and response trees, and the command line's listings.

use crate::command;
use crate::name::Name;
use crate::proto;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A WIT type that a message can hold. Resources, streams and futures have no place here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Type {
    /// `bool`
    Bool,
    /// `s8`
    S8,
    /// `u8`
    U8,
    /// `s16`
    S16,
    /// `u16`
    U16,
    /// `s32`
    S32,
    /// `u32`
    U32,
    /// `s64`
    S64,
    /// `u64`
    U64,
    /// `f32`
    F32,
    /// `f64`
    F64,
    /// `char`
    Char,
    /// `string`
    String,
    /// `list<u8>`, which travels as one block and not as a list of numbers
    Bytes,
    /// `list<T>`
    List(Arc<Type>),
    /// `list<T, N>`
    FixedList(Arc<Type>, usize),
    /// `map<K, V>`
    Map(Arc<Type>, Arc<Type>),
    /// `tuple<…>`
    Tuple(Arc<[Type]>),
    /// `record`
    Record(Arc<Record>),
    /// `variant`
    Variant(Arc<Variant>),
    /// `enum`
    Enum(Arc<Enum>),
    /// `flags`
    Flags(Arc<Enum>),
    /// `option<T>`
    Option(Arc<Type>),
    /// `result<T, E>`
    Result(Option<Arc<Type>>, Option<Arc<Type>>),
}

impl Type {
    /// The type as WIT writes it, with named types by their name.
    pub fn label(&self) -> String {
        match self {
            Type::Bool => "bool".into(),
            Type::S8 => "s8".into(),
            Type::U8 => "u8".into(),
            Type::S16 => "s16".into(),
            Type::U16 => "u16".into(),
            Type::S32 => "s32".into(),
            Type::U32 => "u32".into(),
            Type::S64 => "s64".into(),
            Type::U64 => "u64".into(),
            Type::F32 => "f32".into(),
            Type::F64 => "f64".into(),
            Type::Char => "char".into(),
            Type::String => "string".into(),
            Type::Bytes => "list<u8>".into(),
            Type::List(item) => format!("list<{}>", item.label()),
            Type::FixedList(item, length) => format!("list<{}, {length}>", item.label()),
            Type::Map(key, value) => format!("map<{}, {}>", key.label(), value.label()),
            Type::Tuple(items) => {
                format!("tuple<{}>", items.iter().map(Type::label).collect::<Vec<_>>().join(", "))
            }
            Type::Record(record) => record.name.to_string(),
            Type::Variant(variant) => variant.name.to_string(),
            Type::Enum(names) | Type::Flags(names) => names.name.to_string(),
            Type::Option(some) => format!("option<{}>", some.label()),
            Type::Result(ok, err) => match (ok, err) {
                (None, None) => "result".into(),
                (Some(ok), None) => format!("result<{}>", ok.label()),
                (ok, Some(err)) => {
                    format!("result<{}, {}>", ok.as_ref().map_or("_".into(), |ok| ok.label()), err.label())
                }
            },
        }
    }

    /// Whether a message may leave a field of this type out.
    pub fn is_optional(&self) -> bool {
        matches!(self, Type::Option(_))
    }
}

/// A `record`, or the parameters of a function seen as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The WIT name, `request`.
    pub name: Arc<str>,
    /// The doc comment.
    pub docs: Option<Arc<str>>,
    /// In declaration order, which is also the order of a [`crate::Value::Record`].
    pub fields: Vec<Field>,
}

/// One field of a record, or one parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The field's name in each spelling.
    pub name: Name,
    /// The doc comment.
    pub docs: Option<Arc<str>>,
    /// What the field holds.
    pub ty: Type,
}

/// A `variant`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// The WIT name.
    pub name: Arc<str>,
    /// The doc comment.
    pub docs: Option<Arc<str>>,
    /// In declaration order; a case is known by its place.
    pub cases: Vec<Case>,
}

/// One case of a variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The case's name in each spelling.
    pub name: Name,
    /// The doc comment.
    pub docs: Option<Arc<str>>,
    /// What the case carries.
    pub ty: Option<Type>,
}

/// The names of an `enum` or of `flags`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enum {
    /// The WIT name.
    pub name: Arc<str>,
    /// The doc comment.
    pub docs: Option<Arc<str>>,
    /// In declaration order.
    pub cases: Vec<Name>,
}

/// A function that callers reach by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `Say.Hello`.
    pub name: Arc<str>,
    /// The exported interface, `demo:greeter/say@0.1.0`; none for a function that the world itself exports.
    pub interface: Option<Arc<str>>,
    /// The function's WIT name, `hello`.
    pub function: Arc<str>,
    /// The doc comment.
    pub docs: Option<Arc<str>>,
    /// What the caller sends.
    pub request: Request,
    /// What the caller gets.
    pub reply: Reply,
    /// Whether the function is `async`.
    #[serde(default)]
    pub is_async: bool,
    /// Present when the request, the reply or both are many messages.
    #[serde(default)]
    pub stream: Option<Stream>,
    /// Present when a `.proto` file describes the endpoint, and the function gets its messages as bytes.
    #[serde(default)]
    pub raw: Option<Raw>,
}

/// The messages of an endpoint that a `.proto` file describes, by their full names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raw {
    /// `demo.HelloRequest`
    pub input: Arc<str>,
    /// `demo.HelloReply`
    pub output: Arc<str>,
}

impl Endpoint {
    /// Whether messages pass by `stream<T>`, not by a resource.
    pub fn streams_natively(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.native.is_some())
    }

    /// Whether it runs a program.
    pub fn is_command(&self) -> bool {
        self.interface.as_deref().is_some_and(command::is_command)
    }

    /// The type that the function itself returns.
    pub fn result_type(&self) -> Option<Type> {
        if self.raw.is_some() {
            return Some(proto::result());
        }
        match (&self.reply.ok, &self.reply.err) {
            (ok, Some(err)) => Some(Type::Result(ok.clone().map(Arc::new), err.clone().map(Arc::new))),
            (ok, None) => ok.clone(),
        }
    }

    /// The types of the function's parameters.
    pub fn parameter_types(&self) -> Vec<Type> {
        if self.raw.is_some() {
            return proto::parameters();
        }
        let message = &self.request.message;
        match self.request.is_one_record {
            true => vec![Type::Record(message.clone())],
            false => message.fields.iter().map(|field| field.ty.clone()).collect(),
        }
    }
}

/// How an endpoint streams: it returns a resource, whose methods send and give messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// The resource's WIT name.
    pub resource: Arc<str>,
    /// `send: func(item: T) -> result<_, E>`: the messages that the caller sends.
    pub sends: Option<Step>,
    /// `next: func() -> result<option<T>, E>`: the messages that the caller gets.
    pub gives: Option<Step>,
    /// `finish: func() -> result<R, E>`: called when the caller has sent its last message; what it answers with.
    pub finish: Option<Reply>,
    /// Present when the endpoint streams by `stream<T>` and not by a resource.
    #[serde(default)]
    pub native: Option<Native>,
}

/// How an endpoint streams by `stream<T>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Native {
    /// What the function returns a stream of.
    pub gives: Option<Item>,
    /// Which of its parameters is a stream, and of what.
    pub sends_at: Option<(usize, Item)>,
    /// Whether it returns something else than a stream.
    pub replies: bool,
}

/// What a native stream carries: a host has to know it when it is built, so these are all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// `stream<u8>`
    Byte,
    /// `stream<string>`
    Text,
    /// `stream<list<u8>>`
    Bytes,
}

/// One message of a stream, and the error that may come in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The message.
    pub item: Type,
    /// Present when the method returns a `result`; inside, the type of its error.
    pub err: Option<Option<Type>>,
}

/// An interface that a component imports and another deployment must export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// `demo:users/directory@0.1.0`
    pub interface: Arc<str>,
    /// Its functions, as the importer knows them.
    pub functions: Vec<Endpoint>,
}

/// The message that an endpoint takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The fields of the message.
    pub message: Arc<Record>,
    /// Whether the message is the function's one parameter (a record), or the list of its parameters.
    pub is_one_record: bool,
}

impl Request {
    /// The field that takes a body which is not JSON: the one field of type `list<u8>`, if there is exactly one.
    pub fn raw_field(&self) -> Option<usize> {
        let mut raw = self.message.fields.iter().enumerate().filter(|(_, field)| match &field.ty {
            Type::Bytes => true,
            Type::Option(some) => **some == Type::Bytes,
            _ => false,
        });
        match (raw.next(), raw.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        }
    }
}

/// The message that an endpoint answers with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The type of the answer: the function's result, or the `ok` side of it.
    pub ok: Option<Type>,
    /// Present when the function returns a `result`; inside, the type of its error.
    pub err: Option<Option<Type>>,
}

impl Reply {
    /// The reply of a function that returns `result`.
    pub fn of(result: Option<Type>) -> Reply {
        match result {
            Some(Type::Result(ok, err)) => {
                Reply { ok: ok.map(Arc::unwrap_or_clone), err: Some(err.map(Arc::unwrap_or_clone)) }
            }
            other => Reply { ok: other, err: None },
        }
    }

    /// Whether the answer is `micro:function/types.http-response`.
    pub fn is_http(&self) -> bool {
        let Some(Type::Record(record)) = &self.ok else { return false };
        let text_pairs = Type::List(Arc::new(Type::Tuple(Arc::new([Type::String, Type::String]))));
        let fields = record.fields.iter().map(|field| (&*field.name.wit, &field.ty));
        *record.name == *"http-response"
            && fields.eq([("status", &Type::U16), ("header", &text_pairs), ("body", &Type::Bytes)])
    }

    /// Whether the answer can go out as plain bytes.
    pub fn is_bytes(&self) -> bool {
        self.ok == Some(Type::Bytes)
    }
}
