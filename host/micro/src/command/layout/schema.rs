//! A component's own types as the request and response trees that a registry holds.

use micro_engine::schema::{self, Field, Record, Type};
use micro_mesh::{Endpoint, Metadata, Value};

/// How deep messages are shown, as go-micro does.
const DEPTH: usize = 3;

/// The record of an endpoint.
pub fn endpoint(endpoint: &schema::Endpoint) -> Endpoint {
    let request = message(&endpoint.request.message);
    let response = match &endpoint.reply.ok {
        Some(Type::Record(record)) => message(record),
        Some(other) => Value {
            name: "response".into(),
            kind: "response".into(),
            values: vec![Value { name: "result".into(), kind: other.label(), values: nested(other, DEPTH - 1) }],
        },
        None => Value { name: "response".into(), kind: "response".into(), values: Vec::new() },
    };
    Endpoint {
        name: endpoint.name.to_string(),
        request: Some(request),
        response: Some(response),
        metadata: Metadata::new(),
    }
}

fn message(record: &Record) -> Value {
    Value { name: record.name.to_string(), kind: record.name.to_string(), values: fields(&record.fields, DEPTH) }
}

fn fields(fields: &[Field], depth: usize) -> Vec<Value> {
    let value = |field: &Field| Value {
        name: field.name.json.to_string(),
        kind: field.ty.label(),
        values: nested(&field.ty, depth - 1),
    };
    if depth == 0 { Vec::new() } else { fields.iter().map(value).collect() }
}

/// The fields of the record that a type is, or holds.
fn nested(ty: &Type, depth: usize) -> Vec<Value> {
    match ty {
        Type::Record(record) => fields(&record.fields, depth),
        Type::List(item) | Type::FixedList(item, _) | Type::Option(item) | Type::Map(_, item) => nested(item, depth),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use micro_engine::name::Name;
    use micro_engine::schema::{Reply, Request};
    use std::sync::Arc;

    fn record(name: &str, fields: Vec<(&str, Type)>) -> Arc<Record> {
        let fields = fields.into_iter().map(|(name, ty)| Field { name: Name::new(name), docs: None, ty });
        Arc::new(Record { name: name.into(), docs: None, fields: fields.collect() })
    }

    #[test]
    fn trees_name_wit_types_and_end_at_some_depth() {
        let mut inner = record("leaf", vec![("user-id", Type::U64)]);
        for level in ["c", "b", "a"] {
            inner = record(level, vec![("inner", Type::List(Arc::new(Type::Record(inner))))]);
        }
        let schema = schema::Endpoint {
            name: "Say.Hello".into(),
            interface: None,
            function: "hello".into(),
            docs: None,
            request: Request { message: inner, is_one_record: true },
            reply: Reply { ok: Some(Type::Bytes), err: None },
        };
        let endpoint = endpoint(&schema);
        let request = endpoint.request.unwrap();
        assert_eq!(request.kind, "a");
        assert_eq!(request.values[0].kind, "list<b>");
        assert_eq!(request.values[0].values[0].values[0].name, "inner");
        assert!(request.values[0].values[0].values[0].values.is_empty());
        let response = endpoint.response.unwrap();
        assert_eq!((response.values[0].name.as_str(), response.values[0].kind.as_str()), ("result", "list<u8>"));
    }
}
