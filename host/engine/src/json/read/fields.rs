//! The object of a record, or of a whole message.

use super::super::place::Place;
use super::{Seed, expected, unknown};
use crate::schema::Record;
use crate::value::Value;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads the object of a record, or of a whole message: the fields that it gives.
pub(super) struct FieldsSeed<'s, 'p> {
    pub(super) record: &'s Record,
    pub(super) place: &'p Place<'s>,
}

impl<'de> DeserializeSeed<'de> for FieldsSeed<'_, '_> {
    type Value = Vec<Option<Value>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<Option<Value>>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, 's, 'p> Visitor<'de> for FieldsSeed<'s, 'p> {
    type Value = Vec<Option<Value>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Vec<Option<Value>>, A::Error> {
        let mut values: Vec<Option<Value>> = Vec::new();
        values.resize_with(self.record.fields.len(), || None);
        while let Some(index) = entries.next_key_seed(KeySeed(self.record))? {
            let field = &self.record.fields[index];
            self.place.enter_field(&field.name.json);
            if values[index].is_some() {
                return Err(A::Error::custom("the field is there twice"));
            }
            values[index] = Some(entries.next_value_seed(Seed { ty: &field.ty, place: self.place })?);
            self.place.leave();
        }
        Ok(values)
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<Option<Value>>, E> {
        Err(E::custom("expected object, got null"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Vec<Option<Value>>, E> {
        Err(E::custom("expected object, got boolean"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Vec<Option<Value>>, E> {
        Err(E::custom("expected object, got number"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Vec<Option<Value>>, E> {
        Err(E::custom("expected object, got number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Vec<Option<Value>>, E> {
        Err(E::custom("expected object, got number"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Vec<Option<Value>>, E> {
        Err(E::custom("expected object, got string"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Vec<Option<Value>>, A::Error> {
        Err(A::Error::custom("expected object, got array"))
    }
}

/// Completes a message with `none` where that is allowed, or says what is missing.
pub(super) fn fill_missing<E: Error>(record: &Record, given: Vec<Option<Value>>) -> Result<Vec<Value>, E> {
    // This way round the values stay where they are.
    let filled = given.into_iter().zip(&record.fields).map(|(value, field)| match value {
        Some(value) => Ok(value),
        None if field.ty.is_optional() => Ok(Value::none()),
        None => Err(E::custom(format_args!("missing field {}: expected {}", field.name.json, expected(&field.ty)))),
    });
    filled.collect()
}

/// Reads an object's key as the place of a field.
struct KeySeed<'s>(&'s Record);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<usize, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = usize;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a field name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        let fields = &self.0.fields;
        fields.iter().position(|field| field.name.matches(text)).ok_or_else(|| {
            let known = fields.iter().map(|field| &*field.name.json);
            E::custom(unknown("field", text, known))
        })
    }
}
