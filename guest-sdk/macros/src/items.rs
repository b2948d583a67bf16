//! Structs, enums and aliases of the module: from Rust's syntax to what WIT knows.

use proc_macro2::Ident;
use syn::spanned::Spanned;
use syn::{Error, Fields, Generics, Item, Result};

use crate::api::{Case, Defined, Field, Payload, Shape};
use crate::attributes::{docs, unconditional};
use crate::names::Name;
use crate::types::{Scope, Type};

/// The name of an item that defines a type.
pub(crate) fn defines(item: &Item) -> Option<&Ident> {
    match item {
        Item::Struct(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        _ => None,
    }
}

/// Reads an item that defines a type.
pub(crate) fn read(item: &Item, scope: &Scope) -> Result<Option<Defined>> {
    let (ident, attributes, generics) = match item {
        Item::Struct(item) => (&item.ident, &item.attrs, &item.generics),
        Item::Enum(item) => (&item.ident, &item.attrs, &item.generics),
        Item::Type(item) => (&item.ident, &item.attrs, &item.generics),
        _ => return Ok(None),
    };
    no_generics(generics)?;
    unconditional(attributes)?;
    let name = Name::of(ident)?;
    let shape = match item {
        Item::Struct(item) => structure(&item.fields, ident, scope)?,
        Item::Enum(item) => enumeration(item, &name, scope)?,
        Item::Type(item) => Shape::Alias(scope.read(&item.ty)?),
        _ => return Ok(None),
    };
    Ok(Some(Defined { ident: ident.clone(), name, docs: docs(attributes), shape }))
}

/// Refuses `<T>` and `<'a>`.
pub(crate) fn no_generics(generics: &Generics) -> Result<()> {
    match generics.params.first() {
        Some(syn::GenericParam::Lifetime(lifetime)) => {
            Err(Error::new(lifetime.span(), "nothing is borrowed across the border: own what you hold"))
        }
        Some(other) => Err(Error::new(other.span(), "WIT has no generics: write a type for each use")),
        None => Ok(()),
    }
}

fn structure(fields: &Fields, ident: &Ident, scope: &Scope) -> Result<Shape> {
    let empty =
        || Error::new(ident.span(), "WIT has no record without fields: leave the parameter out, or give it a field");
    match fields {
        Fields::Named(named) if !named.named.is_empty() => Ok(Shape::Record(record(&named.named, scope)?)),
        Fields::Unnamed(unnamed) if !unnamed.unnamed.is_empty() => Ok(Shape::Newtype(tuple(&unnamed.unnamed, scope)?)),
        _ => Err(empty()),
    }
}

fn tuple<'f>(fields: impl IntoIterator<Item = &'f syn::Field>, scope: &Scope) -> Result<Vec<Type>> {
    let read = |field: &syn::Field| unconditional(&field.attrs).and_then(|()| scope.read(&field.ty));
    fields.into_iter().map(read).collect()
}

fn record<'f>(fields: impl IntoIterator<Item = &'f syn::Field>, scope: &Scope) -> Result<Vec<Field>> {
    let mut all: Vec<Field> = Vec::new();
    for field in fields {
        // Named fields have names.
        let Some(ident) = &field.ident else { continue };
        unconditional(&field.attrs)?;
        let name = Name::of(ident)?;
        if all.iter().any(|other| other.name == name) {
            return Err(Error::new(ident.span(), format!("another field is called `{}` in WIT, too", name.plain())));
        }
        all.push(Field { ident: ident.clone(), name, docs: docs(&field.attrs), ty: scope.read(&field.ty)? });
    }
    Ok(all)
}

fn enumeration(item: &syn::ItemEnum, name: &Name, scope: &Scope) -> Result<Shape> {
    let mut cases: Vec<Case> = Vec::new();
    for variant in &item.variants {
        unconditional(&variant.attrs)?;
        let case = Name::of(&variant.ident)?;
        if cases.iter().any(|other| other.name == case) {
            return Err(Error::new(variant.span(), format!("another case is called `{}` in WIT, too", case.plain())));
        }
        let payload = match &variant.fields {
            Fields::Unit => Payload::Nothing,
            Fields::Unnamed(unnamed) if !unnamed.unnamed.is_empty() => {
                Payload::Unnamed(tuple(&unnamed.unnamed, scope)?)
            }
            Fields::Named(named) if !named.named.is_empty() => {
                Payload::Named(name.with(case.plain()), record(&named.named, scope)?)
            }
            _ => return Err(Error::new(variant.span(), "a case without fields is written without brackets")),
        };
        cases.push(Case { ident: variant.ident.clone(), name: case, docs: docs(&variant.attrs), payload });
    }
    if cases.is_empty() {
        return Err(Error::new(item.ident.span(), "WIT has no enum without cases"));
    }
    let is_plain = cases.iter().all(|case| matches!(case.payload, Payload::Nothing));
    Ok(if is_plain { Shape::Enum(cases) } else { Shape::Variant(cases) })
}

impl Shape {
    /// All types that this one is made of.
    pub(crate) fn parts(&self) -> Vec<&Type> {
        match self {
            Shape::Record(fields) => fields.iter().map(|field| &field.ty).collect(),
            Shape::Newtype(types) => types.iter().collect(),
            Shape::Alias(ty) => vec![ty],
            Shape::Enum(_) => Vec::new(),
            Shape::Variant(cases) => cases
                .iter()
                .flat_map(|case| match &case.payload {
                    Payload::Nothing => Vec::new(),
                    Payload::Unnamed(types) => types.iter().collect(),
                    Payload::Named(_, fields) => fields.iter().map(|field| &field.ty).collect(),
                })
                .collect(),
        }
    }
}
