//! Values → JSON.

use super::EXACT_INTEGERS;
use crate::schema::{Record, Reply, Type};
use crate::value::Value;
use base64::Engine as _;
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};

/// Appends the reply of an endpoint: a record as itself, any other value as `{"result": …}`, nothing as `{}`.
pub fn write_reply(reply: &Reply, value: Option<&Value>, out: &mut Vec<u8>) -> Result<(), String> {
    match (&reply.ok, value) {
        (Some(ty @ Type::Record(_)), Some(value)) => write_value(ty, value, out),
        (Some(ty), Some(value)) => {
            out.extend_from_slice(b"{\"result\":");
            write_value(ty, value, out)?;
            out.push(b'}');
            Ok(())
        }
        _ => {
            out.extend_from_slice(b"{}");
            Ok(())
        }
    }
}

/// Appends one value of type `ty`.
pub fn write_value(ty: &Type, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    serde_json::to_writer(out, &Typed { ty, value }).map_err(|error| error.to_string())
}

struct Typed<'a> {
    ty: &'a Type,
    value: &'a Value,
}

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match (self.ty, self.value) {
            (_, Value::Bool(flag)) => out.serialize_bool(*flag),
            (Type::U64, Value::Unsigned(number)) if *number > EXACT_INTEGERS => out.collect_str(number),
            (_, Value::Unsigned(number)) => out.serialize_u64(*number),
            (Type::S64, Value::Signed(number)) if number.unsigned_abs() > EXACT_INTEGERS => out.collect_str(number),
            (_, Value::Signed(number)) => out.serialize_i64(*number),
            (_, Value::F32(number)) if number.is_finite() => out.serialize_f32(*number),
            (_, Value::F32(number)) => out.serialize_str(non_finite((*number).into())),
            (_, Value::F64(number)) if number.is_finite() => out.serialize_f64(*number),
            (_, Value::F64(number)) => out.serialize_str(non_finite(*number)),
            (_, Value::Char(char)) => out.serialize_char(*char),
            (_, Value::String(text)) => out.serialize_str(text),
            (_, Value::Bytes(bytes)) => out.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes)),
            (Type::List(ty) | Type::FixedList(ty, _), Value::List(items)) => {
                out.collect_seq(items.iter().map(|value| Typed { ty, value }))
            }
            (Type::Tuple(types), Value::Record(items)) => {
                out.collect_seq(types.iter().zip(items).map(|(ty, value)| Typed { ty, value }))
            }
            (Type::Map(key_ty, ty), Value::Map(entries)) => {
                let mut map = out.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key_text(key_ty, key), &Typed { ty, value })?;
                }
                map.end()
            }
            (Type::Record(record), Value::Record(values)) => write_record(record, values, out),
            (Type::Flags(names), Value::Flags(bits)) => {
                let mut seq = out.serialize_seq(None)?;
                for (index, name) in names.cases.iter().enumerate() {
                    if bits & (1 << index) != 0 {
                        seq.serialize_element(&*name.json)?;
                    }
                }
                seq.end()
            }
            (ty, Value::Variant(index, payload)) => write_case(ty, *index, payload.as_deref(), out),
            (ty, _) => Err(S::Error::custom(format_args!("the guest gave another type than {}", ty.label()))),
        }
    }
}

fn write_record<S: Serializer>(record: &Record, values: &[Value], out: S) -> Result<S::Ok, S::Error> {
    let mut map = out.serialize_map(Some(values.len()))?;
    for (field, value) in record.fields.iter().zip(values) {
        // What is absent stays absent: a reader sees the fields that hold something.
        if field.ty.is_optional() && *value == Value::none() {
            continue;
        }
        map.serialize_entry(&*field.name.json, &Typed { ty: &field.ty, value })?;
    }
    map.end()
}

fn write_case<S: Serializer>(ty: &Type, index: u32, payload: Option<&Value>, out: S) -> Result<S::Ok, S::Error> {
    let unknown = || S::Error::custom(format_args!("the guest gave a case that {} has not", ty.label()));
    let (name, payload_ty) = match ty {
        Type::Option(some) => {
            return match payload {
                None => out.serialize_none(),
                Some(value) if some.is_optional() => {
                    let mut map = out.serialize_map(Some(1))?;
                    map.serialize_entry("some", &Typed { ty: some, value })?;
                    map.end()
                }
                Some(value) => Typed { ty: some, value }.serialize(out),
            };
        }
        Type::Enum(names) => {
            return out.serialize_str(&names.cases.get(index as usize).ok_or_else(unknown)?.json);
        }
        Type::Variant(variant) => {
            let case = variant.cases.get(index as usize).ok_or_else(unknown)?;
            if case.ty.is_none() {
                return out.serialize_str(&case.name.json);
            }
            (&*case.name.json, case.ty.as_ref())
        }
        Type::Result(ok, _) if index == 0 => ("ok", ok.as_deref()),
        Type::Result(_, err) => ("err", err.as_deref()),
        _ => return Err(unknown()),
    };
    let mut map = out.serialize_map(Some(1))?;
    match (payload_ty, payload) {
        (Some(ty), Some(value)) => map.serialize_entry(name, &Typed { ty, value })?,
        _ => map.serialize_entry(name, &())?,
    }
    map.end()
}

/// A map's key as JSON writes it.
pub(crate) fn key_text(ty: &Type, key: &Value) -> String {
    match (ty, key) {
        (_, Value::String(text)) => text.clone(),
        (_, Value::Unsigned(number)) => number.to_string(),
        (_, Value::Signed(number)) => number.to_string(),
        (_, Value::Bool(flag)) => flag.to_string(),
        (_, Value::Char(char)) => char.to_string(),
        (ty, _) => ty.label(),
    }
}

fn non_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}
