//! [`Value`]s as wasmtime's dynamic values, for the calls that [`crate::canonical`] does not cover: functions with more
//! core values than fit in registers, and the concurrent engine, whose results may come back as a task's arguments.

use crate::limits::check_size;
use crate::schema::Type;
use crate::value::Value;
use std::borrow::Borrow;
use wasmtime::Result;
use wasmtime::component::Val;

/// Places for the results of a call.
pub(crate) fn places(has_result: bool) -> Vec<Val> {
    vec![Val::Bool(false); usize::from(has_result)]
}

/// Arguments as wasmtime takes them.
pub(crate) fn to_vals(types: &[Type], arguments: &[Value]) -> Result<Vec<Val>> {
    let vals = types.iter().zip(arguments).map(|(ty, value)| to_val(ty, value));
    vals.collect::<Option<_>>().ok_or_else(unfit)
}

/// Arguments as wasmtime gave them, if they are within the limit.
pub(crate) fn from_vals(types: &[Type], vals: &[Val]) -> Result<Vec<Value>> {
    let values = types.iter().zip(vals).map(|(ty, val)| from_val(ty, val));
    let values: Vec<Value> = values.collect::<Option<_>>().ok_or_else(unfit)?;
    check_size(&values)?;
    Ok(values)
}

/// What a function returned, as wasmtime gave it, if it is within the limit.
pub(crate) fn returned(ty: Option<&Type>, results: &[Val]) -> Result<Option<Value>> {
    match (ty, results) {
        (Some(ty), [val]) => {
            let value = from_val(ty, val).ok_or_else(unfit)?;
            check_size(std::slice::from_ref(&value))?;
            Ok(Some(value))
        }
        _ => Ok(None),
    }
}

fn unfit() -> wasmtime::Error {
    wasmtime::format_err!("a value of another type than the function takes")
}

/// A value as wasmtime takes it.
pub(crate) fn to_val(ty: &Type, value: &Value) -> Option<Val> {
    Some(match (ty, value) {
        (Type::Bool, Value::Bool(flag)) => Val::Bool(*flag),
        (Type::U8, Value::Unsigned(number)) => Val::U8((*number).try_into().ok()?),
        (Type::U16, Value::Unsigned(number)) => Val::U16((*number).try_into().ok()?),
        (Type::U32, Value::Unsigned(number)) => Val::U32((*number).try_into().ok()?),
        (Type::U64, Value::Unsigned(number)) => Val::U64(*number),
        (Type::S8, Value::Signed(number)) => Val::S8((*number).try_into().ok()?),
        (Type::S16, Value::Signed(number)) => Val::S16((*number).try_into().ok()?),
        (Type::S32, Value::Signed(number)) => Val::S32((*number).try_into().ok()?),
        (Type::S64, Value::Signed(number)) => Val::S64(*number),
        (Type::F32, Value::F32(number)) => Val::Float32(*number),
        (Type::F64, Value::F64(number)) => Val::Float64(*number),
        (Type::Char, Value::Char(char)) => Val::Char(*char),
        (Type::String, Value::String(text)) => Val::String(text.clone()),
        (Type::Bytes, Value::Bytes(bytes)) => Val::List(bytes.iter().copied().map(Val::U8).collect()),
        (Type::List(ty), Value::List(items)) => Val::List(items_to_vals(ty, items)?),
        (Type::FixedList(ty, _), Value::List(items)) => Val::FixedLengthList(items_to_vals(ty, items)?),
        (Type::Map(key_ty, value_ty), Value::Map(entries)) => {
            let entries = entries.iter().map(|(key, value)| Some((to_val(key_ty, key)?, to_val(value_ty, value)?)));
            Val::Map(entries.collect::<Option<_>>()?)
        }
        (Type::Tuple(types), Value::Record(items)) => {
            Val::Tuple(types.iter().zip(items).map(|(ty, value)| to_val(ty, value)).collect::<Option<_>>()?)
        }
        (Type::Record(record), Value::Record(values)) => {
            let fields = record.fields.iter().zip(values);
            let fields = fields.map(|(field, value)| Some((field.name.wit.to_string(), to_val(&field.ty, value)?)));
            Val::Record(fields.collect::<Option<_>>()?)
        }
        (Type::Enum(names), Value::Variant(case, None)) => Val::Enum(names.cases.get(*case as usize)?.wit.to_string()),
        (Type::Variant(variant), Value::Variant(case, payload)) => {
            let case = variant.cases.get(*case as usize)?;
            Val::Variant(case.name.wit.to_string(), payload_to_val(case.ty.as_ref(), payload.as_deref())?)
        }
        (Type::Option(some), Value::Variant(_, payload)) => Val::Option(
            payload
                .as_deref()
                .map(|value| to_val(some, value).map(Box::new))
                .map_or(Some(None), |val| val.map(Some))?,
        ),
        (Type::Result(ok, err), Value::Variant(case, payload)) => Val::Result(match case {
            0 => Ok(payload_to_val(ok.as_deref(), payload.as_deref())?),
            _ => Err(payload_to_val(err.as_deref(), payload.as_deref())?),
        }),
        (Type::Flags(names), Value::Flags(bits)) => {
            let set = names.cases.iter().enumerate().filter(|(index, _)| bits & (1 << index) != 0);
            Val::Flags(set.map(|(_, name)| name.wit.to_string()).collect())
        }
        _ => return None,
    })
}

/// A value as wasmtime gave it.
pub(crate) fn from_val(ty: &Type, val: impl Borrow<Val>) -> Option<Value> {
    Some(match (ty, val.borrow()) {
        (_, Val::Bool(flag)) => Value::Bool(*flag),
        (_, Val::U8(number)) => Value::Unsigned((*number).into()),
        (_, Val::U16(number)) => Value::Unsigned((*number).into()),
        (_, Val::U32(number)) => Value::Unsigned((*number).into()),
        (_, Val::U64(number)) => Value::Unsigned(*number),
        (_, Val::S8(number)) => Value::Signed((*number).into()),
        (_, Val::S16(number)) => Value::Signed((*number).into()),
        (_, Val::S32(number)) => Value::Signed((*number).into()),
        (_, Val::S64(number)) => Value::Signed(*number),
        (_, Val::Float32(number)) => Value::F32(*number),
        (_, Val::Float64(number)) => Value::F64(*number),
        (_, Val::Char(char)) => Value::Char(*char),
        (_, Val::String(text)) => Value::String(text.clone()),
        (Type::Bytes, Val::List(items)) => {
            let bytes = items.iter().map(|item| match item {
                Val::U8(byte) => Some(*byte),
                _ => None,
            });
            Value::Bytes(bytes.collect::<Option<Vec<u8>>>()?.into())
        }
        (Type::List(ty) | Type::FixedList(ty, _), Val::List(items) | Val::FixedLengthList(items)) => {
            Value::List(items.iter().map(|item| from_val(ty, item)).collect::<Option<_>>()?)
        }
        (Type::Map(key_ty, value_ty), Val::Map(entries)) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| Some((from_val(key_ty, key)?, from_val(value_ty, value)?)));
            Value::Map(entries.collect::<Option<_>>()?)
        }
        (Type::Tuple(types), Val::Tuple(items)) => {
            let items = types.iter().zip(items).map(|(ty, item)| from_val(ty, item));
            Value::Record(items.collect::<Option<_>>()?)
        }
        (Type::Record(record), Val::Record(fields)) => {
            let fields = record.fields.iter().zip(fields).map(|(field, (_, val))| from_val(&field.ty, val));
            Value::Record(fields.collect::<Option<_>>()?)
        }
        (Type::Enum(names), Val::Enum(name)) => {
            Value::Variant(names.cases.iter().position(|case| *case.wit == *name)? as u32, None)
        }
        (Type::Variant(variant), Val::Variant(name, payload)) => {
            let index = variant.cases.iter().position(|case| *case.name.wit == *name)?;
            Value::Variant(index as u32, payload_from_val(variant.cases[index].ty.as_ref(), payload.as_deref())?)
        }
        (Type::Option(some), Val::Option(payload)) => match payload {
            None => Value::none(),
            Some(val) => Value::some(from_val(some, &**val)?),
        },
        (Type::Result(ok, err), Val::Result(result)) => match result {
            Ok(payload) => Value::Variant(0, payload_from_val(ok.as_deref(), payload.as_deref())?),
            Err(payload) => Value::Variant(1, payload_from_val(err.as_deref(), payload.as_deref())?),
        },
        (Type::Flags(names), Val::Flags(set)) => {
            let mut bits = 0;
            for name in set {
                bits |= 1 << names.cases.iter().position(|case| *case.wit == *name)?;
            }
            Value::Flags(bits)
        }
        _ => return None,
    })
}

fn items_to_vals(ty: &Type, items: &[Value]) -> Option<Vec<Val>> {
    items.iter().map(|item| to_val(ty, item)).collect()
}

/// The outer option is whether the value fits its type, the inner one whether there is a payload.
#[expect(clippy::option_option, reason = "two different questions, as the comment says")]
fn payload_to_val(ty: Option<&Type>, payload: Option<&Value>) -> Option<Option<Box<Val>>> {
    match (ty, payload) {
        (Some(ty), Some(value)) => to_val(ty, value).map(|val| Some(Box::new(val))),
        (None, None) => Some(None),
        _ => None,
    }
}

#[expect(clippy::option_option, reason = "two different questions, as for payload_to_val")]
fn payload_from_val(ty: Option<&Type>, payload: Option<&Val>) -> Option<Option<Box<Value>>> {
    match (ty, payload) {
        (Some(ty), Some(val)) => from_val(ty, val).map(|value| Some(Box::new(value))),
        (None, None) => Some(None),
        _ => None,
    }
}
