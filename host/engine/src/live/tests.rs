use super::*;
use crate::access::Access;
use crate::engines::Engines;
use crate::inspect::inspect;
use crate::log::{Log, Stream};
use crate::manifest::Limits;
use bytesize::ByteSize;
use micro_mesh::call::RequestId;
use std::path::Path;
use std::sync::Arc;
use wasm_encoder::{Instruction, MemArg, MemArgTarget, ValType};
use wit_parser::Resolve;

/// Takes lines and keeps none.
struct Nowhere;

impl Log for Nowhere {
    fn line(&self, _: RequestId, _: Stream, _: &str) {}
}

const MIB: u64 = 1024 * 1024;
/// In the guest's memory: where results lie, where arguments go, and where the long text or list begins.
const RESULT: i32 = 0;
const ARGUMENTS: i32 = 64;
const LONG: i32 = 1024;
/// What the guest saves.
const STATE: i32 = 80 * MIB as i32;
/// Of 64 KiB each: room for the state.
const PAGES: u64 = 1300;

/// A component that exports the interface `big` with these functions, of which each returns something as long as its
/// first parameter says, and a lifecycle whose `save` gives [`STATE`] bytes.
fn component(functions: &[(&str, &str)]) -> Vec<u8> {
    let items: Vec<String> = functions.iter().map(|(name, signature)| format!("{name}: {signature};")).collect();
    let wit = format!(
        "package a:b;
        interface big {{ {} }}
        world w {{ export big; export micro:function/lifecycle@0.1.0; }}
        package micro:function@0.1.0 {{ interface lifecycle {{ save: func() -> result<list<u8>, string>; }} }}",
        items.concat()
    );
    let mut resolve = Resolve::default();
    let package = resolve.push_str(Path::new("test.wit"), &wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = module(functions);
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8, false)
        .unwrap();
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true).module(&module).unwrap().encode().unwrap()
}

fn module(functions: &[(&str, &str)]) -> Vec<u8> {
    let (mut types, mut indices) = (wasm_encoder::TypeSection::new(), wasm_encoder::FunctionSection::new());
    let (mut exports, mut code) = (wasm_encoder::ExportSection::new(), wasm_encoder::CodeSection::new());
    let mut add = |name: &str, params: usize, body: &[Instruction<'_>]| {
        let index = indices.len();
        types.ty().function(vec![ValType::I32; params], [ValType::I32]);
        indices.function(index);
        exports.export(name, wasm_encoder::ExportKind::Func, index);
        let mut function = wasm_encoder::Function::new([]);
        body.iter().for_each(|instruction| {
            function.instruction(instruction);
        });
        function.instruction(&Instruction::End);
        code.function(&function);
    };
    let at = |offset| MemArg { offset, align: 2, target: MemArgTarget::Memory(0), ordering: None };
    for (name, signature) in functions {
        // More than sixteen parameters lie in memory.
        let length = match signature.matches("u8,").count() {
            0 => vec![Instruction::LocalGet(0)],
            _ => vec![Instruction::LocalGet(0), Instruction::I32Load(at(0))],
        };
        let mut body = vec![Instruction::I32Const(RESULT), Instruction::I32Const(LONG), Instruction::I32Store(at(0))];
        body.push(Instruction::I32Const(RESULT));
        body.extend(length);
        body.extend([Instruction::I32Store(at(4)), Instruction::I32Const(RESULT)]);
        add(&format!("a:b/big#{name}"), 1, &body);
    }
    let save = [
        Instruction::I32Const(RESULT),
        Instruction::I32Const(0),
        Instruction::I32Store(at(0)),
        Instruction::I32Const(RESULT),
        Instruction::I32Const(LONG),
        Instruction::I32Store(at(4)),
        Instruction::I32Const(RESULT),
        Instruction::I32Const(STATE),
        Instruction::I32Store(at(8)),
        Instruction::I32Const(RESULT),
    ];
    add("micro:function/lifecycle@0.1.0#save", 0, &save);
    add("cabi_realloc", 4, &[Instruction::I32Const(ARGUMENTS)]);
    let mut memories = wasm_encoder::MemorySection::new();
    memories.memory(wasm_encoder::MemoryType {
        minimum: PAGES,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", wasm_encoder::ExportKind::Memory, 0);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&indices).section(&memories).section(&exports).section(&code);
    module.finish()
}

/// A loaded component of these functions.
fn program(functions: &[(&str, &str)]) -> Program {
    let folder = tempfile::tempdir().unwrap();
    let engines = Engines::new(&folder.path().join("cache"), &folder.path().join("key")).unwrap();
    let bytes = component(functions);
    let inspection = inspect(&bytes, Some("big")).unwrap();
    let limits = Limits { memory: ByteSize::mib(128), ..Limits::default() };
    let access = Arc::new(Access::to_log("big", Arc::new(Nowhere)));
    Program::load(&engines, &inspection, &limits, access, || Ok(bytes)).unwrap()
}

/// Calls an endpoint for something of this length; any other field is zero.
async fn call(program: &Program, endpoint: &str, length: u64) -> Result<Option<Value>, CallError> {
    let callable = program.endpoint(endpoint).unwrap();
    let mut fields = vec![Value::Unsigned(length)];
    fields.resize(callable.endpoint.request.message.fields.len(), Value::Unsigned(0));
    Live::new(program, Scope::idle()).await?.call(callable, fields).await
}

const TEXT: (&str, &str) = ("text", "func(length: u32) -> string");

/// More parameters than go straight into memory.
fn many() -> (&'static str, String) {
    let zeros: Vec<String> = (0..17).map(|n| format!("p{n}: u8,")).collect();
    ("many", format!("func(length: u32, {}) -> list<u8>", zeros.concat()))
}

#[tokio::test]
async fn a_text_counts_once_against_the_limit_of_a_reply() {
    let program = program(&[TEXT]);
    let text = call(&program, "Big.Text", 40 * MIB).await.unwrap();
    assert!(matches!(text, Some(Value::String(text)) if text.len() as u64 == 40 * MIB));
    let error = call(&program, "Big.Text", 70 * MIB).await.unwrap_err();
    assert!(matches!(error, CallError::ReplyTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn bytes_may_be_large_on_the_dynamic_road_and_are_counted_as_the_values_they_become() {
    let (name, signature) = many();
    let program = program(&[TEXT, (name, &signature)]);
    let bytes = call(&program, "Big.Many", 8 * MIB).await.unwrap();
    assert!(matches!(bytes, Some(Value::Bytes(bytes)) if bytes.len() as u64 == 8 * MIB));
    for (endpoint, length) in [("Big.Many", 10 * MIB), ("Big.Text", 70 * MIB)] {
        let error = call(&program, endpoint, length).await.unwrap_err();
        assert!(matches!(error, CallError::ReplyTooLarge { .. }), "{endpoint}: {error}");
    }
}

#[tokio::test]
async fn a_state_larger_than_a_reply_is_saved() {
    let program = program(&[TEXT]);
    let mut live = Live::new(&program, Scope::idle()).await.unwrap();
    let state = live.save(&program.lifecycle).await.unwrap().unwrap().unwrap();
    assert_eq!(state.len(), STATE as usize);
    assert_eq!(live.store.hostcall_fuel(), program.fuel);
}
