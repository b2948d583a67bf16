//! Messages that hold one of everything, made up at random.

use micro_tests::{Host, Value, json};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Each case is a call over HTTP.
const CASES: u32 = 64;

/// A message of `Echo.Everything` as the host writes it.
pub fn sample() -> Value {
    json!({
        "bool": true, "s8": -8, "s16": -16, "s32": -32, "s64": "-9223372036854775808",
        "u8": 8, "u16": 16, "u32": 32, "u64": "18446744073709551615", "f32": 0.5, "f64": -0.25,
        "char": "ß", "string": "John", "bytes": "AAEC", "strings": ["a", ""],
        "points": [{"x": 1, "y": 2}], "nested": [[1], []], "option": "some", "nested_option": {"some": null},
        "outcomes": {
            "both": {"err": "no"}, "only_ok": {"ok": 1}, "only_error": {"ok": null}, "neither": {"err": null},
        },
        "shape": {"tagged": ["x"]}, "color": "blue_green", "permissions": ["read", "execute_all"],
        "many_flags": ["f0", "f19"], "tuple": [1, "one", {"x": 0, "y": 0}],
        "kebab": {"first_name": "Jo", "http_status": 200}, "map": {"a": 1, "b": 2},
    })
}

#[expect(clippy::disallowed_methods, reason = "proptest calls its check from outside of async code")]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_message_holds_comes_back_as_it_went_in() {
    let host = Host::start().await;
    host.deploy("echo").await;
    let here = tokio::runtime::Handle::current();
    let host = &host;
    tokio::task::block_in_place(|| {
        let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&message(), |message| {
            let reply = here.block_on(host.call("echo", "Echo.Everything", message.clone()));
            if reply.status != 200 {
                return Err(TestCaseError::fail(format!("{}: {}", reply.status, reply.text())));
            }
            prop_assert_eq!(reply.json(), message);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    });
}

/// Any message, in the host's own spelling.
fn message() -> impl Strategy<Value = Value> {
    let fields: Vec<(&'static str, BoxedStrategy<Option<Value>>)> = vec![
        ("bool", always(any::<bool>().prop_map(Value::from))),
        ("s8", always(any::<i8>().prop_map(Value::from))),
        ("s16", always(any::<i16>().prop_map(Value::from))),
        ("s32", always(any::<i32>().prop_map(Value::from))),
        ("s64", always(any::<i64>().prop_map(|n| exact(n.unsigned_abs(), n.into(), n.to_string())))),
        ("u8", always(any::<u8>().prop_map(Value::from))),
        ("u16", always(any::<u16>().prop_map(Value::from))),
        ("u32", always(any::<u32>().prop_map(Value::from))),
        ("u64", always(any::<u64>().prop_map(|n| exact(n, n.into(), n.to_string())))),
        // Halves are the same number in both widths and in decimal digits.
        ("f32", always(any::<i16>().prop_map(|n| json!(f64::from(n) / 2.0)))),
        ("f64", always(proptest::num::f64::NORMAL.prop_map(Value::from))),
        ("char", always(any::<char>().prop_map(|char| json!(char.to_string())))),
        ("string", always(any::<String>().prop_map(Value::from))),
        ("bytes", always(vec(0_u8..=255, 0..20).prop_map(|bytes| json!(base64(&bytes))))),
        ("strings", always(vec(any::<String>(), 0..4).prop_map(Value::from))),
        ("points", always(vec(place(), 0..4).prop_map(Value::from))),
        ("nested", always(vec(vec(any::<u32>(), 0..4), 0..4).prop_map(|lists| json!(lists)))),
        ("option", proptest::option::of(any::<String>().prop_map(Value::from)).boxed()),
        ("nested_option", nested_option().boxed()),
        ("outcomes", always(outcomes())),
        ("shape", always(shape())),
        ("color", always(prop_oneof![Just(json!("red")), Just(json!("green")), Just(json!("blue_green"))])),
        ("permissions", always(flags(["read", "write", "execute_all"].map(String::from).into()))),
        ("many_flags", always(flags((0..20).map(|n| format!("f{n}")).collect()))),
        ("tuple", always((any::<u32>(), any::<String>(), place()).prop_map(|(a, b, c)| json!([a, b, c])))),
        (
            "kebab",
            always((any::<String>(), any::<u16>()).prop_map(|(a, b)| json!({"first_name": a, "http_status": b}))),
        ),
        ("map", always(btree_map(any::<String>(), any::<u32>(), 0..4).prop_map(|map| json!(map)))),
    ];
    let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    values.prop_map(move |values| {
        let present = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_string(), value?)));
        Value::Object(present.collect())
    })
}

/// A field that is never left out.
fn always(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    value.prop_map(Some).boxed()
}

/// A 64-bit integer as a number up to 2^53, and else as its text.
fn exact(magnitude: u64, number: Value, text: String) -> Value {
    if magnitude <= 1 << 53 { number } else { text.into() }
}

fn place() -> impl Strategy<Value = Value> {
    any::<(i32, i32)>().prop_map(|(x, y)| json!({"x": x, "y": y}))
}

fn nested_option() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![Just(None), Just(Some(json!({"some": null}))), any::<u32>().prop_map(|n| Some(json!({"some": n})))]
}

fn outcomes() -> impl Strategy<Value = Value> {
    let both = prop_oneof![
        any::<u32>().prop_map(|n| json!({ "ok": n })),
        any::<String>().prop_map(|text| json!({ "err": text })),
    ];
    let only_ok = prop_oneof![any::<u32>().prop_map(|n| json!({ "ok": n })), Just(json!({"err": null}))];
    let only_error = prop_oneof![Just(json!({"ok": null})), any::<String>().prop_map(|text| json!({ "err": text }))];
    let neither = prop_oneof![Just(json!({"ok": null})), Just(json!({"err": null}))];
    (both, only_ok, only_error, neither)
        .prop_map(|(a, b, c, d)| json!({"both": a, "only_ok": b, "only_error": c, "neither": d}))
}

fn shape() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("empty")),
        proptest::num::f64::NORMAL.prop_map(|n| json!({ "circle": n })),
        place().prop_map(|place| json!({ "at": place })),
        any::<String>().prop_map(|name| json!({ "named_shape": name })),
        vec(any::<String>(), 0..3).prop_map(|tags| json!({ "tagged": tags })),
        proptest::option::of(any::<u32>()).prop_map(|n| json!({ "maybe": n })),
    ]
}

/// Some of the names, in their order.
fn flags(names: Vec<String>) -> impl Strategy<Value = Value> {
    vec(any::<bool>(), names.len()).prop_map(move |set| {
        let set = names.iter().zip(set).filter(|(_, is_set)| *is_set);
        set.map(|(name, _)| Value::from(name.as_str())).collect()
    })
}

/// Written out here, so that the host is not checked against its own library.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let is_padding = digit > three.len();
            text.push(if is_padding { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]) });
        }
    }
    text
}
