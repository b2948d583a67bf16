//! JSON → values.

mod expect;
mod fields;

pub(crate) use expect::expected;
use expect::{bounds, out_of_range, unknown};
use fields::{FieldsSeed, fill_missing};

use super::place::Place;
use super::write::key_text;
use crate::name::Name;
use crate::schema::{Record, Type, Variant};
use crate::value::Value;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// An array announces no length; room for this many items is made at the first.
const FIRST_ITEMS: usize = 8;

/// Reads a message: the fields of `message` in declaration order. The error names the field and what was expected.
pub fn read_fields(message: &Record, body: &[u8]) -> Result<Vec<Value>, String> {
    let given = read_given_fields(message, body)?;
    finish(&Place::default(), fill_missing(message, given))
}

/// Reads the fields that a message gives, and leaves it to the caller to find the others elsewhere.
pub fn read_given_fields(message: &Record, body: &[u8]) -> Result<Vec<Option<Value>>, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        // An empty body is an empty message, as go-micro's JSON codec reads it.
        return Ok(message.fields.iter().map(|_| None).collect());
    }
    let place = Place::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let fields = FieldsSeed { record: message, place: &place }.deserialize(&mut json);
    let fields = fields.and_then(|fields| json.end().map(|()| fields));
    finish(&place, fields)
}

/// Reads one value of type `ty`.
pub fn read_value(ty: &Type, text: &[u8]) -> Result<Value, String> {
    let place = Place::default();
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Seed { ty, place: &place }.deserialize(&mut json);
    let value = value.and_then(|value| json.end().map(|()| value));
    finish(&place, value)
}

fn finish<T>(place: &Place<'_>, outcome: Result<T, serde_json::Error>) -> Result<T, String> {
    outcome.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        // serde_json ends its texts with the position, which reads badly after a question.
        let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        let place = place.to_string();
        let what = match error.classify() {
            serde_json::error::Category::Data if place.is_empty() => text.to_string(),
            serde_json::error::Category::Data => format!("field {place}: {text}"),
            _ => format!("not valid JSON: {text}"),
        };
        if line == 0 { what } else { format!("{what} (line {line}, column {column})") }
    })
}

/// Reads a value of one type.
struct Seed<'s, 'p> {
    ty: &'s Type,
    place: &'p Place<'s>,
}

impl<'s, 'p> Seed<'s, 'p> {
    fn of(&self, ty: &'s Type) -> Seed<'s, 'p> {
        Seed { ty, place: self.place }
    }

    fn mismatch<E: Error>(&self, got: &str) -> E {
        E::custom(format_args!("expected {}, got {got}", expected(self.ty)))
    }

    fn unsigned<E: Error>(&self, number: u64) -> Result<Value, E> {
        let Some((low, high)) = bounds(self.ty) else {
            return self.other_number(number as f64, number);
        };
        if i128::from(number) > high {
            return Err(out_of_range(self.ty, number));
        }
        Ok(if low == 0 { Value::Unsigned(number) } else { Value::Signed(number as i64) })
    }

    fn signed<E: Error>(&self, number: i64) -> Result<Value, E> {
        let Some((low, high)) = bounds(self.ty) else {
            return self.other_number(number as f64, number);
        };
        if i128::from(number) < low || i128::from(number) > high {
            return Err(out_of_range(self.ty, number));
        }
        Ok(if low == 0 { Value::Unsigned(number as u64) } else { Value::Signed(number) })
    }

    fn other_number<E: Error>(&self, number: f64, given: impl fmt::Display) -> Result<Value, E> {
        match self.ty {
            Type::F64 => Ok(Value::F64(number)),
            Type::F32 if (number as f32).is_infinite() => Err(out_of_range(self.ty, given)),
            Type::F32 => Ok(Value::F32(number as f32)),
            _ => Err(self.mismatch("number")),
        }
    }

    /// A string that stands for a number, where the mapping allows one.
    fn text_number<E: Error>(&self, text: &str) -> Result<Value, E> {
        match self.ty {
            Type::U64 => text.parse().map(Value::Unsigned).map_err(|_| self.mismatch(&format!("{text:?}"))),
            Type::S64 => text.parse().map(Value::Signed).map_err(|_| self.mismatch(&format!("{text:?}"))),
            Type::F32 | Type::F64 => {
                let number = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => return Err(self.mismatch("string")),
                };
                Ok(if *self.ty == Type::F32 { Value::F32(number as f32) } else { Value::F64(number) })
            }
            _ => Err(self.mismatch("string")),
        }
    }

    /// A case named by a string, which carries nothing (or nothing but a `null`).
    fn bare_case<E: Error>(&self, text: &str) -> Result<Value, E> {
        match self.ty {
            Type::Enum(names) => case_index(&names.cases, text).map(|index| Value::Variant(index, None)),
            Type::Variant(variant) => {
                let index = variant_index(variant, text)?;
                match &variant.cases[index as usize].ty {
                    None => Ok(Value::Variant(index, None)),
                    Some(Type::Option(_)) => Ok(Value::Variant(index, Some(Box::new(Value::none())))),
                    Some(ty) => {
                        Err(E::custom(format_args!("case {text} carries {}: expected {{\"{text}\": …}}", expected(ty))))
                    }
                }
            }
            Type::Result(None, _) if text == "ok" => Ok(Value::Variant(0, None)),
            Type::Result(_, None) if text == "err" => Ok(Value::Variant(1, None)),
            _ => Err(self.mismatch("string")),
        }
    }
}

impl<'de, 's, 'p> DeserializeSeed<'de> for Seed<'s, 'p> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        match self.ty {
            Type::Option(_) => json.deserialize_option(self),
            Type::Record(record) => {
                let given = FieldsSeed { record, place: self.place }.deserialize(json)?;
                fill_missing(record, given).map(Value::Record)
            }
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de, 's, 'p> Visitor<'de> for Seed<'s, 'p> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&expected(self.ty))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        match self.ty {
            Type::Bool => Ok(Value::Bool(flag)),
            _ => Err(self.mismatch("boolean")),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        self.unsigned(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        self.signed(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        // `5.0` is the integer 5, as proto3's JSON has it.
        if bounds(self.ty).is_some() {
            if number.fract() != 0.0 {
                return Err(self.mismatch(&number.to_string()));
            }
            if number.abs() > super::EXACT_INTEGERS as f64 {
                return Err(out_of_range(self.ty, number));
            }
            return self.signed(number as i64);
        }
        self.other_number(number, number)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        match self.ty {
            Type::Option(_) => Ok(Value::none()),
            _ => Err(self.mismatch("null")),
        }
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        match self.ty {
            Type::Option(some) => match &**some {
                Type::Option(_) => json.deserialize_map(SomeVisitor(self.of(some))),
                _ => self.of(some).deserialize(json).map(Value::some),
            },
            _ => json.deserialize_any(self),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        match self.ty {
            Type::String => Ok(Value::String(text.to_string())),
            Type::Char => {
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(char), None) => Ok(Value::Char(char)),
                    _ => Err(self.mismatch(&format!("{} characters", text.chars().count()))),
                }
            }
            Type::Bytes => decode_base64(text)
                .map(|bytes| Value::Bytes(bytes.into()))
                .ok_or_else(|| self.mismatch("a string that is not base64")),
            Type::Variant(_) | Type::Enum(_) | Type::Result(..) => self.bare_case(text),
            _ => self.text_number(text),
        }
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        match self.ty {
            Type::String => Ok(Value::String(text)),
            _ => self.visit_str(&text),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        match self.ty {
            Type::List(ty) => self.list(ty, &mut items).map(Value::List),
            Type::FixedList(ty, length) => {
                let list = self.list(ty, &mut items)?;
                if list.len() != *length {
                    return Err(A::Error::custom(format_args!("expected {length} items, got {}", list.len())));
                }
                Ok(Value::List(list))
            }
            Type::Tuple(types) => self.tuple(types, &mut items),
            Type::Flags(names) => {
                let mut bits = 0;
                while let Some(name) = items.next_element::<std::borrow::Cow<'_, str>>()? {
                    bits |= 1 << case_index::<A::Error>(&names.cases, &name)?;
                }
                Ok(Value::Flags(bits))
            }
            Type::Bytes => {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element::<u8>()? {
                    bytes.push(byte);
                }
                Ok(Value::Bytes(bytes.into()))
            }
            _ => Err(self.mismatch("array")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        match self.ty {
            Type::Map(key_ty, value_ty) => {
                let mut map = Vec::new();
                let mut known = HashSet::new();
                while let Some(text) = entries.next_key::<String>()? {
                    self.place.enter_key(&text);
                    let key = read_key(key_ty, &text)
                        .ok_or_else(|| A::Error::custom(format_args!("expected a key that is {}", expected(key_ty))))?;
                    // By its text in full: `1` and `01` are the same number.
                    if !known.insert(key_text(key_ty, &key)) {
                        return Err(A::Error::custom("the key is there twice"));
                    }
                    map.push((key, entries.next_value_seed(self.of(value_ty))?));
                    self.place.leave();
                }
                Ok(Value::Map(map))
            }
            Type::Variant(_) | Type::Result(..) => self.one_case(entries),
            _ => Err(self.mismatch("object")),
        }
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self.mismatch("enum"))
    }
}

impl<'s> Seed<'s, '_> {
    fn list<'de, A: SeqAccess<'de>>(&self, ty: &'s Type, items: &mut A) -> Result<Vec<Value>, A::Error> {
        let mut list = Vec::with_capacity(FIRST_ITEMS);
        loop {
            self.place.enter_index(list.len());
            let item = items.next_element_seed(self.of(ty))?;
            self.place.leave();
            match item {
                Some(item) => list.push(item),
                None => return Ok(list),
            }
        }
    }

    fn tuple<'de, A: SeqAccess<'de>>(&self, types: &'s [Type], items: &mut A) -> Result<Value, A::Error> {
        let mut values = Vec::with_capacity(types.len());
        for (index, ty) in types.iter().enumerate() {
            self.place.enter_index(index);
            let Some(value) = items.next_element_seed(self.of(ty))? else {
                self.place.leave();
                return Err(A::Error::custom(format_args!("expected {} items, got {index}", types.len())));
            };
            self.place.leave();
            values.push(value);
        }
        if items.next_element::<serde::de::IgnoredAny>()?.is_some() {
            return Err(A::Error::custom(format_args!("expected {} items, got more", types.len())));
        }
        Ok(Value::Record(values))
    }

    /// `{"case": value}`: an object with exactly one key.
    fn one_case<'de, A: MapAccess<'de>>(&self, mut entries: A) -> Result<Value, A::Error> {
        let Some(text) = entries.next_key::<String>()? else {
            return Err(A::Error::custom(format_args!("expected {}, got {{}}", expected(self.ty))));
        };
        let (index, name, ty) = match self.ty {
            Type::Variant(variant) => {
                let index = variant_index(variant, &text)?;
                let case = &variant.cases[index as usize];
                (index, &*case.name.json, case.ty.as_ref())
            }
            Type::Result(ok, _) if text == "ok" => (0, "ok", ok.as_deref()),
            Type::Result(_, err) if text == "err" => (1, "err", err.as_deref()),
            _ => return Err(A::Error::custom(format_args!("unknown case {text:?}: expected ok or err"))),
        };
        self.place.enter_field(name);
        let payload = match ty {
            Some(ty) => Some(Box::new(entries.next_value_seed(self.of(ty))?)),
            None => {
                entries.next_value::<()>().map_err(|_| A::Error::custom("the case carries nothing: expected null"))?;
                None
            }
        };
        self.place.leave();
        match entries.next_key::<String>()? {
            None => Ok(Value::Variant(index, payload)),
            Some(more) => Err(A::Error::custom(format_args!("expected one case, got {text:?} and {more:?}"))),
        }
    }
}

/// Reads `{"some": …}`, the form of an option inside an option.
struct SomeVisitor<'s, 'p>(Seed<'s, 'p>);

impl<'de> Visitor<'de> for SomeVisitor<'_, '_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("null or {\"some\": …}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        match entries.next_key::<String>()? {
            Some(key) if key == "some" => {}
            _ => return Err(A::Error::custom("expected null or {\"some\": …}")),
        }
        self.0.place.enter_field("some");
        let value = entries.next_value_seed(self.0.of(self.0.ty))?;
        self.0.place.leave();
        match entries.next_key::<String>()? {
            None => Ok(Value::some(value)),
            Some(_) => Err(A::Error::custom("expected null or {\"some\": …}")),
        }
    }
}

/// A map's key, which JSON has only as text.
fn read_key(ty: &Type, text: &str) -> Option<Value> {
    match ty {
        Type::String => Some(Value::String(text.to_string())),
        Type::Bool => text.parse().ok().map(Value::Bool),
        Type::Char => text.parse().ok().map(Value::Char),
        _ => {
            let (low, high) = bounds(ty)?;
            let number: i128 = text.parse().ok().filter(|number| (low..=high).contains(number))?;
            Some(if low == 0 { Value::Unsigned(number as u64) } else { Value::Signed(number as i64) })
        }
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

fn case_index<E: Error>(names: &[Name], text: &str) -> Result<u32, E> {
    match names.iter().position(|name| name.matches(text)) {
        Some(index) => Ok(index as u32),
        None => Err(E::custom(unknown("case", text, names.iter().map(|name| &*name.json)))),
    }
}

fn variant_index<E: Error>(variant: &Variant, text: &str) -> Result<u32, E> {
    match variant.cases.iter().position(|case| case.name.matches(text)) {
        Some(index) => Ok(index as u32),
        None => Err(E::custom(unknown("case", text, variant.cases.iter().map(|case| &*case.name.json)))),
    }
}
