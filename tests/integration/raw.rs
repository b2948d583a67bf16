//! Endpoints that a descriptor set tells: callers speak JSON or protobuf, and the guest gets bytes.

use bytes::Bytes;
use micro_tests::{Host, guest, json};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use reqwest::Method;

/// `message Text { repeated string words = 1; }` and a service with a method of each kind.
fn descriptors() -> Vec<u8> {
    let words = FieldDescriptorProto {
        name: Some("words".into()),
        number: Some(1),
        label: Some(Label::Repeated.into()),
        r#type: Some(Type::String.into()),
        ..Default::default()
    };
    let method = |name: &str, client: bool, server: bool| MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(".demo.Text".into()),
        output_type: Some(".demo.Text".into()),
        client_streaming: Some(client),
        server_streaming: Some(server),
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("talk.proto".into()),
        package: Some("demo".into()),
        syntax: Some("proto3".into()),
        message_type: vec![DescriptorProto { name: Some("Text".into()), field: vec![words], ..Default::default() }],
        service: vec![ServiceDescriptorProto {
            name: Some("Talk".into()),
            method: vec![
                method("Echo", false, false),
                method("Repeat", false, true),
                method("Chat", true, true),
                method("Join", true, false),
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

async fn host() -> Host {
    let host = Host::start().await;
    let refused = host.deploy_as("talk", guest("raw")).await.refused(422);
    assert!(refused.contains("no custom section micro.descriptors that tells its endpoints"), "{refused}");
    let component = micro_engine::section::put(&guest("raw"), "micro.descriptors", &descriptors()).unwrap();
    let deployed = host.deploy_as("talk", component).await.ok();
    assert_eq!(deployed["endpoints"], json!(["Talk.Echo", "Talk.Repeat", "Talk.Chat", "Talk.Join"]));
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_protobuf_reach_the_same_endpoint() {
    let host = host().await;
    let reply = host.call("talk", "Talk.Echo", json!({"words": ["a", "ß"]})).await;
    assert_eq!(reply.ok(), json!({"words": ["a", "ß"]}));
    let protobuf = Bytes::from_static(b"\x0a\x01a");
    let reply = host.post("/talk/talk/echo", "application/protobuf", protobuf.clone()).await;
    assert_eq!((reply.status, reply.header("content-type"), &reply.body), (200, "application/protobuf", &protobuf));
    assert_eq!(host.get("/talk/talk/echo?words=x&words=y").await.ok(), json!({"words": ["x", "y"]}));
    assert_eq!(host.call("talk", "Talk.Echo", json!({})).await.refused(418), "Talk.Echo got nothing");
    let wrong = host.call("talk", "Talk.Echo", json!({"word": "a"})).await;
    assert!(wrong.refused(400).contains("unrecognized field name"), "{}", wrong.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_stream_as_their_descriptors_say() {
    let host = host().await;
    let reply = host.post("/talk/talk/repeat", "application/json", r#"{"words": ["a"]}"#).await;
    assert_eq!(reply.text(), "{\"words\":[\"a\"]}\n".repeat(3));
    let lines = "{\"words\":[\"a\"]}\n{\"words\":[\"b\"]}\n";
    assert_eq!(host.post("/talk/talk/chat", "application/x-ndjson", lines).await.text(), lines);
    let joined = host.post("/talk/talk/join", "application/x-ndjson", lines).await;
    assert_eq!(joined.text(), "{\"words\":[\"a\",\"b\"]}\n");
    let wrong = host.send(Method::POST, "/talk/talk/chat", &[("content-type", "application/x-ndjson")], "7\n".into());
    assert!(wrong.await.text().contains("\"code\":400"));
}
