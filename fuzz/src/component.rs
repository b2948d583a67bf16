//! Components from bytes: small ones with any types that WIT has, each used by those after it.

use wasm_encoder as wasm;
use wasm_encoder::{ComponentValType, PrimitiveValType};

/// Types of one component.
const MAX_TYPES: usize = 200;

/// Functions that a component exports.
const MAX_FUNCTIONS: usize = 8;

/// Parts of one type.
const MAX_PARTS: usize = 8;

const PLAIN: [PrimitiveValType; 13] = [
    PrimitiveValType::Bool,
    PrimitiveValType::S8,
    PrimitiveValType::U8,
    PrimitiveValType::S16,
    PrimitiveValType::U16,
    PrimitiveValType::S32,
    PrimitiveValType::U32,
    PrimitiveValType::S64,
    PrimitiveValType::U64,
    PrimitiveValType::F32,
    PrimitiveValType::F64,
    PrimitiveValType::Char,
    PrimitiveValType::String,
];

/// A component whose functions `f0`, `f1` … take and give what the bytes say. It imports them, and exports the imports
/// again, so that it needs no code.
pub fn from_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut maker = Maker { rest: bytes, types: wasm::ComponentTypeSection::new(), count: 0 };
    let depth = 1 + usize::from(maker.next()) % MAX_TYPES;
    for _ in 0..depth {
        maker.add_type();
    }
    let functions = 1 + u32::from(maker.next()) % MAX_FUNCTIONS as u32;
    let first_function = maker.count;
    for _ in 0..functions {
        maker.add_function();
    }
    let mut imports = wasm::ComponentImportSection::new();
    let mut exports = wasm::ComponentExportSection::new();
    for at in 0..functions {
        imports.import(format!("i{at}"), wasm::ComponentTypeRef::Func(first_function + at));
        exports.export(format!("f{at}"), wasm::ComponentExportKind::Func, at, None);
    }
    let mut component = wasm::Component::new();
    component.section(&maker.types).section(&imports).section(&exports);
    component.finish()
}

/// Adds types, one after the other.
struct Maker<'b> {
    rest: &'b [u8],
    types: wasm::ComponentTypeSection,
    count: u32,
}

impl Maker<'_> {
    fn next(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *byte
    }

    /// Counted from one.
    fn parts(&mut self) -> usize {
        1 + usize::from(self.next()) % MAX_PARTS
    }

    /// A type that is there already, or a plain one.
    fn ty(&mut self) -> ComponentValType {
        let byte = self.next();
        let back = u32::from(byte / 2);
        match (byte % 2, self.count) {
            (0, count) if count > 0 => ComponentValType::Type(count - 1 - back % count),
            _ => ComponentValType::Primitive(PLAIN[usize::from(byte) % PLAIN.len()]),
        }
    }

    fn optional(&mut self) -> Option<ComponentValType> {
        (!self.next().is_multiple_of(4)).then(|| self.ty())
    }

    /// Types that have names in WIT would have to be exported first, so these are the ones without.
    fn add_type(&mut self) {
        let kind = self.next() % 6;
        match kind {
            0 => {
                let ty = self.ty();
                self.types.defined_type().option(ty);
            }
            1 => {
                let ty = self.ty();
                self.types.defined_type().list(ty);
            }
            2 => {
                let (ok, err) = (self.optional(), self.optional());
                self.types.defined_type().result(ok, err);
            }
            3 => {
                let (ty, length) = (self.ty(), u32::from_le_bytes([self.next(), self.next(), 0, self.next()]));
                self.types.defined_type().fixed_length_list(ty, length);
            }
            4 => {
                let (key, value) = (PLAIN[usize::from(self.next()) % PLAIN.len()], self.ty());
                self.types.defined_type().map(ComponentValType::Primitive(key), value);
            }
            _ => {
                let parts = self.parts();
                let types: Vec<_> = (0..parts).map(|_| self.ty()).collect();
                self.types.defined_type().tuple(types);
            }
        }
        self.count += 1;
    }

    fn add_function(&mut self) {
        let parts = self.parts();
        let params: Vec<(String, ComponentValType)> = (0..parts).map(|at| (format!("p{at}"), self.ty())).collect();
        let result = self.optional();
        self.types.function().params(params.iter().map(|(name, ty)| (name.as_str(), *ty))).result(result);
        self.count += 1;
    }
}

/// A small component that is right: it exports `demo:greeter/say` and a function of the world.
pub const GREETER: &[u8] = include_bytes!("greeter.wasm");
