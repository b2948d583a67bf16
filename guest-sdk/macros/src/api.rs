//! What was read: an interface with its types and functions, on the way from Rust to WIT.

use proc_macro2::{Ident, Span};

use crate::fragment::Fragment;
use crate::names::Name;
use crate::types::{Shared, Type};

/// Everything that one attribute makes of a module or a function.
#[derive(Debug)]
pub(crate) struct Api {
    /// The crate.
    pub package: Name,
    /// The module, or the crate for a function by itself.
    pub interface: Name,
    /// The interface's doc comment.
    pub docs: Docs,
    /// Types that the functions need.
    pub types: Vec<Defined>,
    /// The endpoints.
    pub functions: Vec<Function>,
    /// Functions that the host calls in the course of an instance's life.
    pub lifecycle: Vec<Moment>,
    /// What attributes say that belongs into the manifest.
    pub fragment: Fragment,
}

/// A doc comment, a line each.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Docs(pub Vec<String>);

/// A struct, an enum or an alias of the module.
#[derive(Debug)]
pub(crate) struct Defined {
    pub ident: Ident,
    pub name: Name,
    pub docs: Docs,
    pub shape: Shape,
}

/// What a type looks like from outside.
#[derive(Debug)]
pub(crate) enum Shape {
    /// `struct A { … }`
    Record(Vec<Field>),
    /// `struct A(B)`, which is nothing but a `B` in WIT, and `struct A(B, C)`, which is a tuple.
    Newtype(Vec<Type>),
    /// `type A = B;`
    Alias(Type),
    /// An enum whose cases carry nothing.
    Enum(Vec<Case>),
    /// Any other enum.
    Variant(Vec<Case>),
}

#[derive(Debug)]
pub(crate) struct Field {
    pub ident: Ident,
    pub name: Name,
    pub docs: Docs,
    pub ty: Type,
}

#[derive(Debug)]
pub(crate) struct Case {
    pub ident: Ident,
    pub name: Name,
    pub docs: Docs,
    pub payload: Payload,
}

/// What a case carries.
#[derive(Debug)]
pub(crate) enum Payload {
    Nothing,
    /// `Case(A)` carries an `A`, `Case(A, B)` a tuple.
    Unnamed(Vec<Type>),
    /// `Case { … }` carries a record, whose WIT name is made from the enum's and the case's.
    Named(Name, Vec<Field>),
}

#[derive(Debug)]
pub(crate) struct Function {
    pub ident: Ident,
    pub name: Name,
    pub docs: Docs,
    pub is_async: bool,
    pub parameters: Vec<(Name, Type)>,
    pub reply: Reply,
    /// Where the return type stands.
    pub span: Span,
}

/// What a function returns.
#[derive(Debug)]
pub(crate) enum Reply {
    Nothing,
    Value(Type),
    /// One of the SDK's stream types, by itself or in a `Result`.
    Stream {
        stream: StreamType,
        error: Option<Type>,
    },
}

/// The types of the SDK that stand for many messages.
#[derive(Debug)]
pub(crate) enum StreamType {
    /// `Stream<T>`: messages to the caller.
    Server(Type),
    /// `Upload<T, R>`: messages from the caller, one reply.
    Client(Type, Type),
    /// `Exchange<I, O>`: messages both ways.
    Both(Type, Type),
}

/// A function of `micro:function/lifecycle`.
#[derive(Debug)]
pub(crate) struct Moment {
    pub what: Lifecycle,
    pub ident: Ident,
    /// Whether the function takes its argument by reference.
    pub by_reference: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Start,
    Stop,
    Health,
    Save,
    Restore,
}

impl Lifecycle {
    pub(crate) const ALL: [Lifecycle; 5] =
        [Lifecycle::Start, Lifecycle::Stop, Lifecycle::Health, Lifecycle::Save, Lifecycle::Restore];

    /// As WIT and the attribute write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Lifecycle::Start => "start",
            Lifecycle::Stop => "stop",
            Lifecycle::Health => "health",
            Lifecycle::Save => "save",
            Lifecycle::Restore => "restore",
        }
    }
}

impl Docs {
    /// The first paragraph in one line, to describe the whole by.
    pub(crate) fn summary(&self) -> Option<String> {
        let lines: Vec<&str> = self
            .0
            .iter()
            .map(|line| line.trim())
            .skip_while(|line| line.is_empty())
            .take_while(|line| !line.is_empty())
            .collect();
        (!lines.is_empty()).then(|| lines.join(" "))
    }
}

impl Api {
    /// How callers name a function of this interface.
    pub(crate) fn endpoint(interface: &Name, function: &Name) -> String {
        format!("{}.{}", interface.title(), function.title())
    }

    /// The type of that name.
    pub(crate) fn defined(&self, ident: &Ident) -> Option<&Defined> {
        self.types.iter().find(|defined| defined.ident == *ident)
    }
}

impl Function {
    /// All types in the signature.
    pub(crate) fn types(&self) -> impl Iterator<Item = &Type> {
        let reply: Vec<&Type> = match &self.reply {
            Reply::Nothing => Vec::new(),
            Reply::Value(ty) => vec![ty],
            Reply::Stream { stream, error } => {
                let items = match stream {
                    StreamType::Server(item) => vec![item],
                    StreamType::Client(one, two) | StreamType::Both(one, two) => vec![one, two],
                };
                items.into_iter().chain(error).collect()
            }
        };
        self.parameters.iter().map(|(_, ty)| ty).chain(reply)
    }

    /// The WIT name of the resource that stands for the function's stream.
    pub(crate) fn resource(&self) -> Option<Name> {
        match &self.reply {
            Reply::Stream { stream: StreamType::Server(_), .. } => Some(self.name.with("stream")),
            Reply::Stream { stream: StreamType::Client(..), .. } => Some(self.name.with("upload")),
            Reply::Stream { stream: StreamType::Both(..), .. } => Some(self.name.with("exchange")),
            _ => None,
        }
    }
}

impl Api {
    /// Whether types of `micro:function/types` are named, and which.
    pub(crate) fn shared(&self) -> Vec<Shared> {
        let mut found = std::collections::BTreeSet::new();
        let parts = self.types.iter().flat_map(|defined| defined.shape.parts());
        for ty in self.functions.iter().flat_map(Function::types).chain(parts) {
            ty.visit(&mut |ty| {
                if let Type::Shared(shared) = ty {
                    found.insert(*shared);
                }
            });
        }
        if self.functions.iter().any(|function| function.resource().is_some()) {
            found.insert(Shared::Error);
        }
        found.into_iter().collect()
    }
}
