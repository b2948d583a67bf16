//! Component values, as they pass between a caller's message and a guest's memory.

use bytes::Bytes;

/// A component value whose names live in its [`crate::schema::Type`].
///
/// Positions stand for names (a field is the third, a case is number two), and `list<u8>` is one block of bytes: a photo
/// costs its own size, and not a boxed number per byte.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `bool`
    Bool(bool),
    /// `u8`, `u16`, `u32`, `u64`
    Unsigned(u64),
    /// `s8`, `s16`, `s32`, `s64`
    Signed(i64),
    /// `f32`
    F32(f32),
    /// `f64`
    F64(f64),
    /// `char`
    Char(char),
    /// `string`
    String(String),
    /// `list<u8>`
    Bytes(Bytes),
    /// `list<T>`, `list<T, N>`
    List(Vec<Value>),
    /// `map<K, V>`
    Map(Vec<(Value, Value)>),
    /// `record` and `tuple`, in declaration order
    Record(Vec<Value>),
    /// `variant`, `enum`, `option` (0 none, 1 some) and `result` (0 ok, 1 err)
    Variant(u32, Option<Box<Value>>),
    /// `flags`, the first one in the lowest bit
    Flags(u32),
}

impl Value {
    /// `none` of an option.
    pub fn none() -> Value {
        Value::Variant(0, None)
    }

    /// `some(value)` of an option.
    pub fn some(value: Value) -> Value {
        Value::Variant(1, Some(Box::new(value)))
    }
}

/// The request of a call inside this process, as the payload of a [`micro_mesh::Call`]: the arguments of the function, by
/// its own types.
#[derive(Debug)]
pub struct Arguments(pub Vec<Value>);

/// The reply to [`Arguments`]: what the function returned, its error included.
#[derive(Debug)]
pub struct Returned(pub Option<Value>);
