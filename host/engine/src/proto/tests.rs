use super::*;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type as Proto};
use prost_reflect::prost_types::source_code_info::Location;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto, SourceCodeInfo,
};

fn field(name: &str, number: i32, ty: Proto) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(ty.into()),
        json_name: None,
        ..Default::default()
    }
}

/// `service Say { rpc Hello(Request) returns (Reply); rpc Many(Request) returns (stream Reply); }`
fn protos() -> Protos {
    let message = |name: &str, fields| DescriptorProto { name: Some(name.into()), field: fields, ..Default::default() };
    let method = |name: &str, streams| MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(".demo.Request".into()),
        output_type: Some(".demo.Reply".into()),
        server_streaming: Some(streams),
        ..Default::default()
    };
    let mut inner = field("inner", 3, Proto::Message);
    inner.type_name = Some(".demo.Request".into());
    let mut mood = field("userMood", 4, Proto::Enum);
    mood.type_name = Some(".demo.Mood".into());
    let mut part = field("part", 5, Proto::Message);
    part.type_name = Some(".demo.Part".into());
    let moods = ["GLAD", "QUITE_SAD"].into_iter().zip(0..).map(|(name, number)| EnumValueDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        ..Default::default()
    });
    let file = FileDescriptorProto {
        enum_type: vec![EnumDescriptorProto {
            name: Some("Mood".into()),
            value: moods.collect(),
            ..Default::default()
        }],
        name: Some("demo.proto".into()),
        package: Some("demo".into()),
        syntax: Some("proto3".into()),
        message_type: vec![
            message(
                "Request",
                vec![field("first_name", 1, Proto::String), field("count", 2, Proto::Int64), inner, mood, part],
            ),
            message("Part", vec![field("howMany", 1, Proto::Int32)]),
            message("Reply", vec![field("msg", 1, Proto::String)]),
        ],
        service: vec![ServiceDescriptorProto {
            name: Some("Say".into()),
            method: vec![method("Hello", false), method("Many", true)],
            ..Default::default()
        }],
        ..Default::default()
    };
    Protos::read(&FileDescriptorSet { file: vec![file] }.encode_to_vec()).unwrap()
}

#[test]
fn methods_are_endpoints_and_a_message_that_holds_itself_has_an_end() {
    let endpoints = protos().endpoints();
    let names: Vec<&str> = endpoints.iter().map(|endpoint| &*endpoint.name).collect();
    assert_eq!(names, ["Say.Hello", "Say.Many"]);
    assert!(endpoints[0].stream.is_none() && endpoints[1].stream.as_ref().is_some_and(|it| it.sends.is_none()));
    let fields = &endpoints[0].request.message.fields;
    assert_eq!(&*fields[0].name.json, "first_name");
    assert_eq!(fields[1].ty, Type::Option(Arc::new(Type::S64)));
}

#[test]
fn fields_and_enum_values_are_listed_as_the_file_spells_them() {
    let endpoints = protos().endpoints();
    let kept = serde_json::to_string(&endpoints[0].request.message).unwrap();
    for message in [endpoints[0].request.message.clone(), Arc::new(serde_json::from_str(&kept).unwrap())] {
        let mood = &message.fields[3];
        assert_eq!(&*mood.name.json, "userMood");
        let Type::Option(ty) = &mood.ty else { panic!("{mood:?}") };
        let Type::Enum(moods) = &**ty else { panic!("{ty:?}") };
        assert_eq!(moods.cases.iter().map(|case| &*case.json).collect::<Vec<_>>(), ["GLAD", "QUITE_SAD"]);
    }
}

#[test]
fn comments_of_the_file_are_documentation() {
    let location = Location {
        path: vec![6, 0, 2, 0],
        leading_comments: Some(" Says hello,\n  and more.\n".into()),
        ..Default::default()
    };
    let mut set = FileDescriptorSet::decode(protos().0.encode_to_vec().as_slice()).unwrap();
    set.file[0].source_code_info = Some(SourceCodeInfo { location: vec![location] });
    let endpoints = Protos::read(&set.encode_to_vec()).unwrap().endpoints();
    assert_eq!(endpoints[0].docs.as_deref(), Some("Says hello,\n and more."));
    assert_eq!(endpoints[1].docs, None);
}

#[test]
fn a_query_becomes_protobuf_whatever_the_case_of_its_names() {
    let protos = protos();
    let record = &protos.endpoints()[0].request.message;
    for query in ["first_name=a&userMood=QUITE_SAD&part.howMany=7", "firstName=a&usermood=quite_sad&part.howmany=7"] {
        let none_given = record.fields.iter().map(|_| None).collect();
        let fields = crate::query::read_query(record, query, none_given).unwrap();
        let bytes = protos.from_fields("demo.Request", record, fields).unwrap();
        assert_eq!(&bytes[..], b"\x0a\x01a\x20\x01\x2a\x02\x08\x07", "{query}");
    }
}

#[test]
fn json_becomes_protobuf_and_back() {
    let protos = protos();
    for json in [r#"{"first_name":"ß","count":"7"}"#, r#"{"firstName":"ß","count":7}"#] {
        let bytes = protos.from_json("demo.Request", json.as_bytes()).unwrap();
        assert_eq!(&bytes[..], b"\x0a\x02\xc3\x9f\x10\x07");
    }
    let json = protos.to_json("demo.Reply", b"\x0a\x02hi").unwrap();
    assert_eq!(json, br#"{"msg":"hi"}"#);
    assert_eq!(protos.from_json("demo.Request", b"").unwrap().len(), 0);
    for wrong in [&br#"{"name":1}"#[..], br#"{"first_name":1}"#, b"{", b"[]", b"{} x"] {
        assert!(protos.from_json("demo.Request", wrong).is_err());
    }
    assert!(protos.to_json("demo.Reply", b"\xff\xff").is_err());
    assert!(Protos::read(b"rubbish").is_err());
}
