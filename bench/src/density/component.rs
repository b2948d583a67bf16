//! A tiny function of which no two are the same: its number is in its code and in its memory.

use anyhow::Context as _;
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, InstructionSink, MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding};

const WIT: &str = "
package bench:density;
interface number {
    /// The sum of both numbers, the function's own and this one.
    add: func(to: u32) -> u32;
    /// A text that only this function answers with.
    tell: func(name: string) -> string;
}
world density { export number; }
";

/// Where the text begins in the function's memory, and what `tell` returns: a pointer and a length.
const TEXT: i32 = 64;
const RETURNED: i32 = 16;
/// Where memory is given out from.
const HEAP: i32 = 1024;

/// The text that function `number` answers with.
pub(super) fn text(number: u32) -> String {
    format!("this is function {number}, and there is no other like it")
}

/// The component of function `number`.
pub(super) fn make(number: u32) -> anyhow::Result<Vec<u8>> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("density.wit", WIT)?;
    let world = resolve.select_world(&[package], Some("density"))?;
    let mut module = module(number);
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    ComponentEncoder::default().module(&module)?.encode().context("make a component")
}

fn module(number: u32) -> Vec<u8> {
    use ValType::I32;
    let text = text(number);
    let mut types = TypeSection::new();
    types.ty().function([I32], [I32]);
    types.ty().function([I32, I32], [I32]);
    types.ty().function([I32, I32, I32, I32], [I32]);
    let mut functions = FunctionSection::new();
    functions.function(0).function(1).function(2);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    globals.global(GlobalType { val_type: I32, mutable: true, shared: false }, &ConstExpr::i32_const(HEAP));
    let mut exports = ExportSection::new();
    exports.export("bench:density/number#add", ExportKind::Func, 0);
    exports.export("bench:density/number#tell", ExportKind::Func, 1);
    exports.export("cabi_realloc", ExportKind::Func, 2);
    exports.export("memory", ExportKind::Memory, 0);
    let mut code = CodeSection::new();
    code.function(&body(|code| {
        code.local_get(0).i32_const(number as i32).i32_add();
    }));
    code.function(&body(|code| {
        code.i32_const(RETURNED);
    }));
    // Gives out memory once and never takes it back: an instance lives for one call.
    code.function(&body(|code| {
        code.global_get(0).global_get(0).local_get(3).i32_add().global_set(0);
    }));
    let mut data = DataSection::new();
    let returned = [TEXT.to_le_bytes(), (text.len() as i32).to_le_bytes()].concat();
    data.active(0, &ConstExpr::i32_const(RETURNED), returned);
    data.active(0, &ConstExpr::i32_const(TEXT), text.bytes());
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&globals).section(&exports);
    module.section(&code).section(&data);
    module.finish()
}

fn body(write: impl FnOnce(&mut InstructionSink<'_>)) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    write(&mut code);
    code.end();
    function
}
