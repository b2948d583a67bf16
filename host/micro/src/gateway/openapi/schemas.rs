//! WIT types as JSON Schema (2020-12), which is what OpenAPI 3.1 speaks.

use micro_engine::name::title_case;
use micro_engine::schema::{Record, Reply, Type};
use serde_json::{Map, Value, json};

/// The error that every endpoint may answer with.
pub(super) fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string", "description": "Who reports the error." },
            "code": { "type": "integer", "description": "The HTTP status." },
            "detail": { "type": "string", "description": "What is wrong, and where." },
            "status": { "type": "string", "description": "The code in words." },
        },
    })
}

/// The named schemas of one service. Names are kept apart by service: `greeter.Request`.
pub(super) struct Schemas {
    service: String,
    named: Map<String, Value>,
}

impl Schemas {
    /// The schemas of one service.
    pub(super) fn of_service(service: &str) -> Schemas {
        Schemas { service: service.to_string(), named: Map::new() }
    }

    pub(super) fn into_map(self) -> Map<String, Value> {
        self.named
    }

    /// A request: a record, or the parameters of a function.
    pub(super) fn message(&mut self, message: &Record) -> Value {
        self.record(message)
    }

    /// A reply as JSON.
    pub(super) fn reply(&mut self, reply: &Reply) -> Value {
        match &reply.ok {
            None => json!({ "type": "object" }),
            Some(ty @ Type::Record(_)) => self.of(ty),
            Some(ty) => {
                json!({ "type": "object", "properties": { "result": self.of(ty) }, "required": ["result"] })
            }
        }
    }

    /// The schema of one type; named types become references.
    pub(super) fn of(&mut self, ty: &Type) -> Value {
        match ty {
            Type::Bool => json!({ "type": "boolean" }),
            Type::U8 => integer("uint8", 0, u8::MAX.into()),
            Type::U16 => integer("uint16", 0, u16::MAX.into()),
            Type::U32 => integer("uint32", 0, u32::MAX.into()),
            Type::S8 => integer("int8", i8::MIN.into(), i8::MAX.into()),
            Type::S16 => integer("int16", i16::MIN.into(), i16::MAX.into()),
            Type::S32 => integer("int32", i32::MIN.into(), i32::MAX.into()),
            Type::U64 => json!({ "type": ["integer", "string"], "format": "uint64", "pattern": "^[0-9]+$" }),
            Type::S64 => json!({ "type": ["integer", "string"], "format": "int64", "pattern": "^-?[0-9]+$" }),
            Type::F32 | Type::F64 => {
                let format = if *ty == Type::F32 { "float" } else { "double" };
                json!({ "anyOf": [{ "type": "number", "format": format }, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
            }
            Type::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
            Type::String => json!({ "type": "string" }),
            Type::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Type::List(item) => json!({ "type": "array", "items": self.of(item) }),
            Type::FixedList(item, length) => {
                json!({ "type": "array", "items": self.of(item), "minItems": length, "maxItems": length })
            }
            Type::Map(_, value) => json!({ "type": "object", "additionalProperties": self.of(value) }),
            Type::Tuple(types) => {
                let items: Vec<Value> = types.iter().map(|ty| self.of(ty)).collect();
                json!({ "type": "array", "prefixItems": items, "items": false, "minItems": types.len() })
            }
            Type::Record(record) => self.record(record),
            Type::Enum(names) => {
                let names: Vec<&str> = names.cases.iter().map(|name| &*name.json).collect();
                json!({ "type": "string", "enum": names })
            }
            Type::Flags(names) => {
                let names: Vec<&str> = names.cases.iter().map(|name| &*name.json).collect();
                json!({ "type": "array", "items": { "type": "string", "enum": names }, "uniqueItems": true })
            }
            Type::Variant(variant) => {
                let cases: Vec<Value> = variant
                    .cases
                    .iter()
                    .map(|case| match &case.ty {
                        None => json!({ "const": &*case.name.json }),
                        Some(ty) => self.case(&case.name.json, ty),
                    })
                    .collect();
                json!({ "oneOf": cases })
            }
            Type::Option(some) if some.is_optional() => {
                json!({ "anyOf": [self.case("some", some), { "type": "null" }] })
            }
            Type::Option(some) => json!({ "anyOf": [self.of(some), { "type": "null" }] }),
            Type::Result(ok, err) => {
                let sides = [("ok", ok), ("err", err)].map(|(name, ty)| match ty {
                    Some(ty) => self.case(name, ty),
                    None => json!({ "type": "object", "properties": { name: { "type": "null" } }, "required": [name] }),
                });
                json!({ "oneOf": sides })
            }
        }
    }

    fn case(&mut self, name: &str, ty: &Type) -> Value {
        json!({
            "type": "object",
            "properties": { name: self.of(ty) },
            "required": [name],
            "additionalProperties": false,
        })
    }

    fn record(&mut self, record: &Record) -> Value {
        let schema = self.record_schema(record);
        let plain = format!("{}.{}", self.service, title_case(&record.name));
        // Two interfaces may each have a `request` of their own: the second one gets a number.
        let mut name = plain.clone();
        let mut count = 1;
        while self.named.get(&name).is_some_and(|known| *known != schema) {
            count += 1;
            name = format!("{plain}{count}");
        }
        self.named.entry(name.clone()).or_insert(schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    fn record_schema(&mut self, record: &Record) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in &record.fields {
            let mut schema = self.of(&field.ty);
            if let Some(docs) = &field.docs {
                schema["description"] = json!(&**docs);
            }
            properties.insert(field.name.json.to_string(), schema);
            if !field.ty.is_optional() {
                required.push(&*field.name.json);
            }
        }
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if let Some(docs) = &record.docs {
            schema["description"] = json!(&**docs);
        }
        schema
    }
}

fn integer(format: &str, minimum: i64, maximum: i64) -> Value {
    json!({ "type": "integer", "format": format, "minimum": minimum, "maximum": maximum })
}
