//! Types from bytes, and when two values of them are the same.
//!
//! An input begins with a line that writes a type with a letter for each of its parts, so that the corpus can be read:
//! `{us?s}` is a record of a `u8`, a string and an option of a string.

use micro_engine::Value;
use micro_engine::name::Name;
use micro_engine::schema::{Case, Enum, Field, Record, Type, Variant};
use std::sync::Arc;

/// Names for fields, cases and flags; each has several spellings.
const WORDS: [&str; 6] = ["id", "user-name", "http-status-code", "x", "get-URL", "on-order"];

/// Types inside types.
const MAX_DEPTH: usize = 12;

/// Fields, cases and items of one type.
const MAX_PARTS: usize = 8;

/// The type in the first line of an input, and what follows.
pub fn split(input: &[u8]) -> (Type, &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, rest) = input.split_at(end);
    (Letters { rest: line, depth: 0 }.any(), rest.get(1..).unwrap_or_default())
}

/// The type as a message: a record as itself, any other as its one field.
pub fn message(ty: Type) -> Arc<Record> {
    match ty {
        Type::Record(record) => record,
        ty => Arc::new(Record { name: "message".into(), docs: None, fields: vec![field(0, ty)] }),
    }
}

/// Whether two values are the same to the bit, but for the payload of a NaN, which JSON does not carry.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::List(a), Value::List(b)) | (Value::Record(a), Value::Record(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
        }
        (Value::Variant(a, Some(one)), Value::Variant(b, Some(other))) => a == b && same(one, other),
        (a, b) => a == b,
    }
}

/// What is left of a type's letters.
struct Letters<'l> {
    rest: &'l [u8],
    depth: usize,
}

impl Letters<'_> {
    fn next(&mut self) -> u8 {
        let Some((letter, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *letter
    }

    /// The next letter, if it is this one.
    fn skip(&mut self, letter: u8) -> bool {
        let is_next = self.rest.first() == Some(&letter);
        if is_next {
            self.next();
        }
        is_next
    }

    fn any(&mut self) -> Type {
        if self.depth == MAX_DEPTH {
            return Type::Bool;
        }
        self.depth += 1;
        let ty = self.read();
        self.depth -= 1;
        ty
    }

    fn read(&mut self) -> Type {
        match self.next() {
            b'a' => Type::S8,
            b'u' => Type::U8,
            b'h' => Type::S16,
            b'H' => Type::U16,
            b'i' => Type::S32,
            b'I' => Type::U32,
            b'l' => Type::S64,
            b'L' => Type::U64,
            b'f' => Type::F32,
            b'd' => Type::F64,
            b'c' => Type::Char,
            b's' => Type::String,
            b'y' => Type::Bytes,
            b'e' => Type::Enum(Arc::new(self.names())),
            b'F' => Type::Flags(Arc::new(self.names())),
            b'[' => match self.any() {
                Type::U8 => Type::Bytes,
                item => Type::List(Arc::new(item)),
            },
            b'#' => {
                let length = usize::from(self.next()) % MAX_PARTS;
                Type::FixedList(Arc::new(self.any()), length)
            }
            b'm' => Type::Map(Arc::new(self.key()), Arc::new(self.any())),
            b'(' => Type::Tuple(self.until(b')', Letters::any).into()),
            b'{' => {
                let types = self.until(b'}', Letters::any);
                let fields = types.into_iter().enumerate().map(|(at, ty)| field(at, ty)).collect();
                Type::Record(Arc::new(Record { name: "message".into(), docs: None, fields }))
            }
            b'<' => {
                let types = self.until(b'>', Letters::optional);
                let case = |(at, ty)| Case { name: name(at), docs: None, ty };
                let cases = types.into_iter().enumerate().map(case).collect();
                Type::Variant(Arc::new(Variant { name: "choice".into(), docs: None, cases }))
            }
            b'?' => Type::Option(Arc::new(self.any())),
            b'r' => Type::Result(self.optional().map(Arc::new), self.optional().map(Arc::new)),
            _ => Type::Bool,
        }
    }

    fn optional(&mut self) -> Option<Type> {
        if self.skip(b'-') { None } else { Some(self.any()) }
    }

    /// WIT has as keys what compares.
    fn key(&mut self) -> Type {
        match self.any() {
            ty @ (Type::String | Type::Char | Type::S8 | Type::U8 | Type::S64 | Type::U64) => ty,
            _ => Type::Bool,
        }
    }

    fn names(&mut self) -> Enum {
        let count = usize::from(self.next()) % 32 + 1;
        Enum { name: "names".into(), docs: None, cases: (0..count).map(name).collect() }
    }

    /// One part at least: WIT knows nothing that is empty.
    fn until<T>(&mut self, end: u8, part: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut parts = vec![part(self)];
        while !self.rest.is_empty() && !self.skip(end) && parts.len() < MAX_PARTS {
            parts.push(part(self));
        }
        parts
    }
}

fn field(at: usize, ty: Type) -> Field {
    Field { name: name(at), docs: None, ty }
}

fn name(at: usize) -> Name {
    match WORDS.get(at) {
        Some(word) => Name::new(word),
        None => Name::new(&format!("n{at}")),
    }
}
