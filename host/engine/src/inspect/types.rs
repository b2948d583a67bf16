//! WIT types → the schema.

use crate::name::Name;
use crate::schema::{Case, Enum, Field, Record, Type, Variant};
use std::collections::HashMap;
use std::sync::Arc;
use wit_parser::{Docs, Resolve, TypeDefKind, TypeId};

/// Flags beyond this many do not fit the canonical ABI's 32 bits, and no toolchain makes them.
const MAX_FLAGS: usize = 32;

/// Types inside types. What is found is kept as JSON, whose reader goes no deeper than 128 braces and brackets, and a
/// record takes four.
const MAX_DEPTH: usize = 24;

/// All types of one component, with their names and comments, in bytes. They count wherever they are used, because a
/// schema is kept and shown as a tree: thirty types that use each other twice may make billions.
const MAX_SIZE: usize = 8 * 1024 * 1024;

/// What a type takes beside its names and comments.
const TYPE_SIZE: usize = 64;

/// Reads WIT types, each named one once.
pub(super) struct Types<'r> {
    resolve: &'r Resolve,
    known: HashMap<TypeId, Known>,
    /// Types around the one that is read.
    depth: usize,
    /// The most of them since a type was begun.
    deepest: usize,
    /// Of all that was read.
    size: usize,
}

/// A type that was read before.
struct Known {
    ty: Type,
    /// Types inside of it, itself included.
    height: usize,
    size: usize,
}

impl<'r> Types<'r> {
    pub(super) fn new(resolve: &'r Resolve) -> Types<'r> {
        Types { resolve, known: HashMap::new(), depth: 0, deepest: 0, size: 0 }
    }

    /// The schema of `ty`, or why a message cannot hold it.
    pub(super) fn read(&mut self, ty: &wit_parser::Type) -> Result<Type, String> {
        use wit_parser::Type as Wit;
        self.take(TYPE_SIZE)?;
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
            Wit::Id(id) => self.read_named(*id)?,
        })
    }

    fn read_named(&mut self, id: TypeId) -> Result<Type, String> {
        if let Some(Known { ty, height, size }) = self.known.get(&id) {
            let (ty, size, deepest) = (ty.clone(), *size, self.depth + height);
            self.reach(deepest)?;
            self.take(size)?;
            return Ok(ty);
        }
        let size = self.size;
        let deepest_before = std::mem::replace(&mut self.deepest, self.depth);
        self.reach(self.depth + 1)?;
        self.depth += 1;
        let read = self.read_defined(id);
        self.depth -= 1;
        let known = Known { ty: read?, height: self.deepest - self.depth, size: self.size - size };
        self.deepest = self.deepest.max(deepest_before);
        let ty = known.ty.clone();
        self.known.insert(id, known);
        Ok(ty)
    }

    fn reach(&mut self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} types inside of each other"));
        }
        self.deepest = self.deepest.max(depth);
        Ok(())
    }

    fn take(&mut self, size: usize) -> Result<(), String> {
        self.size = self.size.saturating_add(size);
        match self.size <= MAX_SIZE {
            true => Ok(()),
            false => Err(format!(
                "the types of the component's functions, each counted wherever it is used, take more than {}: make                  several components of it",
                bytesize::ByteSize::b(MAX_SIZE as u64)
            )),
        }
    }

    /// The spellings of a name.
    fn name(&mut self, name: &str) -> Result<Name, String> {
        self.take(name.len())?;
        Ok(Name::new(name))
    }

    fn docs(&mut self, docs: &Docs) -> Result<Option<Arc<str>>, String> {
        let docs = text(docs);
        self.take(docs.as_ref().map_or(0, |docs| docs.len()))?;
        Ok(docs)
    }

    fn read_defined(&mut self, id: TypeId) -> Result<Type, String> {
        let resolve = self.resolve;
        let def = &resolve.types[id];
        let name: Arc<str> = def.name.as_deref().unwrap_or(def.kind.as_str()).into();
        self.take(name.len())?;
        let docs = self.docs(&def.docs)?;
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
                    Ok(Field { name: self.name(&field.name)?, docs: self.docs(&field.docs)?, ty })
                });
                let fields = fields.collect::<Result<_, String>>()?;
                Type::Record(Arc::new(Record { name, docs, fields }))
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| {
                    let ty = case.ty.as_ref().map(|ty| self.read(ty)).transpose();
                    let ty = ty.map_err(|reason| format!("case {}: {reason}", case.name))?;
                    Ok(Case { name: self.name(&case.name)?, docs: self.docs(&case.docs)?, ty })
                });
                let cases = cases.collect::<Result<_, String>>()?;
                Type::Variant(Arc::new(Variant { name, docs, cases }))
            }
            TypeDefKind::Enum(names) => {
                let cases = names.cases.iter().map(|case| self.name(&case.name)).collect::<Result<_, _>>()?;
                Type::Enum(Arc::new(Enum { name, docs, cases }))
            }
            TypeDefKind::Flags(flags) if flags.flags.len() > MAX_FLAGS => {
                return Err(format!("flags {name} has more than {MAX_FLAGS} names"));
            }
            TypeDefKind::Flags(flags) => {
                let cases = flags.flags.iter().map(|flag| self.name(&flag.name)).collect::<Result<_, _>>()?;
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
