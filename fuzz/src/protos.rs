//! A descriptor set with a field of each kind.

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MessageOptions, MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
};

/// The message that the set is about: it may hold itself.
pub const MESSAGE: &str = "demo.All";

/// Well-known types, which JSON writes in forms of their own.
const WELL_KNOWN: [&str; 10] = [
    ".google.protobuf.Timestamp",
    ".google.protobuf.Duration",
    ".google.protobuf.FieldMask",
    ".google.protobuf.Struct",
    ".google.protobuf.Value",
    ".google.protobuf.ListValue",
    ".google.protobuf.Any",
    ".google.protobuf.Int64Value",
    ".google.protobuf.DoubleValue",
    ".google.protobuf.BytesValue",
];

/// The files of the types above.
const FILES: [&str; 6] = ["any", "duration", "field_mask", "struct", "timestamp", "wrappers"];

/// The descriptor set as bytes.
pub fn descriptors() -> Vec<u8> {
    let part = |name: &str, number, ty: Type| FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(ty.into()),
        ..FieldDescriptorProto::default()
    };
    let entry = DescriptorProto {
        name: Some("MapEntry".into()),
        field: vec![part("key", 1, Type::Int32), part("value", 2, Type::String)],
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..DescriptorProto::default()
    };
    let moods = ["GLAD", "QUITE_SAD"].into_iter().zip(0..).map(|(name, number)| EnumValueDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    });
    let method = MethodDescriptorProto {
        name: Some("Hello".into()),
        input_type: Some(".demo.All".into()),
        output_type: Some(".demo.All".into()),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("demo.proto".into()),
        package: Some("demo".into()),
        syntax: Some("proto3".into()),
        dependency: FILES.iter().map(|file| format!("google/protobuf/{file}.proto")).collect(),
        message_type: vec![DescriptorProto {
            name: Some("All".into()),
            field: fields(),
            nested_type: vec![entry],
            oneof_decl: vec![OneofDescriptorProto { name: Some("choice".into()), ..OneofDescriptorProto::default() }],
            ..DescriptorProto::default()
        }],
        enum_type: vec![EnumDescriptorProto {
            name: Some("Mood".into()),
            value: moods.collect(),
            ..EnumDescriptorProto::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("Say".into()),
            method: vec![method],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    let well_known = prost_reflect::DescriptorPool::global();
    let used = FILES.iter().filter_map(|name| well_known.get_file_by_name(&format!("google/protobuf/{name}.proto")));
    let files = used.map(|used| used.file_descriptor_proto().clone()).chain([file]).collect();
    FileDescriptorSet { file: files }.encode_to_vec()
}

/// A field of each kind.
fn fields() -> Vec<FieldDescriptorProto> {
    let mut numbers = 1..;
    let mut field = |name: &str, ty: Type, type_name: Option<&str>| FieldDescriptorProto {
        name: Some(name.into()),
        number: numbers.next(),
        label: Some(Label::Optional.into()),
        r#type: Some(ty.into()),
        type_name: type_name.map(str::to_string),
        ..FieldDescriptorProto::default()
    };
    let plain = [
        Type::Double,
        Type::Float,
        Type::Int64,
        Type::Uint64,
        Type::Int32,
        Type::Fixed64,
        Type::Fixed32,
        Type::Bool,
        Type::String,
        Type::Bytes,
        Type::Uint32,
        Type::Sfixed32,
        Type::Sfixed64,
        Type::Sint32,
        Type::Sint64,
    ];
    let mut fields: Vec<_> = plain.into_iter().map(|ty| field(&ty.as_str_name().to_lowercase(), ty, None)).collect();
    fields.push(field("mood", Type::Enum, Some(".demo.Mood")));
    fields.push(field("inner", Type::Message, Some(".demo.All")));
    for name in WELL_KNOWN {
        let short = name.rsplit('.').next().unwrap_or(name).to_lowercase();
        fields.push(field(&short, Type::Message, Some(name)));
    }
    for name in ["either", "or"] {
        fields.push(FieldDescriptorProto { oneof_index: Some(0), ..field(name, Type::String, None) });
    }
    let repeated = Some(Label::Repeated.into());
    fields.push(FieldDescriptorProto { label: repeated, ..field("many", Type::Int32, None) });
    fields.push(FieldDescriptorProto { label: repeated, ..field("several", Type::Message, Some(".demo.All")) });
    fields.push(FieldDescriptorProto { label: repeated, ..field("map", Type::Message, Some(".demo.All.MapEntry")) });
    fields
}
