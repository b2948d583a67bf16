use super::*;
use proptest::prelude::*;
use std::path::Path;
use wasm_encoder as wasm;
use wit_parser::abi::{AbiVariant, WasmType};

/// A component of the one world in `wit`, whose functions all trap.
pub(crate) fn component(wit: &str) -> Vec<u8> {
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true).module(&typed_module(wit)).unwrap().encode().unwrap()
}

/// The core module behind it, with its types.
pub(crate) fn typed_module(wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str(Path::new("test.wit"), wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = module(&resolve, world);
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8, false)
        .unwrap();
    module
}

/// The same without them.
fn module(resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut functions: Vec<(String, &Function)> = Vec::new();
    for (key, item) in &resolve.worlds[world].exports {
        match item {
            WorldItem::Function(function) => functions.push((function.name.clone(), function)),
            WorldItem::Interface { id, .. } => {
                let name = resolve.name_world_key(key);
                let own = resolve.interfaces[*id].functions.values();
                functions.extend(own.map(|function| (format!("{name}#{}", function.name), function)));
            }
            WorldItem::Type { .. } => {}
        }
    }
    let (mut types, mut indices, mut exports, mut code) =
        (wasm::TypeSection::new(), wasm::FunctionSection::new(), wasm::ExportSection::new(), wasm::CodeSection::new());
    let mut add = |name: &str, params: Vec<wasm::ValType>, results: Vec<wasm::ValType>| {
        let index = indices.len();
        types.ty().function(params, results);
        indices.function(index);
        exports.export(name, wasm::ExportKind::Func, index);
        let mut body = wasm::Function::new([]);
        body.instruction(&wasm::Instruction::Unreachable).instruction(&wasm::Instruction::End);
        code.function(&body);
    };
    let core = |types: &[WasmType]| -> Vec<wasm::ValType> { types.iter().map(core_type).collect() };
    for (name, function) in functions {
        let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
        add(&name, core(&signature.params), core(&signature.results));
    }
    add("cabi_realloc", vec![wasm::ValType::I32; 4], vec![wasm::ValType::I32]);
    let mut memories = wasm::MemorySection::new();
    memories.memory(wasm::MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", wasm::ExportKind::Memory, 0);
    let mut module = wasm::Module::new();
    module.section(&types).section(&indices).section(&memories).section(&exports).section(&code);
    module.finish()
}

fn core_type(ty: &WasmType) -> wasm::ValType {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => wasm::ValType::I32,
        WasmType::I64 | WasmType::PointerOrI64 => wasm::ValType::I64,
        WasmType::F32 => wasm::ValType::F32,
        WasmType::F64 => wasm::ValType::F64,
    }
}

fn inspected(wit: &str) -> Inspection {
    inspect(&component(wit), None).unwrap()
}

fn refusal(wit: &str) -> String {
    inspect(&component(wit), None).unwrap_err().to_string()
}

const GREETER: &str = "
    package demo:greeter@0.1.0;
    interface say {
        record request { user-name: string, times: option<u8> }
        hello: func(request: request) -> string;
        bye-bye: func();
    }
    world greeter { export say; export ping-all: func(count: u32) -> bool; }
";

#[test]
fn endpoints_are_named_after_their_interface_or_the_deployment() {
    let bytes = component(GREETER);
    let names = |deployment| -> Vec<String> {
        let inspection = inspect(&bytes, deployment).unwrap();
        inspection.endpoints.iter().map(|endpoint| endpoint.name.to_string()).collect()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(names(Some("go.micro.my-greeter"))), ["MyGreeter.PingAll", "Say.ByeBye", "Say.Hello"]);
    assert!(names(None).contains(&"Function.PingAll".to_string()));
    let with_manifest = crate::manifest::embed(&bytes, "name = \"greeter\"\nnamespace = \"demo\"").unwrap();
    let inspection = inspect(&with_manifest, None).unwrap();
    assert!(inspection.endpoint("Greeter.PingAll").is_some());
    assert_eq!(inspection.manifest.and_then(|manifest| manifest.full_name()).as_deref(), Some("demo.greeter"));
}

#[test]
fn an_endpoint_knows_its_interface_its_message_and_its_reply() {
    let inspection = inspected(GREETER);
    let hello = inspection.endpoint("Say.Hello").unwrap();
    assert_eq!(hello.interface.as_deref(), Some("demo:greeter/say@0.1.0"));
    assert_eq!(&*hello.function, "hello");
    assert!(hello.request.is_one_record, "the one parameter is a record");
    let fields: Vec<_> =
        hello.request.message.fields.iter().map(|field| (&*field.name.json, field.ty.label())).collect();
    assert_eq!(fields, [("user_name", "string".to_string()), ("times", "option<u8>".to_string())]);
    assert_eq!(hello.reply, Reply { ok: Some(Type::String), err: None });

    let ping = inspection.endpoint("Function.PingAll").unwrap();
    assert_eq!((&ping.interface, ping.request.is_one_record), (&None, false));
    assert_eq!(inspection.endpoint("Say.ByeBye").unwrap().reply, Reply { ok: None, err: None });
    assert_eq!(inspection.engine, EngineKind::Lean);
    assert!(inspection.imports.is_empty() && inspection.manifest.is_none());
}

#[test]
fn types_read_as_wit_writes_them() {
    let inspection = inspected(
        "package demo:all@0.1.0;
        interface all {
            record r { x: u8 }
            variant v { a, b(string) }
            enum e { a, b }
            flags f { a, b }
            type words = list<string>;
            every: func(
                a: bool, b: list<u8>, c: list<u16>, d: option<option<char>>, e: tuple<f32, f64>, f: result,
                g: result<u64>, h: result<_, s64>, i: result<r, v>, j: e, k: f, l: words, m: list<u8, 4>,
                n: map<string, s8>,
            ) -> result<_, string>;
            raw: func(name: string, body: list<u8>) -> list<u8>;
            two: func(a: list<u8>, b: option<list<u8>>) -> result<list<u8>>;
        }
        world w { export all; }",
    );
    let every = inspection.endpoint("All.Every").unwrap();
    let labels: Vec<_> = every.request.message.fields.iter().map(|field| field.ty.label()).collect();
    let expected = [
        "bool",
        "list<u8>",
        "list<u16>",
        "option<option<char>>",
        "tuple<f32, f64>",
        "result",
        "result<u64>",
        "result<_, s64>",
        "result<r, v>",
        "e",
        "f",
        "list<string>",
        "list<u8, 4>",
        "map<string, s8>",
    ];
    assert_eq!(labels, expected);
    assert_eq!(every.reply, Reply { ok: None, err: Some(Some(Type::String)) });
    let raw = inspection.endpoint("All.Raw").unwrap();
    assert_eq!((raw.request.raw_field(), raw.reply.is_bytes()), (Some(1), true));
    let two = inspection.endpoint("All.Two").unwrap();
    assert_eq!((two.request.raw_field(), two.reply.is_bytes()), (None, true), "two fields of bytes are one too many");
}

#[test]
fn what_has_no_place_in_a_message_is_refused_with_its_place() {
    let with = |items: &str| refusal(&format!("package a:b; interface i {{ {items} }} world w {{ export i; }}"));
    for (items, expected) in [
        ("resource r; f: func() -> r;", "endpoint I.F: it returns the resource r, which is no stream"),
        ("resource r; f: func() -> list<r>;", "endpoint I.F, result: a resource has no place in a message"),
        ("resource r; f: func(x: list<borrow<r>>);", "endpoint I.F, parameter x: a resource has no place in a message"),
        ("resource r { m: func(); } f: func();", "resource r is not callable from outside"),
        ("resource r; record d { r: r } f: func(x: d);", "endpoint I.F, parameter x: field r: a resource"),
        ("resource r; variant v { a(r) } f: func() -> v;", "endpoint I.F, result: case a: a resource"),
    ] {
        let reason = with(items);
        assert!(reason.contains(expected), "{items}: {reason}");
    }
}

#[test]
fn streams_of_other_deployments_are_refused_as_imports_with_the_way_out() {
    for items in [
        "resource r { next: func() -> option<u8>; } f: func() -> r;",
        "f: func() -> r; resource r { next: func() -> option<u8>; }",
        "resource r { get: func() -> u8; }",
    ] {
        let mut resolve = Resolve::default();
        let wit = format!("package a:b; interface other {{ {items} }} world w {{ import other; }}");
        let package = resolve.push_str(Path::new("test.wit"), &wit).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        let types = Types::new(&resolve);
        let mut reader = Reader { types, resolve: &resolve, endpoints: Vec::new(), other_exports: Vec::new() };
        let reason = reader.read_needs(world).unwrap_err().to_string();
        assert!(reason.starts_with("import a:b/other: ") && reason.contains("micro:function/client"), "{reason}");
    }
}

#[test]
fn wasi_0_3_is_for_the_concurrent_engine_even_where_it_is_not_async() {
    let is_concurrent = |import: &str| features::imports_wasi_0_3(&["wasi:io/streams@0.2.6".into(), import.into()]);
    assert!(is_concurrent("wasi:random/random@0.3.0") && is_concurrent("wasi:clocks/types@0.3.0-rc-2026-01-06"));
    assert!(!is_concurrent("wasi:random/random@0.2.6") && !is_concurrent("demo:random/random@0.3.0"));
}

#[test]
fn an_interface_of_the_world_itself_gives_its_name() {
    let inspection =
        inspected("package a:b; interface i { f: func(); } world w { export i; export x: interface { f: func(); } }");
    assert!(inspection.endpoint("I.F").is_some() && inspection.endpoint("X.F").is_some(), "{inspection:?}");
}

#[test]
fn interfaces_of_one_name_in_two_packages_clash() {
    let reason = refusal(
        "package a:b;
        world w { export c:d/say; export e:f/say; }
        package c:d { interface say { hello: func(); } }
        package e:f { interface say { hello: func(); } }",
    );
    assert!(reason.starts_with("endpoint Say.Hello is exported twice, by "), "{reason}");
    assert!(reason.contains("c:d/say") && reason.contains("e:f/say"), "{reason}");
}

#[test]
fn what_is_no_component_with_endpoints_is_refused_by_what_it_is() {
    let mut resolve = Resolve::default();
    let package = resolve.push_str(Path::new("test.wit"), "package a:b; interface i { f: func(); }").unwrap();
    let wit_package = wit_component::encode(&resolve, package, false).unwrap();
    for (bytes, expected) in [
        (&b""[..], "the file is empty"),
        (b"hello", "not wasm"),
        (
            b"\0asm\x01\0\0\0",
            "a core wasm module, not a component, and not a program either: it exports no function _start",
        ),
        (b"\0asm\x0d\0\x01\0", "the component has no endpoint: it exports nothing"),
        (&wit_package, "a WIT package, which holds types and no code"),
    ] {
        let reason = inspect(bytes, None).unwrap_err().to_string();
        assert!(reason.contains(expected), "{bytes:?}: {reason}");
    }
    let huge = vec![0; MAX_COMPONENT + 1];
    assert!(inspect(&huge, None).unwrap_err().to_string().contains("128.0 MiB"));
}

#[test]
fn a_component_that_only_runs_is_called_by_that() {
    let runs = |more: &str, version: &str| {
        format!(
            "package a:b;
            interface api {{ f: func(); }}
            world w {{ export wasi:cli/run@{version}; {more} }}
            package wasi:cli@{version} {{ interface run {{ run: func() -> result; }} }}"
        )
    };
    let inspection = inspect(&component(&runs("", "0.2.6")), Some("demo.word-count")).unwrap();
    assert_eq!(inspection.command(), Some("wasi:cli/run@0.2.6"));
    assert!(inspection.other_exports.is_empty(), "{:?}", inspection.other_exports);
    let endpoint = inspection.endpoint("WordCount.Run").unwrap();
    let fields: Vec<_> =
        endpoint.request.message.fields.iter().map(|field| (&*field.name.json, field.ty.label())).collect();
    assert_eq!(fields, [("stdin", "option<list<u8>>".to_string()), ("args", "option<list<string>>".to_string())]);
    assert!(endpoint.reply.is_bytes());

    // What has endpoints is called by those.
    let inspection = inspected(&runs("export api;", "0.2.6"));
    assert_eq!((inspection.command(), inspection.endpoints.len()), (None, 1));
    assert_eq!(inspection.other_exports, ["wasi:cli/run@0.2.6"]);
    let reason = refusal(&runs("", "0.4.0"));
    assert!(reason.contains("it exports only wasi:cli/run@0.4.0"), "{reason}");
}

#[test]
fn a_component_cut_off_anywhere_is_refused() {
    let whole = component(GREETER);
    let accepted: Vec<usize> = (0..whole.len()).filter(|length| inspect(&whole[..*length], None).is_ok()).collect();
    // A component does not say how long it is: the end of a section may be its end.
    assert!(accepted.len() < 20 && accepted.iter().all(|length| *length > whole.len() / 5), "{accepted:?}");
}

#[test]
fn the_digest_is_of_all_bytes() {
    assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let bytes = component(GREETER);
    let inspection = inspect(&bytes, None).unwrap();
    assert_eq!((inspection.digest, inspection.size), (digest(&bytes), bytes.len()));
}

#[test]
fn an_inspection_survives_the_database() {
    let inspection = inspected(GREETER);
    let text = serde_json::to_string(&inspection).unwrap();
    let back: Inspection = serde_json::from_str(&text).unwrap();
    assert_eq!(back.endpoints, inspection.endpoints);
    assert!(back.endpoint("Say.Hello").unwrap().request.message.fields[0].name.matches("userName"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_never_make_inspection_panic(damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = component(GREETER);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        drop(inspect(&bytes, Some("greeter")));
    }
}

/// A component that imports and exports a function with the last of these types, each made from the one before it.
fn nested(count: u32, step: impl Fn(wasm::ComponentDefinedTypeEncoder<'_>, wasm::ComponentValType)) -> Vec<u8> {
    exporting("outer", count, step)
}

fn exporting(
    name: &str,
    count: u32,
    step: impl Fn(wasm::ComponentDefinedTypeEncoder<'_>, wasm::ComponentValType),
) -> Vec<u8> {
    let mut types = wasm::ComponentTypeSection::new();
    let mut last = wasm::ComponentValType::Primitive(wasm::PrimitiveValType::U8);
    for at in 0..count {
        step(types.defined_type(), last);
        last = wasm::ComponentValType::Type(at);
    }
    types.function().params([("p", last)]).result(None);
    let mut imports = wasm::ComponentImportSection::new();
    imports.import("inner", wasm::ComponentTypeRef::Func(count));
    let mut exports = wasm::ComponentExportSection::new();
    exports.export(name, wasm::ComponentExportKind::Func, 0, None);
    let mut component = wasm::Component::new();
    component.section(&types).section(&imports).section(&exports);
    component.finish()
}

#[test]
fn types_that_are_inside_of_each_other_too_often_are_refused_before_the_stack_or_the_database_does() {
    let deep = |count| {
        inspect(
            &nested(count, |ty, inner| {
                ty.option(inner);
            }),
            None,
        )
    };
    for (count, expected) in
        [(25, "inside of each other"), (60, "inside of each other"), (100_000, "nesting is too deep")]
    {
        let error = deep(count).unwrap_err().to_string();
        assert!(error.contains(expected), "{count}: {error}");
    }
    // What is taken comes back from where it is kept.
    let kept = serde_json::to_string(&deep(24).unwrap()).unwrap();
    assert!(serde_json::from_str::<Inspection>(&kept).is_ok());
}

#[test]
fn types_that_use_each_other_twice_do_not_fill_the_memory() {
    let twice = |count| inspect(&nested(count, |ty, inner| ty.tuple([inner, inner])), None);
    assert!(twice(10).is_ok());
    let error = twice(17).unwrap_err().to_string();
    assert!(error.contains("take more than 8.0 MiB"), "{error}");
}

#[test]
fn a_function_that_is_called_like_an_interface_is_an_error_and_no_panic() {
    let component = exporting("demo:greeter/say", 1, |ty, inner| {
        ty.option(inner);
    });
    let error = inspect(&component, None).unwrap_err().to_string();
    assert!(error.contains("not a valid component"), "{error}");
}
