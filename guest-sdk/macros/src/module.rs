//! Reads the module or the function below an attribute, and puts everything together.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Item, ItemFn, ItemMod, Pat, Result, ReturnType, Visibility};

use crate::api::{Api, Defined, Docs, Function, Lifecycle, Moment, Reply, StreamType};
use crate::attributes::{Arguments, Kind, Marks, docs, unconditional};
use crate::check::{self, Errors};
use crate::fragment::Fragment;
use crate::names::Name;
use crate::types::{Scope, Shared, Type, arguments, is_unit};
use crate::{expand, items, sdk};

/// What an attribute leaves in place of its item.
pub(crate) fn expand(kind: Kind, arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::read(kind, arguments)?;
    let sdk = match &arguments.sdk {
        Some(path) => path.clone(),
        None => sdk::path()?,
    };
    let (item, api) = read(kind, arguments, syn::parse2(item)?, &sdk_name(&sdk))?;
    let glue = expand::glue(&api, &sdk);
    match item {
        Item::Mod(mut module) => {
            // Inside the module, where it sees the private functions, too.
            module.content.iter_mut().for_each(|(_, items)| items.push(Item::Verbatim(glue.clone())));
            Ok(module.into_token_stream())
        }
        // The interface is the crate's own, so there can be one such function only: of a second one, the compiler says
        // that the glue's name is taken.
        other => Ok(quote!(#other #glue)),
    }
}

/// Reads the item, and takes our attributes out of it.
pub(crate) fn read(kind: Kind, arguments: Arguments, item: Item, sdk: &str) -> Result<(Item, Api)> {
    let package = Name::of_crate(&std::env::var("CARGO_PKG_NAME").unwrap_or_default());
    let fragment = Fragment {
        is_service: kind == Kind::Service,
        limits: arguments.limits,
        service: arguments.service,
        ..Fragment::default()
    };
    let mut api = Api {
        interface: package.clone(),
        package,
        docs: Docs::default(),
        types: Vec::new(),
        functions: Vec::new(),
        lifecycle: Vec::new(),
        fragment,
    };
    let item = match item {
        Item::Mod(module) => Item::Mod(read_module(module, &mut api, sdk)?),
        Item::Fn(function) => Item::Fn(read_function(function, &mut api, sdk)?),
        other => {
            let place = "this attribute stands above a module with `pub fn`s, or above one function";
            return Err(Error::new(other.span(), place));
        }
    };
    check::names(&api)?;
    check::routes(&api)?;
    Ok((item, api))
}

fn read_module(mut module: ItemMod, api: &mut Api, sdk: &str) -> Result<ItemMod> {
    let span = module.span();
    let Some((_, items)) = &mut module.content else {
        return Err(Error::new(span, "the module has to stand here, `mod name { … }`: the attribute reads it"));
    };
    api.interface = Name::of(&module.ident)?;
    api.docs = docs(&module.attrs);
    api.fragment.description = api.docs.summary();
    read_items(items, api, sdk)?;
    if api.functions.is_empty() && api.lifecycle.is_empty() {
        return Err(Error::new(module.ident.span(), "nothing to call in here: an endpoint is a `pub fn`"));
    }
    Ok(module)
}

fn read_function(mut function: ItemFn, api: &mut Api, sdk: &str) -> Result<ItemFn> {
    let marks = Marks::take(&mut function.attrs)?;
    if let Some((_, span)) = marks.lifecycle {
        return Err(Error::new(span, "a function by itself is an endpoint: put both into a module and mark that"));
    }
    api.fragment.description = docs(&function.attrs).summary();
    read_endpoint(&function, marks, api, &Scope { local: &[], is_module: false, sdk })?;
    Ok(function)
}

fn sdk_name(sdk: &TokenStream) -> String {
    sdk.to_string().rsplit("::").next().unwrap_or_default().trim().to_owned()
}

/// Reads all items, and tells all that is wrong at once.
fn read_items(items: &mut [Item], api: &mut Api, sdk: &str) -> Result<()> {
    let local: Vec<Ident> = items.iter().filter_map(|item| items::defines(item).cloned()).collect();
    let scope = Scope { local: &local, is_module: true, sdk };
    let mut errors = Errors::default();
    for item in items.iter_mut() {
        let Item::Fn(function) = item else { continue };
        let read = Marks::take(&mut function.attrs).and_then(|marks| match marks.lifecycle {
            Some((what, span)) => read_moment(function, what, span, &marks, api),
            None if matches!(function.vis, Visibility::Public(_)) => read_endpoint(function, marks, api, &scope),
            None => marks.endpoint.map_or(Ok(()), |span| {
                Err(Error::new(span, "only an endpoint can be called from outside: write `pub fn`"))
            }),
        });
        errors.keep(read);
    }
    errors.end()?;
    read_types(items, api, &scope)
}

/// Reads the types that functions need, and those that these need, each after those it is made of.
fn read_types(items: &[Item], api: &mut Api, scope: &Scope) -> Result<()> {
    fn add(ident: &Ident, items: &[Item], scope: &Scope, path: &mut Vec<Ident>, done: &mut Vec<Defined>) -> Result<()> {
        if done.iter().any(|defined| defined.ident == *ident) {
            return Ok(());
        }
        if path.contains(ident) {
            let around = path.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ");
            return Err(Error::new(
                ident.span(),
                format!("`{ident}` holds itself ({around} → {ident}), which no WIT type can: refer to it by a key"),
            ));
        }
        let item = items.iter().find(|item| items::defines(item) == Some(ident));
        let Some(defined) = item.map(|item| items::read(item, scope)).transpose()?.flatten() else { return Ok(()) };
        path.push(ident.clone());
        for ident in used(defined.shape.parts()) {
            add(&ident, items, scope, path, done)?;
        }
        path.pop();
        done.push(defined);
        Ok(())
    }
    let mut errors = Errors::default();
    for ident in used(api.functions.iter().flat_map(Function::types)) {
        errors.keep(add(&ident, items, scope, &mut Vec::new(), &mut api.types));
    }
    errors.end()
}

/// The module's types among these.
fn used<'t>(types: impl IntoIterator<Item = &'t Type>) -> Vec<Ident> {
    let mut found = Vec::new();
    for ty in types {
        ty.visit(&mut |ty| {
            if let Type::User(ident) = ty {
                found.push(ident.clone());
            }
        });
    }
    found
}

fn read_endpoint(function: &ItemFn, marks: Marks, api: &mut Api, scope: &Scope) -> Result<()> {
    let signature = &function.sig;
    unconditional(&function.attrs)?;
    items::no_generics(&signature.generics)?;
    if let Some(token) = &signature.unsafety {
        return Err(Error::new(token.span(), "callers cannot promise what an unsafe function asks for"));
    }
    let name = Name::of(&signature.ident)?;
    let mut parameters: Vec<(Name, Type)> = Vec::new();
    for input in &signature.inputs {
        let FnArg::Typed(input) = input else {
            return Err(Error::new(input.span(), "an endpoint is a function: keep state in a static"));
        };
        let Pat::Ident(pattern) = &*input.pat else {
            return Err(Error::new(input.pat.span(), "callers need a name here: take it apart inside the function"));
        };
        let parameter = Name::of(&pattern.ident)?;
        if parameters.iter().any(|(other, _)| *other == parameter) {
            return Err(Error::new(pattern.span(), "another parameter has this name in WIT, too"));
        }
        parameters.push((parameter, scope.read(&input.ty)?));
    }
    let (reply, span) = match &signature.output {
        ReturnType::Default => (Reply::Nothing, signature.span()),
        ReturnType::Type(_, ty) => (read_reply(ty, scope)?, ty.span()),
    };
    let endpoint = Api::endpoint(&api.interface, &name);
    api.fragment.routes.extend(marks.routes.into_iter().map(|(route, _)| (route, endpoint.clone())));
    api.fragment.schedules.extend(marks.schedules.into_iter().map(|schedule| (schedule, endpoint.clone())));
    api.fragment.subscribes.extend(marks.subscribes.into_iter().map(|subscribe| (subscribe, endpoint.clone())));
    let (docs, is_async) = (docs(&function.attrs), signature.asyncness.is_some());
    api.functions.push(Function { ident: signature.ident.clone(), name, docs, is_async, parameters, reply, span });
    Ok(())
}

fn read_reply(ty: &syn::Type, scope: &Scope) -> Result<Reply> {
    if is_unit(ty) {
        return Ok(Reply::Nothing);
    }
    if let Some(stream) = read_stream(ty, scope)? {
        return Ok(Reply::Stream { stream, error: None });
    }
    if let syn::Type::Path(path) = ty
        && let Some(last) = path.path.segments.last()
        && last.ident == "Result"
        && !scope.is_foreign(&path.path)
        && let [ok, rest @ ..] = arguments(last)?.as_slice()
        && let Some(stream) = read_stream(ok, scope)?
    {
        let error = match rest {
            [error, ..] => scope.read(error)?,
            [] => Type::Shared(Shared::Error),
        };
        return Ok(Reply::Stream { stream, error: Some(error) });
    }
    scope.read(ty).map(Reply::Value)
}

fn read_stream(ty: &syn::Type, scope: &Scope) -> Result<Option<StreamType>> {
    let syn::Type::Path(path) = ty else { return Ok(None) };
    let Some(last) = path.path.segments.last() else { return Ok(None) };
    if scope.is_foreign(&path.path) || scope.local.contains(&last.ident) {
        return Ok(None);
    }
    let name = last.ident.to_string();
    if !["Stream", "Upload", "Exchange"].contains(&name.as_str()) {
        return Ok(None);
    }
    match (name.as_str(), arguments(last)?.as_slice()) {
        ("Stream", [item]) => Ok(Some(StreamType::Server(scope.read(item)?))),
        ("Upload", [item, reply]) => Ok(Some(StreamType::Client(scope.read(item)?, scope.read(reply)?))),
        ("Exchange", [item, reply]) => Ok(Some(StreamType::Both(scope.read(item)?, scope.read(reply)?))),
        _ => Err(Error::new(ty.span(), "write Stream<T>, Upload<Item, Reply> or Exchange<In, Out>")),
    }
}

fn read_moment(function: &ItemFn, what: Lifecycle, span: Span, marks: &Marks, api: &mut Api) -> Result<()> {
    let signature = &function.sig;
    unconditional(&function.attrs)?;
    if let Some(span) = marks.endpoint {
        return Err(Error::new(span, "this function is called by the host alone: it is no endpoint"));
    }
    if api.lifecycle.iter().any(|other| other.what == what) {
        return Err(Error::new(span, format!("another function is marked `{}`", what.as_str())));
    }
    if let Some(token) = &signature.asyncness {
        return Err(Error::new(token.span(), "the host waits for this function: write `fn`"));
    }
    let wanted = usize::from(what == Lifecycle::Restore);
    if signature.inputs.len() != wanted {
        let shape = match what {
            Lifecycle::Restore => "takes what was saved: `fn restore(state: Vec<u8>) -> Result<(), String>`",
            Lifecycle::Save => "takes nothing: `fn save() -> Vec<u8>`",
            _ => "takes nothing",
        };
        return Err(Error::new(signature.span(), format!("a `{}` function {shape}", what.as_str())));
    }
    let by_reference = matches!(
        signature.inputs.first(),
        Some(FnArg::Typed(input)) if matches!(*input.ty, syn::Type::Reference(_))
    );
    api.lifecycle.push(Moment { what, ident: signature.ident.clone(), by_reference });
    Ok(())
}

#[cfg(test)]
#[path = "module_tests.rs"]
mod tests;
