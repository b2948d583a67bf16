//! What only shows when everything has been read: names that meet in WIT, routes that name what is not there.

use proc_macro2::Ident;
use syn::{Error, Result};

use crate::api::{Api, Field, Payload, Shape};
use crate::names::Name;
use crate::types::Type;

/// WIT has one space of names for types and functions of an interface, and does not tell `UserId` from `user_id`.
pub(crate) fn names(api: &Api) -> Result<()> {
    let mut seen: Vec<(Name, &Ident)> = Vec::new();
    let mut errors = Errors::default();
    let mut keep = |name: Name, ident| {
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == name) {
            let wit = name.plain();
            errors.keep(Err(Error::new(
                Ident::span(ident),
                format!("`{ident}` and `{other}` are both `{wit}` in WIT: rename one of them"),
            )));
            return;
        }
        seen.push((name, ident));
    };
    for defined in &api.types {
        keep(defined.name.clone(), &defined.ident);
        if let Shape::Variant(cases) = &defined.shape {
            for case in cases {
                if let Payload::Named(name, _) = &case.payload {
                    keep(name.clone(), &case.ident);
                }
            }
        }
    }
    for function in &api.functions {
        keep(function.name.clone(), &function.ident);
        if let Some(name) = function.resource() {
            keep(name, &function.ident);
        }
    }
    errors.end()
}

/// What stands in braces in a route's path has to be something that the function takes.
pub(crate) fn routes(api: &Api) -> Result<()> {
    let mut errors = Errors::default();
    for function in &api.functions {
        let endpoint = Api::endpoint(&api.interface, &function.name);
        let mut known: Vec<&str> = function.parameters.iter().map(|(name, _)| name.plain()).collect();
        if let [(_, ty)] = function.parameters.as_slice()
            && let Some(fields) = fields(api, ty)
        {
            known = fields.iter().map(|field| field.name.plain()).collect();
        }
        for (route, _) in api.fragment.routes.iter().filter(|(_, of)| *of == endpoint) {
            for name in placeholders(&route.path) {
                if !known.iter().any(|known| *known == name.replace('_', "-")) {
                    errors.keep(Err(Error::new(
                        function.ident.span(),
                        format!("the route {} has {{{name}}}, but there is no such parameter or field", route.path),
                    )));
                }
            }
        }
    }
    errors.end()
}

/// The fields of the record that a type is, behind boxes and other names for it.
fn fields<'a>(api: &'a Api, ty: &Type) -> Option<&'a [Field]> {
    match ty {
        Type::Boxed(inner) => fields(api, inner),
        Type::User(ident) => match &api.defined(ident)?.shape {
            Shape::Record(all) => Some(all),
            Shape::Alias(ty) => fields(api, ty),
            Shape::Newtype(types) => match types.as_slice() {
                [ty] => fields(api, ty),
                _ => None,
            },
            Shape::Enum(_) | Shape::Variant(_) => None,
        },
        _ => None,
    }
}

/// The words in braces, without the marks that make one match more than a segment.
fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name.trim_start_matches('*').trim_end_matches("..."))
}

/// Errors on their way to the compiler, which shows them all.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn keep(&mut self, result: Result<()>) {
        let Err(error) = result else { return };
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.0.take().map_or(Ok(()), Err)
    }
}
