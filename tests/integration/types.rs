//! Every WIT type, from JSON to a guest and back.

use micro_tests::{Host, Value, json};

/// Calls an endpoint of the guest `echo` that gives back its one parameter.
async fn echo(host: &Host, endpoint: &str, value: &Value) -> Value {
    host.call("echo", endpoint, json!({ "value": value })).await.result()
}

async fn echo_host() -> Host {
    let host = Host::start().await;
    host.deploy("echo").await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_come_back_as_they_went_in() {
    let host = echo_host().await;
    for (endpoint, values) in [
        ("Echo.Bool", json!([true, false])),
        ("Echo.S8", json!([-128, 0, 127])),
        ("Echo.S16", json!([-32768, 32767])),
        ("Echo.S32", json!([i32::MIN, i32::MAX])),
        ("Echo.U8", json!([0, 255])),
        ("Echo.U16", json!([0, 65535])),
        ("Echo.U32", json!([0, u32::MAX])),
        ("Echo.S64", json!([0, -1, 9_007_199_254_740_992_i64, -9_007_199_254_740_992_i64])),
        ("Echo.U64", json!([0, 1, 9_007_199_254_740_992_u64])),
        ("Echo.F32", json!([0.0, -1.5, 0.1, 3.4028235e38, 1e-45])),
        ("Echo.F64", json!([0.0, -1.5, 0.1, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e23])),
        ("Echo.F32", json!(["NaN", "Infinity", "-Infinity"])),
        ("Echo.F64", json!(["NaN", "Infinity", "-Infinity"])),
    ] {
        for value in values.as_array().unwrap() {
            let back = echo(&host, endpoint, value).await;
            match endpoint {
                // The same number of the type, though not the same digits.
                "Echo.F32" if value.is_number() => {
                    assert_eq!(back.as_f64().map(|n| n as f32), value.as_f64().map(|n| n as f32), "{endpoint} {value}");
                }
                _ if value.is_f64() => assert_eq!(back.as_f64(), value.as_f64(), "{endpoint} {value}"),
                _ => assert_eq!(back, *value, "{endpoint}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_integers_are_texts_and_both_forms_are_taken() {
    let host = echo_host().await;
    for (endpoint, number, text) in [
        ("Echo.U64", json!(u64::MAX), "18446744073709551615"),
        ("Echo.U64", json!(9_007_199_254_740_993_u64), "9007199254740993"),
        ("Echo.S64", json!(i64::MIN), "-9223372036854775808"),
        ("Echo.S64", json!(i64::MAX), "9223372036854775807"),
        ("Echo.S64", json!(-9_007_199_254_740_993_i64), "-9007199254740993"),
    ] {
        assert_eq!(echo(&host, endpoint, &number).await, json!(text), "{number}");
        assert_eq!(echo(&host, endpoint, &json!(text)).await, json!(text), "{text}");
    }
    assert_eq!(echo(&host, "Echo.U64", &json!("7")).await, json!(7), "a small one may be a text as well");
    assert_eq!(echo(&host, "Echo.U32", &json!(5.0)).await, json!(5), "5.0 is an integer");
    assert_eq!(echo(&host, "Echo.F64", &json!(5)).await.as_f64(), Some(5.0), "5 is a float");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_lists_come_back_as_they_went_in() {
    let host = echo_host().await;
    let long = "ß".repeat(100_000);
    for (endpoint, values) in [
        ("Echo.Char", json!(["a", "ß", "\u{0}", "\u{10ffff}", "\""])),
        ("Echo.String", json!(["", "John", "日本語 \u{0} \u{1f600} \"\\\n", long])),
        ("Echo.Bytes", json!(["", "AA==", "/+8=", "AAECAwQFBgcICQ=="])),
        ("Echo.Strings", json!([[], [""], ["a", "b", "日本語"]])),
        ("Echo.Points", json!([[], [{"x": 1, "y": -1}, {"x": i32::MIN, "y": i32::MAX}]])),
        ("Echo.Nested", json!([[], [[]], [[1], [], [2, 3]]])),
        ("Echo.Tuple", json!([[7, "seven", {"x": 1, "y": 2}]])),
        ("Echo.Map", json!([{}, {"a": 1}, {"": 0, "z": 2, "ß": u32::MAX}])),
    ] {
        for value in values.as_array().unwrap() {
            assert_eq!(echo(&host, endpoint, value).await, *value, "{endpoint}");
        }
    }
    assert_eq!(echo(&host, "Echo.Bytes", &json!([0, 1, 255])).await, json!("AAH/"), "numbers are bytes as well");
    assert_eq!(echo(&host, "Echo.Bytes", &json!("_-8")).await, json!("/+8="), "base64 for URLs, without padding");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_are_values_or_nothing() {
    let host = echo_host().await;
    for (endpoint, values) in
        [("Echo.Option", json!([null, "", "x"])), ("Echo.NestedOption", json!([null, {"some": null}, {"some": 5}]))]
    {
        for value in values.as_array().unwrap() {
            assert_eq!(echo(&host, endpoint, value).await, *value, "{endpoint}");
        }
        let absent = host.call("echo", endpoint, json!({})).await;
        assert_eq!(absent.result(), Value::Null, "{endpoint} left out");
    }
    let detail = host.call("echo", "Echo.NestedOption", json!({"value": 5})).await.refused(400);
    assert!(detail.contains("field value"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_enums_flags_and_results_come_back_as_they_went_in() {
    let host = echo_host().await;
    let twenty: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    for (endpoint, values) in [
        (
            "Echo.Shape",
            json!([
                "empty", {"circle": 1.5}, {"at": {"x": 1, "y": -2}}, {"named_shape": "ß"}, {"tagged": []},
                {"tagged": ["a", "b"]}, {"maybe": null}, {"maybe": 0},
            ]),
        ),
        ("Echo.Shapes", json!([[], ["empty", {"circle": -0.5}, {"tagged": ["x"]}]])),
        ("Echo.Color", json!(["red", "green", "blue_green"])),
        ("Echo.Permissions", json!([[], ["read"], ["read", "write", "execute_all"]])),
        ("Echo.ManyFlags", json!([[], ["f19"], twenty])),
    ] {
        for value in values.as_array().unwrap() {
            assert_eq!(echo(&host, endpoint, value).await, *value, "{endpoint}");
        }
    }
    for outcomes in [
        json!({"both": {"ok": 1}, "only_ok": {"ok": 2}, "only_error": {"ok": null}, "neither": {"ok": null}}),
        json!({"both": {"err": "b"}, "only_ok": {"err": null}, "only_error": {"err": "e"}, "neither": {"err": null}}),
    ] {
        assert_eq!(host.call("echo", "Echo.Outcomes", outcomes.clone()).await.ok(), outcomes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_in_each_spelling() {
    let host = echo_host().await;
    let reply = json!({"first_name": "Jo", "http_status": 200});
    for request in [
        json!({"first_name": "Jo", "http_status": 200}),
        json!({"first-name": "Jo", "http-status": 200}),
        json!({"firstName": "Jo", "httpStatus": 200}),
    ] {
        assert_eq!(host.call("echo", "Echo.Kebab", request).await.ok(), reply);
    }
    for (endpoint, given, back) in [
        ("Echo.Color", json!("blue-green"), json!("blue_green")),
        ("Echo.Color", json!("blueGreen"), json!("blue_green")),
        ("Echo.Permissions", json!(["execute-all", "read", "read"]), json!(["read", "execute_all"])),
        ("Echo.Shape", json!({"namedShape": "x"}), json!({"named_shape": "x"})),
        ("Echo.Shape", json!({"empty": null}), json!("empty")),
        ("Echo.Shape", json!("maybe"), json!({"maybe": null})),
    ] {
        assert_eq!(echo(&host, endpoint, &given).await, back, "{given}");
    }
    let short = json!({"both": {"ok": 1}, "onlyOk": "err", "only-error": "ok", "neither": "err"});
    let outcomes = host.call("echo", "Echo.Outcomes", short).await.ok();
    assert_eq!(outcomes["only_ok"], json!({"err": null}));
    assert_eq!(outcomes["neither"], json!({"err": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_the_one_record_or_the_parameters() {
    let host = echo_host().await;
    assert_eq!(host.call("echo", "Echo.Point", json!({"x": 1, "y": 2})).await.ok(), json!({"x": 1, "y": 2}));
    assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.result(), json!(3));
    assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1})).await.result(), json!(1));
    assert_eq!(host.call("echo", "Echo.Nothing", json!({})).await.ok(), json!({}));
    // More parameters than pass in registers: by way of wasmtime's own values.
    let mut request = json!({"p18": "last"});
    for n in 1..=17 {
        request[format!("p{n}")] = json!(n * 1000);
    }
    let mut expected: Vec<String> = (1..=17).map(|n| (n * 1000).to_string()).collect();
    expected.push("last".into());
    assert_eq!(host.call("echo", "Echo.Many", request).await.result(), json!(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_everything_comes_back_as_it_went_in() {
    let host = echo_host().await;
    let everything = crate::everything::sample();
    assert_eq!(host.call("echo", "Echo.Everything", everything.clone()).await.ok(), everything);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_function_keeps_its_code() {
    let host = echo_host().await;
    let refuse = |code: u16| host.call("echo", "Echo.Refuse", json!({"name": "John", "code": code}));
    assert_eq!(refuse(0).await.result(), json!("John"));
    let refused = refuse(404).await;
    assert_eq!(refused.refused(404), "John is refused");
    assert_eq!(refused.json()["status"], json!("Not Found"));
    assert_eq!(refuse(200).await.refused(500), "John is refused", "a code that is no error");
    assert_eq!(host.call("echo", "Echo.Complain", json!({"text": "no"})).await.refused(500), "no");
    assert_eq!(host.call("echo", "Echo.Complain", json!({})).await.ok(), json!({}));
    let detail = host.call("echo", "Echo.Shrug", json!({"fail": true})).await.refused(500);
    assert!(detail.contains("without a text"), "{detail}");
    assert_eq!(host.call("echo", "Echo.Shrug", json!({"fail": false})).await.result(), json!(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_a_fixed_length_have_that_length() {
    let host = Host::start().await;
    host.deploy("fixed").await;
    let four = async |value: Value| host.call("fixed", "Fixed.Four", json!({ "value": value })).await;
    assert_eq!(four(json!([1, 2, 3, u32::MAX])).await.result(), json!([1, 2, 3, u32::MAX]));
    for wrong in [json!([]), json!([1, 2, 3]), json!([1, 2, 3, 4, 5])] {
        let detail = four(wrong).await.refused(400);
        assert!(detail.contains("expected 4 items"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_the_world_itself_is_named_after_the_deployment() {
    let host = Host::start().await;
    let component = micro_tests::guest("hello-world-export");
    let deployed = host.deploy_as("demo.greeter", component).await.ok();
    assert_eq!(deployed["endpoints"], json!(["Greeter.Hello"]));
    let reply = host.call("demo.greeter", "Greeter.Hello", json!({"name": "John"})).await;
    assert_eq!(reply.result(), json!("Hello John"));
    assert_eq!(host.get("/demo.greeter/hello?name=John").await.result(), json!("Hello John"));
}

#[tokio::test(flavor = "multi_thread")]
async fn async_functions_run_on_the_concurrent_engine_and_others_on_the_lean_one() {
    let host = Host::start().await;
    assert_eq!(host.deploy("async-echo").await["engine"], json!("concurrent"));
    assert_eq!(host.deploy("echo").await["engine"], json!("lean"));
    for endpoint in ["Echo.Say", "Echo.SayNow"] {
        let reply = host.call("async-echo", endpoint, json!({"text": "ß"})).await;
        assert_eq!(reply.result(), json!("ß"), "{endpoint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_an_instance_of_its_own() {
    let host = Host::start().await;
    host.deploy("tally").await;
    for _ in 0..3 {
        assert_eq!(host.call("tally", "Tally.Next", json!({})).await.result(), json!(1));
    }
}
