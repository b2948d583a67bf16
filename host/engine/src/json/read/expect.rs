//! What was expected, in the caller's words.

use crate::name::hint;
use crate::schema::Type;
use serde::de::Error;
use std::fmt;

/// `unknown field "nam": did you mean name?`, or the list of what there is.
pub(super) fn unknown<'a>(what: &str, text: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    format!("unknown {what} {text:?}: {}", hint(text, known))
}

pub(super) fn out_of_range<E: Error>(ty: &Type, number: impl fmt::Display) -> E {
    E::custom(format_args!("{number} is out of range for {}", ty.label()))
}

/// The range of an integer type.
pub(super) fn bounds(ty: &Type) -> Option<(i128, i128)> {
    Some(match ty {
        Type::U8 => (0, u8::MAX.into()),
        Type::U16 => (0, u16::MAX.into()),
        Type::U32 => (0, u32::MAX.into()),
        Type::U64 => (0, u64::MAX.into()),
        Type::S8 => (i8::MIN.into(), i8::MAX.into()),
        Type::S16 => (i16::MIN.into(), i16::MAX.into()),
        Type::S32 => (i32::MIN.into(), i32::MAX.into()),
        Type::S64 => (i64::MIN.into(), i64::MAX.into()),
        _ => return None,
    })
}

/// What a JSON value of this type looks like, in the caller's words.
pub(crate) fn expected(ty: &Type) -> String {
    match ty {
        Type::Bool => "boolean".into(),
        Type::U8 | Type::U16 | Type::U32 | Type::S8 | Type::S16 | Type::S32 => format!("integer ({})", ty.label()),
        Type::U64 | Type::S64 => format!("integer or its text ({})", ty.label()),
        Type::F32 | Type::F64 => "number".into(),
        Type::Char => "string of one character".into(),
        Type::String => "string".into(),
        Type::Bytes => "base64 string".into(),
        Type::List(_) | Type::FixedList(..) | Type::Tuple(_) => "array".into(),
        Type::Flags(_) => "array of names".into(),
        Type::Map(..) | Type::Record(_) => "object".into(),
        Type::Enum(names) => {
            let names: Vec<_> = names.cases.iter().map(|name| &*name.json).collect();
            format!("one of {}", names.join(", "))
        }
        Type::Variant(variant) => {
            let names: Vec<_> = variant.cases.iter().map(|case| &*case.name.json).collect();
            format!("one case of {}", names.join(", "))
        }
        Type::Option(some) => format!("{} or null", expected(some)),
        Type::Result(..) => "{\"ok\": …} or {\"err\": …}".into(),
    }
}
