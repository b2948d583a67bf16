use super::*;
use crate::testing::{mock_bytes, mock_call, mock_stream};
use serde_json::json;

#[test]
fn a_reply_is_read_whether_or_not_it_is_a_record() {
    let _calls = mock_call(|_, endpoint, _| match endpoint {
        "A.Record" => Ok(json!({ "x": 1 })),
        "A.Number" => Ok(json!({ "result": 7 })),
        "A.Nothing" => Ok(json!({})),
        other => Err(Error::not_found(format!("no {other}"))),
    });
    let request = json!({});
    let record: std::collections::BTreeMap<String, u8> = call("a", "A.Record", &request).unwrap();
    assert_eq!(record["x"], 1);
    assert_eq!(call("a", "A.Number", &request), Ok(7));
    assert_eq!(call("a", "A.Nothing", &request), Ok(()));
    assert_eq!(call::<u8>("a", "A.Other", &request).unwrap_err().code, 404);
    let error = call::<String>("a", "A.Record", &request).unwrap_err();
    assert!(error.code == 500 && error.detail.contains("A.Record of a"), "{error}");
}

#[test]
fn a_result_is_unwrapped_for_types_that_take_any_object() {
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Settings {
        depth: u8,
    }
    let _calls = mock_call(|_, endpoint, _| match endpoint {
        "A.Number" => Ok(json!({ "result": 7 })),
        "A.Settings" => Ok(json!({ "result": { "depth": 3 } })),
        "A.Record" => Ok(json!({ "result": 7, "depth": 3 })),
        other => Err(Error::not_found(format!("no {other}"))),
    });
    let request = json!({});
    assert_eq!(call("a", "A.Number", &request), Ok(json!(7)));
    assert_eq!(call("a", "A.Settings", &request), Ok(Settings { depth: 3 }));
    let map: std::collections::HashMap<String, serde_json::Value> = call("a", "A.Settings", &request).unwrap();
    assert_eq!(map["depth"], json!(3));
    // More than a result is a record.
    assert_eq!(call("a", "A.Record", &request), Ok(json!({ "result": 7, "depth": 3 })));
    assert_eq!(call("a", "A.Record", &request), Ok(Settings { depth: 3 }));
}

#[test]
fn options_go_with_the_call() {
    let _calls = mock_bytes(|service, _, body, options| {
        assert_eq!((service, body), ("users", &b"\x01"[..]));
        assert_eq!((options.timeout, options.version.as_deref()), (Some(1500), Some("2")));
        assert_eq!(options.header, [("a".to_owned(), "b".to_owned())]);
        Ok(Reply { content_type: options.content_type.clone(), header: Vec::new(), body: vec![2] })
    });
    let call = Call::new("users", "A.B").timeout(Duration::from_millis(1500)).version("2").header("a", "b");
    let reply = call.bytes("application/protobuf", &[1]).unwrap();
    assert_eq!((reply.content_type.as_str(), reply.body), ("application/protobuf", vec![2]));
}

#[test]
fn a_streaming_call_sends_and_receives() {
    let _streams = mock_stream(|_, _, request, sent| Ok(vec![request, json!(sent.len())]));
    let mut conversation = Call::new("a", "A.Sum").open(&json!(5)).unwrap();
    conversation.send(&1).unwrap();
    conversation.send(&2).unwrap();
    conversation.finish().unwrap();
    assert_eq!(conversation.send(&3).unwrap_err().code, 409);
    let items: Result<Vec<u64>, Error> = conversation.items().collect();
    assert_eq!(items, Ok(vec![5, 2]));
}

#[test]
fn without_a_mock_a_call_says_how_to_make_one() {
    let error = call::<()>("greeter", "Say.Hello", &json!({})).unwrap_err();
    assert!(error.code == 503 && error.detail.contains("micro::testing::mock_call"), "{error}");
    let error = Call::new("a", "A.B").open(&json!({})).unwrap_err();
    assert!(error.detail.contains("micro::testing::mock_stream"), "{error}");
    drop(mock_call(|_, _, _| Ok(json!({}))));
    assert!(call::<()>("a", "A.B", &json!({})).is_err(), "the mock ends with its guard");
}
