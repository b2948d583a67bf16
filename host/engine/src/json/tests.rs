use super::*;
use crate::name::Name;
use crate::schema::{Case, Enum, Field, Record, Reply, Type, Variant};
use crate::value::Value;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names for fields, cases and flags; each has several spellings.
const WORDS: [&str; 6] = ["id", "user-name", "http-status-code", "x", "get-url", "on-order"];

fn named(name: &str, ty: Type) -> Field {
    Field { name: Name::new(name), docs: None, ty }
}

fn record(fields: Vec<Field>) -> Record {
    Record { name: "message".into(), docs: None, fields }
}

fn names(count: usize) -> Enum {
    // Flags and enums may have more names than there are words.
    let cases = (0..count).map(|at| Name::new(&format!("{}-{at}", WORDS[at % WORDS.len()]))).collect();
    Enum { name: "names".into(), docs: None, cases }
}

/// Types that are no containers.
fn scalar() -> impl Strategy<Value = Type> {
    prop_oneof![
        Just(Type::Bool),
        Just(Type::S8),
        Just(Type::U8),
        Just(Type::S16),
        Just(Type::U16),
        Just(Type::S32),
        Just(Type::U32),
        Just(Type::S64),
        Just(Type::U64),
        Just(Type::F32),
        Just(Type::F64),
        Just(Type::Char),
        Just(Type::String),
        Just(Type::Bytes),
        (1..20_usize).prop_map(|count| Type::Enum(Arc::new(names(count)))),
        (1..=32_usize).prop_map(|count| Type::Flags(Arc::new(names(count)))),
    ]
}

/// What may be the key of a map.
fn key() -> impl Strategy<Value = Type> {
    prop_oneof![
        Just(Type::String),
        Just(Type::Bool),
        Just(Type::Char),
        Just(Type::U8),
        Just(Type::S16),
        Just(Type::U64),
        Just(Type::S64),
    ]
}

/// Any type of a message, some levels deep.
fn any_type() -> impl Strategy<Value = Type> {
    scalar().prop_recursive(4, 24, 5, |inner| {
        let shared = inner.clone().prop_map(Arc::new).boxed();
        let side = || proptest::option::of(shared.clone());
        prop_oneof![
            shared.clone().prop_map(|item| if *item == Type::U8 { Type::Bytes } else { Type::List(item) }),
            (shared.clone(), 0..4_usize).prop_map(|(item, length)| Type::FixedList(item, length)),
            (key(), shared.clone()).prop_map(|(key, value)| Type::Map(Arc::new(key), value)),
            vec(inner.clone(), 1..4).prop_map(|types| Type::Tuple(types.into())),
            shared.clone().prop_map(Type::Option),
            (side(), side()).prop_map(|(ok, err)| Type::Result(ok, err)),
            vec(inner.clone(), 0..WORDS.len()).prop_map(|types| {
                let fields = WORDS.iter().zip(types).map(|(name, ty)| named(name, ty));
                Type::Record(Arc::new(record(fields.collect())))
            }),
            vec(proptest::option::of(inner), 1..WORDS.len()).prop_map(|types| {
                let cases = WORDS.iter().zip(types).map(|(name, ty)| Case { name: Name::new(name), docs: None, ty });
                Type::Variant(Arc::new(Variant { name: "choice".into(), docs: None, cases: cases.collect() }))
            }),
        ]
    })
}

/// Any value of a type.
fn value(ty: &Type) -> BoxedStrategy<Value> {
    let payload = |ty: Option<&Type>| match ty {
        None => Just(None).boxed(),
        Some(ty) => value(ty).prop_map(|value| Some(Box::new(value))).boxed(),
    };
    match ty {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::U8 => any::<u8>().prop_map(|n| Value::Unsigned(n.into())).boxed(),
        Type::U16 => any::<u16>().prop_map(|n| Value::Unsigned(n.into())).boxed(),
        Type::U32 => any::<u32>().prop_map(|n| Value::Unsigned(n.into())).boxed(),
        Type::U64 => any::<u64>().prop_map(Value::Unsigned).boxed(),
        Type::S8 => any::<i8>().prop_map(|n| Value::Signed(n.into())).boxed(),
        Type::S16 => any::<i16>().prop_map(|n| Value::Signed(n.into())).boxed(),
        Type::S32 => any::<i32>().prop_map(|n| Value::Signed(n.into())).boxed(),
        Type::S64 => any::<i64>().prop_map(Value::Signed).boxed(),
        Type::F32 => proptest::num::f32::ANY.prop_map(Value::F32).boxed(),
        Type::F64 => proptest::num::f64::ANY.prop_map(Value::F64).boxed(),
        Type::Char => any::<char>().prop_map(Value::Char).boxed(),
        Type::String => any::<String>().prop_map(Value::String).boxed(),
        Type::Bytes => vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        Type::List(item) => vec(value(item), 0..4).prop_map(Value::List).boxed(),
        Type::FixedList(item, length) => vec(value(item), *length).prop_map(Value::List).boxed(),
        Type::Map(key, item) => vec((value(key), value(item)), 0..4)
            .prop_map(|mut entries| {
                let mut known = Vec::new();
                entries.retain(|(key, _)| {
                    let is_new = !known.contains(key);
                    known.push(key.clone());
                    is_new
                });
                Value::Map(entries)
            })
            .boxed(),
        Type::Tuple(types) => types.iter().map(value).collect::<Vec<_>>().prop_map(Value::Record).boxed(),
        Type::Record(record) => {
            let fields = record.fields.iter().map(|field| value(&field.ty)).collect::<Vec<_>>();
            fields.prop_map(Value::Record).boxed()
        }
        Type::Variant(variant) => {
            let cases = variant.cases.iter().enumerate();
            let cases = cases.map(|(at, case)| {
                payload(case.ty.as_ref()).prop_map(move |payload| Value::Variant(at as u32, payload)).boxed()
            });
            proptest::strategy::Union::new(cases.collect::<Vec<_>>()).boxed()
        }
        Type::Enum(names) => (0..names.cases.len() as u32).prop_map(|at| Value::Variant(at, None)).boxed(),
        Type::Flags(names) => {
            let unused = 32 - names.cases.len();
            any::<u32>().prop_map(move |bits| Value::Flags(bits << unused >> unused)).boxed()
        }
        Type::Option(some) => prop_oneof![Just(Value::none()), value(some).prop_map(Value::some)].boxed(),
        Type::Result(ok, err) => prop_oneof![
            payload(ok.as_deref()).prop_map(|payload| Value::Variant(0, payload)),
            payload(err.as_deref()).prop_map(|payload| Value::Variant(1, payload)),
        ]
        .boxed(),
    }
}

/// Whether two values are the same to the bit, but for the payload of a NaN, which JSON does not carry.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::List(a), Value::List(b)) | (Value::Record(a), Value::Record(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
        }
        (Value::Variant(a, Some(one)), Value::Variant(b, Some(other))) => a == b && same(one, other),
        (a, b) => a == b,
    }
}

fn typed_value() -> impl Strategy<Value = (Type, Value)> {
    any_type().prop_flat_map(|ty| {
        let value = value(&ty);
        (Just(ty), value)
    })
}

fn text(ty: &Type, value: &Value) -> String {
    let mut out = Vec::new();
    write_value(ty, value, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_the_same((ty, value) in typed_value()) {
        let text = text(&ty, &value);
        let back = read_value(&ty, text.as_bytes()).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert!(same(&back, &value), "{text} is read as {back:?}");
    }

    #[test]
    fn what_is_written_is_json_without_keys_twice((ty, value) in typed_value()) {
        let text = text(&ty, &value);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }

    #[test]
    fn no_text_makes_the_reader_panic(ty in any_type(), text in "[ -~]{0,40}") {
        // Whatever it says, it says it as a result.
        drop(read_value(&ty, text.as_bytes()));
    }

    #[test]
    fn json_of_another_type_never_makes_the_reader_panic((_, value) in typed_value().prop_map(|(ty, value)| (ty.clone(), text(&ty, &value))), ty in any_type()) {
        drop(read_value(&ty, value.as_bytes()));
        drop(read_fields(&record(vec![named("id", ty)]), format!("{{\"id\":{value}}}").as_bytes()));
    }
}

#[test]
fn errors_name_the_place_and_what_was_expected() {
    let place = Type::Record(Arc::new(record(vec![named("x", Type::S32), named("y", Type::S32)])));
    let message = record(vec![
        named("user-name", Type::String),
        named("places", Type::List(Arc::new(place))),
        named("ages", Type::Map(Arc::new(Type::String), Arc::new(Type::U8))),
        named("nick", Type::Option(Arc::new(Type::Option(Arc::new(Type::Char))))),
    ]);
    for (body, expected) in [
        (r#"{"user_name": 1}"#, "field user_name: expected string, got number (line 1, column 15)"),
        (
            r#"{"userName": "x", "places": [{"x": 1, "y": "2"}]}"#,
            "field places[0].y: expected integer (s32), got string",
        ),
        (r#"{"user_name": "x", "places": [{"x": 1}]}"#, "field places[0]: missing field y: expected integer (s32)"),
        (r#"{"ages": {"a": 300}}"#, "field ages[\"a\"]: 300 is out of range for u8"),
        (r#"{"ages": {"a": 1, "a": 2}}"#, "field ages[\"a\"]: the key is there twice"),
        (r#"{"nick": "x"}"#, "field nick: "),
        (r#"{"nick": {"som": "x"}}"#, "expected null or {\"some\": …}"),
        (r#"{"nick": {"some": "xy"}}"#, "field nick.some: expected string of one character, got 2 characters"),
        (r#"{"nick": {"some": "x", "more": 1}}"#, "expected null or {\"some\": …}"),
        (r#"{"plces": []}"#, "unknown field \"plces\": did you mean places?"),
        (r#"{"qqqq": []}"#, "unknown field \"qqqq\": expected user_name, places, ages, nick"),
        (r#"{"user-name": "x", "userName": "y"}"#, "field user_name: the field is there twice"),
        (r#"{"user_name": "x"}"#, "missing field places: expected array"),
        ("{", "not valid JSON: "),
        ("{} {}", "not valid JSON: "),
    ] {
        let error = read_fields(&message, body.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{body}: {error:?} should hold {expected:?}");
    }
}

#[test]
fn an_empty_body_is_an_empty_message() {
    let message = record(vec![named("nick", Type::Option(Arc::new(Type::String)))]);
    for body in ["", "  \n", "{}", r#"{"nick": null}"#] {
        assert_eq!(read_fields(&message, body.as_bytes()), Ok(vec![Value::none()]), "{body:?}");
    }
    let needs = record(vec![named("id", Type::U8)]);
    assert!(read_fields(&needs, b"").unwrap_err().contains("missing field id"));
}

#[test]
fn numbers_are_taken_in_every_honest_form() {
    for (ty, text, value) in [
        (Type::U8, "5.0", Value::Unsigned(5)),
        (Type::S8, "-5.0", Value::Signed(-5)),
        (Type::U64, "\"18446744073709551615\"", Value::Unsigned(u64::MAX)),
        (Type::S64, "\"-9223372036854775808\"", Value::Signed(i64::MIN)),
        (Type::U64, "18446744073709551615", Value::Unsigned(u64::MAX)),
        (Type::U32, "1e3", Value::Unsigned(1000)),
        (Type::F64, "7", Value::F64(7.0)),
        (Type::F64, "-7", Value::F64(-7.0)),
        (Type::F32, "\"-Infinity\"", Value::F32(f32::NEG_INFINITY)),
        (Type::F64, "8.41e21", Value::F64(8.41e21)),
        (Type::F64, "5e-324", Value::F64(5e-324)),
        (Type::F64, "-0.0", Value::F64(-0.0)),
    ] {
        assert_eq!(read_value(&ty, text.as_bytes()), Ok(value), "{text}");
    }
    for (ty, text) in [
        (Type::U8, "256"),
        (Type::U8, "-1"),
        (Type::U8, "\"5\""),
        (Type::S8, "128"),
        (Type::U8, "5.5"),
        (Type::U64, "1e300"),
        (Type::U64, "18446744073709551616"),
        (Type::U64, "\"18446744073709551616\""),
        (Type::U64, "\"\""),
        (Type::S64, "9223372036854775808"),
        (Type::F32, "1e39"),
        (Type::F64, "\"nan\""),
        (Type::F64, "true"),
    ] {
        assert!(read_value(&ty, text.as_bytes()).is_err(), "{text} as {}", ty.label());
    }
}

#[test]
fn a_map_of_many_keys_takes_no_longer_per_key() {
    const KEYS: usize = 100_000;
    let entries: Vec<String> = (0..KEYS).map(|n| format!("\"{n}\":{n}")).collect();
    let body = format!("{{{}}}", entries.join(","));
    let began = Instant::now();
    for key in [Type::String, Type::U32] {
        let map = read_value(&Type::Map(Arc::new(key), Arc::new(Type::U32)), body.as_bytes()).unwrap();
        assert!(matches!(map, Value::Map(entries) if entries.len() == KEYS));
    }
    // Comparing each key with each other takes minutes.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn keys_that_mean_the_same_are_the_same_key() {
    let map = Type::Map(Arc::new(Type::S8), Arc::new(Type::Bool));
    assert!(read_value(&map, br#"{"1": true, "-1": false}"#).is_ok());
    for twice in [r#"{"1": true, "1": true}"#, r#"{"1": true, "01": true}"#, r#"{"1": true, "+1": true}"#] {
        assert!(read_value(&map, twice.as_bytes()).unwrap_err().contains("twice"), "{twice}");
    }
}

#[test]
fn deep_json_is_an_error_and_no_overflow() {
    // As deep as a type gets that a person writes, and deeper.
    let ty = (0..500).fold(Type::U8, |inner, _| Type::List(Arc::new(inner)));
    for depth in [300, 100_000] {
        assert!(read_value(&ty, "[".repeat(depth).as_bytes()).is_err());
    }
}

#[test]
fn replies_are_objects() {
    let reply = |ok: Option<Type>, value: Option<Value>| {
        let mut out = Vec::new();
        write_reply(&Reply { ok, err: None }, value.as_ref(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(reply(None, None), "{}");
    assert_eq!(reply(Some(Type::U8), Some(Value::Unsigned(7))), r#"{"result":7}"#);
    assert_eq!(reply(Some(Type::Option(Arc::new(Type::U8))), Some(Value::none())), r#"{"result":null}"#);
    let point = Type::Record(Arc::new(record(vec![named("user-name", Type::U8)])));
    assert_eq!(reply(Some(point), Some(Value::Record(vec![Value::Unsigned(1)]))), r#"{"user_name":1}"#);
}

#[test]
fn a_value_of_another_type_is_an_error_and_no_panic() {
    for (ty, value) in [
        (Type::U8, Value::String("x".into())),
        (Type::Enum(Arc::new(names(2))), Value::Variant(7, None)),
        (Type::Record(Arc::new(record(vec![]))), Value::List(vec![])),
        (Type::List(Arc::new(Type::U8)), Value::Unsigned(1)),
    ] {
        let outcome = write_value(&ty, &value, &mut Vec::new());
        assert!(
            outcome.is_err() || matches!(value, Value::String(_) | Value::Unsigned(_)),
            "{value:?} as {}",
            ty.label()
        );
    }
}
