//! What a function returned → its reply, or the error that it is.

use crate::error::CallError;
use crate::json;
use crate::schema::{Endpoint, Field, Record, Type};
use crate::value::Value;

/// Parts the `ok` of a function's result from its `err`.
pub fn reply(endpoint: &Endpoint, returned: Option<Value>) -> Result<Option<Value>, CallError> {
    part(endpoint.reply.err.as_ref(), returned)
}

/// The same for any function, by the type of its error; the outer option is whether it returns a `result` at all.
pub(crate) fn part(err: Option<&Option<Type>>, returned: Option<Value>) -> Result<Option<Value>, CallError> {
    let Some(err) = err else { return Ok(returned) };
    match returned {
        Some(Value::Variant(0, payload)) => Ok(payload.map(|value| *value)),
        Some(Value::Variant(_, payload)) => Err(guest_error(err.as_ref(), payload.map(|value| *value))),
        other => Ok(other),
    }
}

/// The code of the error that a function returned, if that is what it did.
pub fn error_code(endpoint: &Endpoint, returned: Option<&Value>) -> Option<u16> {
    let err = endpoint.reply.err.as_ref()?;
    let Some(Value::Variant(1, payload)) = returned else { return None };
    Some(match (err, payload.as_deref()) {
        (Some(Type::Record(record)), Some(Value::Record(values))) => {
            known_error(record, values).map_or(UNKNOWN, |error| error.code)
        }
        _ => UNKNOWN,
    })
}

/// An error that came from elsewhere, as the function's own error: none if its type cannot tell.
pub(crate) fn from_error(ty: &Type, error: &micro_mesh::Error) -> Option<Value> {
    match ty {
        Type::String => Some(Value::String(error.detail.clone())),
        Type::Record(record) => {
            let values = record.fields.iter().map(|field| {
                Some(match part_of(field)? {
                    Part::Id => Value::String(error.id.clone()),
                    Part::Code if is_signed(&field.ty) => Value::Signed(i64::from(error.code)),
                    Part::Code => Value::Unsigned(u64::from(error.code)),
                    Part::Detail => Value::String(error.detail.clone()),
                    Part::Status => Value::String(error.status.clone()),
                })
            });
            values.collect::<Option<Vec<_>>>().map(Value::Record)
        }
        _ => None,
    }
}

/// The code of an error that does not say.
const UNKNOWN: u16 = 500;

/// What a field of a function's own error is to go-micro.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Id,
    Code,
    Detail,
    Status,
}

/// By the name and type of the field, in both directions.
fn part_of(field: &Field) -> Option<Part> {
    match (&*field.name.wit, &field.ty) {
        ("id", Type::String) => Some(Part::Id),
        ("code", Type::U16 | Type::U32 | Type::U64 | Type::S16 | Type::S32 | Type::S64) => Some(Part::Code),
        ("detail" | "message", Type::String) => Some(Part::Detail),
        ("status", Type::String) => Some(Part::Status),
        _ => None,
    }
}

fn is_signed(ty: &Type) -> bool {
    matches!(ty, Type::S16 | Type::S32 | Type::S64)
}

/// The error that a function returned: `micro:function/types.error` keeps its id and code, anything else becomes text.
fn guest_error(ty: Option<&Type>, value: Option<Value>) -> CallError {
    let (Some(ty), Some(value)) = (ty, value) else {
        return CallError::Guest {
            id: None,
            code: UNKNOWN,
            detail: "the function returned an error without a text".into(),
        };
    };
    if let (Type::Record(record), Value::Record(values)) = (ty, &value)
        && let Some(error) = known_error(record, values)
    {
        let id = error.id.filter(|id| !id.is_empty()).map(str::to_string);
        return CallError::Guest { id, code: error.code, detail: error.detail.to_string() };
    }
    let detail = match value {
        Value::String(text) => text,
        value => {
            let mut out = Vec::new();
            match json::write_value(ty, &value, &mut out) {
                Ok(()) => String::from_utf8_lossy(&out).into_owned(),
                Err(error) => error,
            }
        }
    };
    CallError::Guest { id: None, code: UNKNOWN, detail }
}

/// An error as go-micro knows it.
struct Known<'v> {
    id: Option<&'v str>,
    code: u16,
    detail: &'v str,
}

/// A record as such an error: it has a code that is a number, and a detail or message that is text.
fn known_error<'v>(record: &Record, values: &'v [Value]) -> Option<Known<'v>> {
    let find = |wanted: Part| {
        let mut fields = record.fields.iter().zip(values);
        fields.find_map(|(field, value)| (part_of(field) == Some(wanted)).then_some(value))
    };
    let text = |part: Part| match find(part) {
        Some(Value::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let code = match find(Part::Code)? {
        Value::Unsigned(code) => u16::try_from(*code).ok(),
        Value::Signed(code) => u16::try_from(*code).ok(),
        _ => return None,
    };
    // A code that HTTP does not know as an error is the function's mistake, and an error all the same.
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(UNKNOWN);
    Some(Known { id: text(Part::Id), code, detail: text(Part::Detail)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::schema::{Reply, Request};
    use std::sync::Arc;

    fn record(fields: &[(&str, Type)]) -> Type {
        let fields = fields.iter().map(|(name, ty)| Field { name: Name::new(name), docs: None, ty: ty.clone() });
        Type::Record(Arc::new(Record { name: "failure".into(), docs: None, fields: fields.collect() }))
    }

    /// What becomes of an error that is passed on as a value of `ty` and returned.
    fn passed_on(ty: &Type, error: &micro_mesh::Error) -> (u16, CallError) {
        let value = from_error(ty, error).unwrap();
        let returned = Value::Variant(1, Some(Box::new(value)));
        let message = Arc::new(Record { name: "request".into(), docs: None, fields: Vec::new() });
        let endpoint = Endpoint {
            name: "Say.Hello".into(),
            interface: None,
            function: "hello".into(),
            docs: None,
            request: Request { message, is_one_record: false },
            reply: Reply { ok: None, err: Some(Some(ty.clone())) },
            is_async: false,
            stream: None,
            raw: None,
        };
        (error_code(&endpoint, Some(&returned)).unwrap(), reply(&endpoint, Some(returned)).unwrap_err())
    }

    #[test]
    fn an_error_that_is_passed_on_keeps_its_code_whatever_its_fields_are_called() {
        let error = micro_mesh::Error::new("demo.users", 404, "nobody");
        for ty in [
            record(&[("code", Type::S32), ("message", Type::String)]),
            record(&[("code", Type::U16), ("detail", Type::String)]),
            record(&[("detail", Type::String), ("code", Type::S64)]),
        ] {
            let (code, error) = passed_on(&ty, &error);
            assert_eq!(code, 404, "{ty:?}");
            assert!(matches!(error, CallError::Guest { code: 404, detail, .. } if detail == "nobody"), "{ty:?}");
        }
    }
}
