//! WIT types → the schema.

use crate::name::Name;
use crate::schema::{Case, Enum, Field, Record, Type, Variant};
use std::collections::HashMap;
use std::sync::Arc;
use wit_parser::{Docs, Resolve, TypeDefKind, TypeId};

/// Flags beyond this many do not fit the canonical ABI's 32 bits, and no toolchain makes them.
const MAX_FLAGS: usize = 32;

/// Reads WIT types, each named one once.
pub(super) struct Types<'r> {
    resolve: &'r Resolve,
    known: HashMap<TypeId, Type>,
}

impl<'r> Types<'r> {
    pub(super) fn new(resolve: &'r Resolve) -> Types<'r> {
        Types { resolve, known: HashMap::new() }
    }

    /// The schema of `ty`, or why a message cannot hold it.
    pub(super) fn read(&mut self, ty: &wit_parser::Type) -> Result<Type, String> {
        use wit_parser::Type as Wit;
        Ok(match ty {
            Wit::Bool => Type::Bool,
            Wit::U8 => Type::U8,
            Wit::U16 => Type::U16,
            Wit::U32 => Type::U32,
            Wit::U64 => Type::U64,
            Wit::S8 => Type::S8,
            Wit::S16 => Type::S16,
            Wit::S32 => Type::S32,
            Wit::S64 => Type::S64,
            Wit::F32 => Type::F32,
            Wit::F64 => Type::F64,
            Wit::Char => Type::Char,
            Wit::String => Type::String,
            Wit::ErrorContext => return Err("error-context has no place in a message".into()),
            Wit::Id(id) => match self.known.get(id) {
                Some(known) => known.clone(),
                None => {
                    let read = self.read_defined(*id)?;
                    self.known.insert(*id, read.clone());
                    read
                }
            },
        })
    }

    fn read_defined(&mut self, id: TypeId) -> Result<Type, String> {
        let def = &self.resolve.types[id];
        let name: Arc<str> = def.name.as_deref().unwrap_or(def.kind.as_str()).into();
        let docs = text(&def.docs);
        Ok(match &def.kind {
            TypeDefKind::Type(ty) => self.read(ty)?,
            TypeDefKind::List(item) => match self.read(item)? {
                Type::U8 => Type::Bytes,
                item => Type::List(Arc::new(item)),
            },
            TypeDefKind::FixedLengthList(item, length) => Type::FixedList(Arc::new(self.read(item)?), *length as usize),
            TypeDefKind::Map(key, value) => Type::Map(Arc::new(self.read(key)?), Arc::new(self.read(value)?)),
            TypeDefKind::Option(some) => Type::Option(Arc::new(self.read(some)?)),
            TypeDefKind::Result(result) => {
                Type::Result(self.read_optional(result.ok.as_ref())?, self.read_optional(result.err.as_ref())?)
            }
            TypeDefKind::Tuple(tuple) => {
                let types = tuple.types.iter().map(|ty| self.read(ty));
                Type::Tuple(types.collect::<Result<_, _>>()?)
            }
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter().map(|field| {
                    let ty = self.read(&field.ty).map_err(|reason| format!("field {}: {reason}", field.name))?;
                    Ok(Field { name: Name::new(&field.name), docs: text(&field.docs), ty })
                });
                let fields = fields.collect::<Result<_, String>>()?;
                Type::Record(Arc::new(Record { name, docs, fields }))
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| {
                    let ty = case.ty.as_ref().map(|ty| self.read(ty)).transpose();
                    let ty = ty.map_err(|reason| format!("case {}: {reason}", case.name))?;
                    Ok(Case { name: Name::new(&case.name), docs: text(&case.docs), ty })
                });
                let cases = cases.collect::<Result<_, String>>()?;
                Type::Variant(Arc::new(Variant { name, docs, cases }))
            }
            TypeDefKind::Enum(names) => {
                let cases = names.cases.iter().map(|case| Name::new(&case.name)).collect();
                Type::Enum(Arc::new(Enum { name, docs, cases }))
            }
            TypeDefKind::Flags(flags) if flags.flags.len() > MAX_FLAGS => {
                return Err(format!("flags {name} has more than {MAX_FLAGS} names"));
            }
            TypeDefKind::Flags(flags) => {
                let cases = flags.flags.iter().map(|flag| Name::new(&flag.name)).collect();
                Type::Flags(Arc::new(Enum { name, docs, cases }))
            }
            TypeDefKind::Resource | TypeDefKind::Handle(_) => {
                return Err("a resource has no place in a message".into());
            }
            TypeDefKind::Future(_) | TypeDefKind::Stream(_) => {
                return Err(format!("a {} has no place in a message", def.kind.as_str()));
            }
            TypeDefKind::Unknown => return Err("its type is unknown".into()),
        })
    }

    fn read_optional(&mut self, ty: Option<&wit_parser::Type>) -> Result<Option<Arc<Type>>, String> {
        ty.map(|ty| self.read(ty).map(Arc::new)).transpose()
    }
}

/// A doc comment, if there is one.
pub(super) fn text(docs: &Docs) -> Option<Arc<str>> {
    docs.contents.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(Arc::from)
}
