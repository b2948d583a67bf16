use super::*;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type as Proto};
use prost_reflect::prost_types::source_code_info::Location;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MessageOptions, MethodDescriptorProto, ServiceDescriptorProto, SourceCodeInfo,
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

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.into()), field, ..Default::default() }
}

/// A field of type `message`.
fn inner(name: &str, number: i32, message: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(message.into()), ..field(name, number, Proto::Message) }
}

/// A file with one service, whose one method takes and gives the first of these messages.
fn protos_of(message_type: Vec<DescriptorProto>, dependencies: Vec<FileDescriptorProto>) -> Protos {
    let first = message_type[0].name.clone().unwrap();
    let method = MethodDescriptorProto {
        name: Some("Hello".into()),
        input_type: Some(format!(".demo.{first}")),
        output_type: Some(format!(".demo.{first}")),
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("demo.proto".into()),
        package: Some("demo".into()),
        syntax: Some("proto3".into()),
        dependency: dependencies.iter().filter_map(|file| file.name.clone()).collect(),
        message_type,
        service: vec![ServiceDescriptorProto { name: Some("Say".into()), method: vec![method], ..Default::default() }],
        ..Default::default()
    };
    let files = dependencies.into_iter().chain([file]).collect();
    Protos::read(&FileDescriptorSet { file: files }.encode_to_vec()).unwrap()
}

/// `message Node { map<string, Node> children = 1; }`
fn node() -> DescriptorProto {
    let mut entry = message("ChildrenEntry", vec![field("key", 1, Proto::String), inner("value", 2, ".demo.Node")]);
    entry.options = Some(MessageOptions { map_entry: Some(true), ..Default::default() });
    let mut children = inner("children", 1, ".demo.Node.ChildrenEntry");
    children.label = Some(Label::Repeated.into());
    DescriptorProto { nested_type: vec![entry], ..message("Node", vec![children]) }
}

/// Under the option that every field is.
fn under_option(ty: &Type) -> &Type {
    let Type::Option(ty) = ty else { panic!("{ty:?}") };
    ty
}

/// `service Say { rpc Hello(Request) returns (Reply); rpc Many(Request) returns (stream Reply); }`
fn protos() -> Protos {
    let method = |name: &str, streams| MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(".demo.Request".into()),
        output_type: Some(".demo.Reply".into()),
        server_streaming: Some(streams),
        ..Default::default()
    };
    let mut mood = field("userMood", 4, Proto::Enum);
    mood.type_name = Some(".demo.Mood".into());
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
                vec![
                    field("first_name", 1, Proto::String),
                    field("count", 2, Proto::Int64),
                    inner("inner", 3, ".demo.Request"),
                    mood,
                    inner("part", 5, ".demo.Part"),
                ],
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
    let endpoints = protos().endpoints().unwrap();
    let names: Vec<&str> = endpoints.iter().map(|endpoint| &*endpoint.name).collect();
    assert_eq!(names, ["Say.Hello", "Say.Many"]);
    assert!(endpoints[0].stream.is_none() && endpoints[1].stream.as_ref().is_some_and(|it| it.sends.is_none()));
    let fields = &endpoints[0].request.message.fields;
    assert_eq!(&*fields[0].name.json, "first_name");
    assert_eq!(fields[1].ty, Type::Option(Arc::new(Type::S64)));
}

#[test]
fn a_message_in_a_map_of_itself_has_an_end() {
    let endpoints = protos_of(vec![node()], Vec::new()).endpoints().unwrap();
    let children = &endpoints[0].request.message.fields[0];
    let Type::Map(key, child) = under_option(&children.ty) else { panic!("{children:?}") };
    assert_eq!(**key, Type::String);
    let Type::Record(child) = &**child else { panic!("{child:?}") };
    assert_eq!((&*child.name, child.fields.len()), ("Node", 0));
}

#[test]
fn messages_that_proto3_json_writes_in_its_own_way_are_leaves() {
    let kinds = ["Struct", "Value", "ListValue", "Any", "Int64Value", "StringValue"];
    let value = |name: &str| match name {
        // As the file of the same name has them: a value may hold a struct, which holds values.
        "Struct" => message(name, vec![inner("fields", 1, ".google.protobuf.Value")]),
        "Value" => message(name, vec![inner("struct_value", 5, ".google.protobuf.Struct")]),
        _ => message(name, vec![field("value", 1, Proto::String)]),
    };
    let known = FileDescriptorProto {
        name: Some("known.proto".into()),
        package: Some("google.protobuf".into()),
        syntax: Some("proto3".into()),
        message_type: kinds.iter().map(|name| value(name)).collect(),
        ..Default::default()
    };
    let fields =
        kinds.iter().zip(1..).map(|(name, at)| inner(&name.to_lowercase(), at, &format!(".google.protobuf.{name}")));
    let endpoints = protos_of(vec![message("Request", fields.collect())], vec![known]).endpoints().unwrap();
    let fields = endpoints[0].request.message.fields.iter().map(|field| under_option(&field.ty).label());
    let expected = ["map<string, string>", "string", "list<string>", "map<string, string>", "s64", "string"];
    assert_eq!(fields.collect::<Vec<_>>(), expected);
}

#[test]
fn messages_that_would_be_billions_as_a_tree_are_described_less_deep() {
    let messages = (0..16).map(|level| {
        let next = format!(".demo.M{}", level + 1);
        let fields = (1..=8).map(|at| match level {
            15 => field(&format!("f{at}"), at, Proto::String),
            _ => inner(&format!("f{at}"), at, &next),
        });
        message(&format!("M{level}"), fields.collect())
    });
    let endpoints = protos_of(messages.collect(), Vec::new()).endpoints().unwrap();
    let mut depth = 0;
    let mut record = endpoints[0].request.message.clone();
    while let Some(field) = record.fields.first() {
        depth += 1;
        let Type::Record(inner) = under_option(&field.ty) else { panic!("{field:?}") };
        record = inner.clone();
    }
    // Twice 8 + 8² + 8³ + 8⁴ fields, for the request and the reply. Two levels more are over half a million.
    assert_eq!(depth, 4);
}

#[test]
fn what_cannot_be_described_even_at_its_surface_is_refused_with_the_way_out() {
    let values = (0..=100_000).map(|number| EnumValueDescriptorProto {
        name: Some(format!("V{number}")),
        number: Some(number),
        ..Default::default()
    });
    let names = EnumDescriptorProto { name: Some("Many".into()), value: values.collect(), ..Default::default() };
    let mut many = field("many", 1, Proto::Enum);
    many.type_name = Some(".demo.M.Many".into());
    let message = DescriptorProto { enum_type: vec![names], ..message("M", vec![many]) };
    let error = protos_of(vec![message], Vec::new()).endpoints().unwrap_err();
    assert!(error.contains("more than 100000 fields") && error.contains("leave services that"), "{error}");
}

#[test]
fn fields_and_enum_values_are_listed_as_the_file_spells_them() {
    let endpoints = protos().endpoints().unwrap();
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
    let endpoints = Protos::read(&set.encode_to_vec()).unwrap().endpoints().unwrap();
    assert_eq!(endpoints[0].docs.as_deref(), Some("Says hello,\n and more."));
    assert_eq!(endpoints[1].docs, None);
}

#[test]
fn a_query_becomes_protobuf_whatever_the_case_of_its_names() {
    let protos = protos();
    let record = &protos.endpoints().unwrap()[0].request.message;
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

#[test]
fn a_file_of_an_unknown_syntax_is_an_error_and_no_panic() {
    let file = FileDescriptorProto {
        name: Some("demo.proto".into()),
        syntax: Some("editions".into()),
        ..FileDescriptorProto::default()
    };
    let error = Protos::read(&FileDescriptorSet { file: vec![file] }.encode_to_vec()).unwrap_err();
    assert!(error.contains("demo.proto is written in editions"), "{error}");
}

#[test]
fn a_map_without_values_is_an_error_and_no_panic() {
    let mut node = node();
    node.nested_type[0].field.pop();
    let protos = protos_of(vec![node], vec![]);
    // Field 1, an empty entry.
    let error = protos.to_json("demo.Node", &[0x0a, 0x00]).unwrap_err();
    assert!(error.contains("the descriptors contradict themselves"), "{error}");
}
