//! What a function returned → its reply, or the error that it is.

use crate::error::CallError;
use crate::json;
use crate::schema::{Endpoint, Record, Type};
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
    match guest_error(err.as_ref(), payload.as_deref().cloned()) {
        CallError::Guest { code, .. } => Some(code),
        _ => Some(500),
    }
}

/// An error that came from elsewhere, as the function's own error: none if its type cannot tell.
pub(crate) fn from_error(ty: &Type, error: &micro_mesh::Error) -> Option<Value> {
    match ty {
        Type::String => Some(Value::String(error.detail.clone())),
        Type::Record(record) => {
            let values = record.fields.iter().map(|field| match (&*field.name.wit, &field.ty) {
                ("id", Type::String) => Some(Value::String(error.id.clone())),
                ("code", Type::U16 | Type::U32 | Type::U64) => Some(Value::Unsigned(u64::from(error.code))),
                ("code", Type::S16 | Type::S32 | Type::S64) => Some(Value::Signed(i64::from(error.code))),
                ("detail" | "message", Type::String) => Some(Value::String(error.detail.clone())),
                ("status", Type::String) => Some(Value::String(error.status.clone())),
                _ => None,
            });
            values.collect::<Option<Vec<_>>>().map(Value::Record)
        }
        _ => None,
    }
}

/// The error that a function returned: `micro:function/types.error` keeps its id and code, anything else becomes text.
fn guest_error(ty: Option<&Type>, value: Option<Value>) -> CallError {
    let (Some(ty), Some(value)) = (ty, value) else {
        return CallError::Guest {
            id: None,
            code: 500,
            detail: "the function returned an error without a text".into(),
        };
    };
    if let (Type::Record(record), Value::Record(values)) = (ty, &value)
        && let Some(error) = known_error(record, values)
    {
        return error;
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
    CallError::Guest { id: None, code: 500, detail }
}

/// Whether a record is an error as go-micro knows it: it has a `code` that is a number and a `detail` that is text.
fn known_error(record: &Record, values: &[Value]) -> Option<CallError> {
    let field = |name: &str| {
        let index = record.fields.iter().position(|field| *field.name.wit == *name)?;
        values.get(index)
    };
    let (Some(Value::Unsigned(code)), Some(Value::String(detail))) = (field("code"), field("detail")) else {
        return None;
    };
    let id = match field("id") {
        Some(Value::String(id)) if !id.is_empty() => Some(id.clone()),
        _ => None,
    };
    // A code that HTTP does not know as an error is the function's mistake, and an error all the same.
    let code = u16::try_from(*code).ok().filter(|code| (400..600).contains(code)).unwrap_or(500);
    Some(CallError::Guest { id, code, detail: detail.clone() })
}
