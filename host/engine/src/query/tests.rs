use super::*;
use crate::name::Name;
use crate::schema::{Case, Enum, Variant};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn message(fields: Vec<(&str, Type)>) -> Record {
    let fields = fields.into_iter().map(|(name, ty)| Field { name: Name::new(name), docs: None, ty });
    Record { name: "message".into(), docs: None, fields: fields.collect() }
}

fn list(item: Type) -> Type {
    Type::List(Arc::new(item))
}

fn option(some: Type) -> Type {
    Type::Option(Arc::new(some))
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

/// Reads one field called `v`.
fn one(ty: Type, query: &str) -> Result<Value, String> {
    let message = message(vec![("v", ty)]);
    read_query(&message, query, vec![None]).map(|mut values| values.remove(0))
}

#[test]
fn values_are_read_by_their_type() {
    let colors = Type::Enum(Arc::new(Enum {
        name: "color".into(),
        docs: None,
        cases: vec![Name::new("red"), Name::new("blue-green")],
    }));
    for (ty, query, value) in [
        (Type::String, "v=a+b%20c%26", text("a b c&")),
        (Type::String, "v=1&v=2", text("2")),
        (Type::String, "v=", text("")),
        (Type::Bool, "v", Value::Bool(true)),
        (Type::Bool, "v=false", Value::Bool(false)),
        (Type::U8, "v=255", Value::Unsigned(255)),
        (Type::S64, "v=-9223372036854775808", Value::Signed(i64::MIN)),
        (Type::F64, "v=-Infinity", Value::F64(f64::NEG_INFINITY)),
        (Type::Char, "v=%C3%9F", Value::Char('ß')),
        (Type::Bytes, "v=AAE%3D", Value::Bytes(vec![0, 1].into())),
        (colors, "v=blue-green", Value::Variant(1, None)),
        (list(Type::U8), "v=1&v=2", Value::List(vec![Value::Unsigned(1), Value::Unsigned(2)])),
        (list(Type::U8), "v[]=1&v[]=2", Value::List(vec![Value::Unsigned(1), Value::Unsigned(2)])),
        (list(Type::U8), "v=%5B1,2%5D", Value::List(vec![Value::Unsigned(1), Value::Unsigned(2)])),
        (list(Type::U8), "v[1]=2&v[0]=1", Value::List(vec![Value::Unsigned(1), Value::Unsigned(2)])),
        (option(Type::U8), "", Value::none()),
        (option(Type::U8), "v=", Value::none()),
        (option(Type::U8), "v=1", Value::some(Value::Unsigned(1))),
        (option(Type::String), "v=", Value::some(text(""))),
    ] {
        assert_eq!(one(ty, query), Ok(value), "{query}");
    }
}

#[test]
fn nested_names_have_dots_or_brackets() {
    let place = Type::Record(Arc::new(message(vec![("x", Type::S32), ("user-name", option(Type::String))])));
    let value = Value::Record(vec![Value::Signed(1), Value::some(text("Jo"))]);
    for query in [
        "v.x=1&v.user_name=Jo",
        "v[x]=1&v[userName]=Jo",
        "v.x=1&v.user-name=Jo",
        "v=%7B%22x%22:1,%22user_name%22:%22Jo%22%7D",
    ] {
        assert_eq!(one(place.clone(), query), Ok(value.clone()), "{query}");
    }
    let map = Type::Map(Arc::new(Type::U8), Arc::new(Type::String));
    assert_eq!(one(map, "v.1=a"), Ok(Value::Map(vec![(Value::Unsigned(1), text("a"))])));
    let cases = vec![
        Case { name: Name::new("none"), docs: None, ty: None },
        Case { name: Name::new("at"), docs: None, ty: Some(place) },
    ];
    let variant = Type::Variant(Arc::new(Variant { name: "where".into(), docs: None, cases }));
    assert_eq!(one(variant.clone(), "v=none"), Ok(Value::Variant(0, None)));
    let at = Value::Record(vec![Value::Signed(2), Value::none()]);
    assert_eq!(one(variant, "v.at.x=2"), Ok(Value::Variant(1, Some(Box::new(at)))));
}

#[test]
fn keys_that_mean_the_same_are_the_same_key() {
    let map = Type::Map(Arc::new(Type::U8), Arc::new(Type::String));
    assert_eq!(one(map, "v.1=a&v.1e0=b"), Err("query parameter v.1e0: the key is there twice".into()));
}

#[test]
fn a_result_is_given_by_its_case() {
    let result = Type::Result(Some(Arc::new(Type::String)), Some(Arc::new(option(Type::U8))));
    assert_eq!(one(result.clone(), "v.ok=John"), Ok(Value::Variant(0, Some(Box::new(text("John"))))));
    let err = Value::some(Value::Unsigned(7));
    assert_eq!(one(result.clone(), "v[err]=7"), Ok(Value::Variant(1, Some(Box::new(err)))));
    assert!(one(result, "v.okay=John").unwrap_err().starts_with("query parameter v.okay: expected "));
    assert_eq!(one(Type::Result(None, None), "v.ok="), Ok(Value::Variant(0, None)));
}

#[test]
fn what_does_not_fit_is_named() {
    for (ty, query, expected) in [
        (Type::U8, "", "missing query parameter v: expected integer (u8)"),
        (Type::U8, "v=256", "query parameter v: expected integer (u8), got \"256\""),
        (Type::U8, "v=%5B1%5D", "query parameter v: expected integer (u8)"),
        (Type::U8, "v.a=1", "query parameter v: expected integer (u8)"),
        (Type::Bool, "v=perhaps", "query parameter v: expected boolean, got \"perhaps\""),
        (Type::Tuple(vec![Type::U8, Type::U8].into()), "v=1", "query parameter v: expected 2 values, got 1"),
        (Type::FixedList(Arc::new(Type::U8), 2), "v=1&v=2&v=3", "query parameter v: expected 2 values, got 3"),
        (list(Type::U8), "v.a=1", "query parameter v.a: expected a number for the place in a list"),
        (list(Type::U8), "v=%5B1,\"x\"%5D", "query parameter v: "),
        (Type::U8, "v=1&w=2", "unknown query parameter \"w\""),
        (Type::U8, "v=1&=2", "query parameter"),
    ] {
        let outcome = one(ty, query);
        let error = outcome.as_ref().err().cloned().unwrap_or_default();
        assert!(error.contains(expected) || query.ends_with("&=2"), "{query}: {outcome:?} should hold {expected:?}");
    }
    let deep = format!("{}=1", ["a"; 40].join("."));
    assert!(one(Type::U8, &deep).unwrap_err().contains("nested deeper than 32 names"));
}

#[test]
fn what_the_body_gave_stands() {
    let message = message(vec![("a", Type::U8), ("b", option(Type::U8))]);
    let given = vec![Some(Value::Unsigned(1)), None];
    let values = read_query(&message, "a=9&b=2", given);
    assert_eq!(values, Ok(vec![Value::Unsigned(1), Value::some(Value::Unsigned(2))]));
}

#[test]
fn a_form_of_many_names_takes_no_longer_per_name() {
    let names: Vec<String> = (0..100_000).map(|n| format!("v.{n}={n}")).collect();
    let began = Instant::now();
    let map = one(Type::Map(Arc::new(Type::U32), Arc::new(Type::U32)), &names.join("&")).unwrap();
    assert!(matches!(map, Value::Map(entries) if entries.len() == names.len()));
    assert!(one(Type::U8, &names.join("&").replace("v.", "w")).is_err());
    // Comparing each name with each other takes minutes.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_through(given in any::<String>()) {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("v", &given).finish();
        prop_assert_eq!(one(Type::String, &query), Ok(text(&given)));
    }

    #[test]
    fn no_query_makes_the_reader_panic(query in "[v\\[\\].=&0-9{}\"a-c%]{0,60}") {
        let place = Type::Record(Arc::new(message(vec![("a", list(option(Type::U8))), ("b", option(Type::F32))])));
        for ty in [place.clone(), list(place.clone()), Type::Map(Arc::new(Type::S8), Arc::new(place)), Type::Char] {
            drop(one(ty, &query));
        }
    }
}
