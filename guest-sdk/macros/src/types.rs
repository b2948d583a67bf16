//! Types of signatures: from Rust's syntax to what WIT knows.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, GenericArgument, PathArguments, Result};

/// A type that can cross between host and guest.
#[derive(Debug, Clone)]
pub(crate) enum Type {
    /// Named alike in Rust and in this list: `bool`, the numbers, `char`; with its name in WIT.
    Plain(&'static str, &'static str),
    String,
    List(Box<Type>),
    /// `[T; N]`
    Array(Box<Type>, usize),
    Option(Box<Type>),
    Result(Option<Box<Type>>, Option<Box<Type>>),
    Tuple(Vec<Type>),
    Map(Map, Box<Type>, Box<Type>),
    /// `Box<T>`, which WIT does not see.
    Boxed(Box<Type>),
    /// A type of the module.
    User(Ident),
    /// A type of `micro:function/types`.
    Shared(Shared),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    BTree,
    Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shared {
    Error,
    HttpResponse,
}

impl Shared {
    pub(crate) fn wit(self) -> &'static str {
        match self {
            Shared::Error => "error",
            Shared::HttpResponse => "http-response",
        }
    }
}

/// Rust's name and WIT's.
const PLAIN: [(&str, &str); 12] = [
    ("bool", "bool"),
    ("char", "char"),
    ("f32", "f32"),
    ("f64", "f64"),
    ("i8", "s8"),
    ("i16", "s16"),
    ("i32", "s32"),
    ("i64", "s64"),
    ("u8", "u8"),
    ("u16", "u16"),
    ("u32", "u32"),
    ("u64", "u64"),
];

/// Types that WIT has nothing for, and what to write instead.
const INSTEAD: [(&str, &str); 25] = [
    ("usize", "its size differs between guest and host: write u32 or u64"),
    ("isize", "its size differs between guest and host: write i32 or i64"),
    ("u128", "WIT has no such number: write String, or two u64"),
    ("i128", "WIT has no such number: write String, or two i64"),
    ("str", "an endpoint owns what it is given: write String"),
    ("Cow", "an endpoint owns what it is given: write String or Vec<u8>"),
    ("Bytes", "write Vec<u8>, which callers know as bytes"),
    ("Rc", "nothing is shared across the border: write the type itself"),
    ("Arc", "nothing is shared across the border: write the type itself"),
    ("Mutex", "state stays in the instance: return what is in it"),
    ("RefCell", "state stays in the instance: return what is in it"),
    ("Cell", "state stays in the instance: return what is in it"),
    ("HashSet", "write Vec<T>"),
    ("BTreeSet", "write Vec<T>"),
    ("VecDeque", "write Vec<T>"),
    ("Duration", "say the unit in the name and write u64: `timeout_ms: u64`"),
    ("Instant", "it means nothing outside of its process: write milliseconds since 1970 as u64"),
    ("SystemTime", "write milliseconds since 1970 as u64, or an RFC 3339 text"),
    ("PathBuf", "write String"),
    ("OsString", "write String"),
    ("Value", "WIT has no type for any JSON: write a struct, or String for JSON in text"),
    ("Url", "write String"),
    ("Uuid", "write String"),
    ("NonZeroU32", "write u32"),
    ("NonZeroU64", "write u64"),
];

/// The types that a signature may name beside those that everybody knows.
pub(crate) struct Scope<'a> {
    /// Of the module; their shapes are read when one of them is needed.
    pub local: &'a [Ident],
    /// Whether there is a module at all, or a function by itself.
    pub is_module: bool,
    /// What the author's crate calls `micro-sdk`.
    pub sdk: &'a str,
}

impl Scope<'_> {
    /// Reads a type.
    pub(crate) fn read(&self, ty: &syn::Type) -> Result<Type> {
        match ty {
            syn::Type::Path(path) if path.qself.is_none() => self.read_path(&path.path),
            syn::Type::Paren(inner) => self.read(&inner.elem),
            syn::Type::Group(inner) => self.read(&inner.elem),
            syn::Type::Tuple(tuple) if tuple.elems.is_empty() => {
                Err(Error::new(ty.span(), "WIT has no type for nothing: leave it out"))
            }
            syn::Type::Tuple(tuple) => {
                Ok(Type::Tuple(tuple.elems.iter().map(|elem| self.read(elem)).collect::<Result<_>>()?))
            }
            syn::Type::Array(array) => Ok(Type::Array(Box::new(self.read(&array.elem)?), length(&array.len)?)),
            syn::Type::Slice(_) => Err(Error::new(ty.span(), "a slice has no length of its own in WIT: write Vec<T>")),
            syn::Type::Reference(reference) => Err(Error::new(ty.span(), borrowed(&reference.elem))),
            syn::Type::ImplTrait(_) => Err(Error::new(
                ty.span(),
                "WIT needs to know the type: name it; for an iterator of messages write micro::Stream<T>",
            )),
            syn::Type::TraitObject(_) => Err(Error::new(ty.span(), "WIT needs to know the type: write an enum")),
            syn::Type::BareFn(_) | syn::Type::Never(_) | syn::Type::Ptr(_) => {
                Err(Error::new(ty.span(), "this cannot cross between host and function"))
            }
            _ => {
                Err(Error::new(ty.span(), "this type has no form in WIT: write a struct, an enum, or a standard type"))
            }
        }
    }

    fn read_path(&self, path: &syn::Path) -> Result<Type> {
        let Some(last) = path.segments.last() else {
            return Err(Error::new(path.span(), "expected a type"));
        };
        let name = last.ident.to_string();
        let has_self = path.segments.len() == 2 && path.segments[0].ident == "self";
        if (path.segments.len() == 1 || has_self) && self.local.contains(&last.ident) {
            return match last.arguments {
                PathArguments::None => Ok(Type::User(last.ident.clone())),
                _ => Err(Error::new(last.arguments.span(), "WIT has no generics: write a type for each use")),
            };
        }
        if self.is_foreign(path) {
            return Err(self.unknown(path, &name));
        }
        if let Some((rust, wit)) = PLAIN.iter().find(|(rust, _)| *rust == name) {
            return Ok(Type::Plain(rust, wit));
        }
        let arguments = arguments(last)?;
        let boxed = |ty: &syn::Type| self.read(ty).map(Box::new);
        match (name.as_str(), arguments.as_slice()) {
            ("String", []) => Ok(Type::String),
            ("Vec", [item]) => Ok(Type::List(boxed(item)?)),
            ("Option", [inner]) => Ok(Type::Option(boxed(inner)?)),
            ("Box", [syn::Type::Slice(_)]) => Err(Error::new(path.span(), "write Vec<T>")),
            ("Box", [inner]) => Ok(Type::Boxed(boxed(inner)?)),
            ("Result", [ok]) => Ok(Type::Result(self.side(ok)?, Some(Box::new(Type::Shared(Shared::Error))))),
            ("Result", [ok, error]) => Ok(Type::Result(self.side(ok)?, self.side(error)?)),
            ("HashMap", [key, value, ..]) => self.map(Map::Hash, key, value),
            ("BTreeMap", [key, value]) => self.map(Map::BTree, key, value),
            ("Error", []) => Ok(Type::Shared(Shared::Error)),
            ("HttpResponse", []) => Ok(Type::Shared(Shared::HttpResponse)),
            ("Stream" | "Upload" | "Exchange", [_, ..]) => Err(Error::new(
                path.span(),
                format!("a function returns a {name} by itself or in a Result: it can be nowhere else"),
            )),
            _ => Err(self.unknown(path, &name)),
        }
    }

    /// Whether a path leads to something else than what its last word means here, as `std::io::Error` does.
    pub(crate) fn is_foreign(&self, path: &syn::Path) -> bool {
        let (Some(first), Some(last)) = (path.segments.first(), path.segments.last()) else { return false };
        if path.segments.len() < 2 {
            return false;
        }
        let (first, last) = (first.ident.to_string(), last.ident.to_string());
        let is_ours = ["micro", "micro_sdk", self.sdk].contains(&first.as_str());
        let is_std = ["std", "core", "alloc"].contains(&first.as_str());
        match last.as_str() {
            "Error" | "HttpResponse" | "Stream" | "Upload" | "Exchange" => !is_ours,
            "Result" => {
                let is_stds_own = is_std && path.segments[1].ident == "result";
                !is_ours && !is_stds_own
            }
            _ => !is_std && !is_ours && !["collections", "string", "vec", "option", "boxed"].contains(&first.as_str()),
        }
    }

    /// One side of a result, where nothing is a type.
    fn side(&self, ty: &syn::Type) -> Result<Option<Box<Type>>> {
        if is_unit(ty) { Ok(None) } else { Ok(Some(Box::new(self.read(ty)?))) }
    }

    fn map(&self, map: Map, key: &syn::Type, value: &syn::Type) -> Result<Type> {
        let span = key.span();
        let key = self.read(key)?;
        let is_key = matches!(&key, Type::String) || matches!(&key, Type::Plain(name, _) if !name.starts_with('f'));
        if !is_key {
            return Err(Error::new(span, "the keys of a map are String, bool, char or integers: write Vec<(K, V)>"));
        }
        Ok(Type::Map(map, Box::new(key), Box::new(self.read(value)?)))
    }

    fn unknown(&self, path: &syn::Path, name: &str) -> Error {
        let full = path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>().join("::");
        if let Some((_, instead)) = INSTEAD.iter().find(|(known, _)| *known == name) {
            return Error::new(path.span(), format!("`{full}` cannot cross between host and function: {instead}"));
        }
        if self.is_foreign(path) && matches!(name, "Error" | "Result") {
            return Error::new(
                path.span(),
                format!("callers cannot read a `{full}`: write micro::Error, String, or an enum of this module"),
            );
        }
        let reason = match self.is_module {
            false => "a function by itself has standard types only: put it into a module with its types and mark that",
            true => "the attribute sees only what stands in this module: define the struct or enum here",
        };
        Error::new(path.span(), format!("no struct or enum `{full}` here: {reason}"))
    }
}

impl Type {
    /// Whether the bindings have the very same type, so that nothing has to be converted. Of types of the module this
    /// is never so.
    pub(crate) fn is_same(&self) -> bool {
        match self {
            Type::Plain(..) | Type::String | Type::Shared(_) => true,
            Type::List(inner) | Type::Array(inner, _) | Type::Option(inner) => inner.is_same(),
            Type::Result(ok, error) => ok.iter().chain(error).all(|side| side.is_same()),
            Type::Tuple(items) => items.iter().all(Type::is_same),
            Type::Map(map, _, value) => *map == Map::BTree && value.is_same(),
            Type::Boxed(_) | Type::User(_) => false,
        }
    }

    /// Visits this type and all types in it.
    pub(crate) fn visit<'t>(&'t self, visitor: &mut dyn FnMut(&'t Type)) {
        visitor(self);
        match self {
            Type::List(inner) | Type::Array(inner, _) | Type::Option(inner) | Type::Boxed(inner) => {
                inner.visit(visitor);
            }
            Type::Result(ok, error) => ok.iter().chain(error).for_each(|side| side.visit(visitor)),
            Type::Tuple(items) => items.iter().for_each(|item| item.visit(visitor)),
            Type::Map(_, key, value) => [key, value].into_iter().for_each(|side| side.visit(visitor)),
            Type::Plain(..) | Type::String | Type::User(_) | Type::Shared(_) => {}
        }
    }

    /// In Rust, seen from the module inside the author's own.
    pub(crate) fn rust(&self, sdk: &TokenStream) -> TokenStream {
        let side = |side: &Option<Box<Type>>| side.as_ref().map_or_else(|| quote!(()), |ty| ty.rust(sdk));
        match self {
            Type::Plain(rust, _) => {
                let name = Ident::new(rust, proc_macro2::Span::call_site());
                quote!(::core::primitive::#name)
            }
            Type::String => quote!(::std::string::String),
            Type::List(inner) => {
                let inner = inner.rust(sdk);
                quote!(::std::vec::Vec<#inner>)
            }
            Type::Array(inner, length) => {
                let inner = inner.rust(sdk);
                quote!([#inner; #length])
            }
            Type::Option(inner) => {
                let inner = inner.rust(sdk);
                quote!(::core::option::Option<#inner>)
            }
            Type::Result(ok, error) => {
                let (ok, error) = (side(ok), side(error));
                quote!(::core::result::Result<#ok, #error>)
            }
            Type::Tuple(items) => {
                let items = items.iter().map(|item| item.rust(sdk));
                quote!((#(#items,)*))
            }
            Type::Map(map, key, value) => {
                let (key, value) = (key.rust(sdk), value.rust(sdk));
                match map {
                    Map::BTree => quote!(::std::collections::BTreeMap<#key, #value>),
                    Map::Hash => quote!(::std::collections::HashMap<#key, #value>),
                }
            }
            Type::Boxed(inner) => {
                let inner = inner.rust(sdk);
                quote!(::std::boxed::Box<#inner>)
            }
            Type::User(ident) => quote!(super::#ident),
            Type::Shared(Shared::Error) => quote!(#sdk::types::Error),
            Type::Shared(Shared::HttpResponse) => quote!(#sdk::types::HttpResponse),
        }
    }
}

/// Whether the type is `()`.
pub(crate) fn is_unit(ty: &syn::Type) -> bool {
    matches!(ty, syn::Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// The types in angle brackets.
pub(crate) fn arguments(segment: &syn::PathSegment) -> Result<Vec<&syn::Type>> {
    match &segment.arguments {
        PathArguments::None => Ok(Vec::new()),
        PathArguments::AngleBracketed(list) => list
            .args
            .iter()
            .map(|argument| match argument {
                GenericArgument::Type(ty) => Ok(ty),
                other => Err(Error::new(other.span(), "WIT knows types here, nothing else")),
            })
            .collect(),
        PathArguments::Parenthesized(_) => {
            Err(Error::new(segment.span(), "a function cannot cross between host and guest"))
        }
    }
}

fn length(len: &syn::Expr) -> Result<usize> {
    if let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(number), .. }) = len
        && let Ok(length @ 1..) = number.base10_parse::<usize>()
    {
        return Ok(length);
    }
    Err(Error::new(len.span(), "WIT needs the length as a number of at least 1: write it out, or write Vec<T>"))
}

fn borrowed(inner: &syn::Type) -> &'static str {
    match inner {
        syn::Type::Path(path) if path.path.is_ident("str") => "an endpoint owns what it is given: write String",
        syn::Type::Slice(_) => "an endpoint owns what it is given: write Vec<T>",
        _ => "an endpoint owns what it is given: write the type without the reference",
    }
}
