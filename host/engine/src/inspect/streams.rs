//! The resource form of streams: an endpoint that returns a resource with methods to send and to get messages.
//!
//! | methods | the endpoint is |
//! |---|---|
//! | `next: func() -> result<option<T>, E>` | a server stream |
//! | `send: func(item: T) -> result<_, E>` and `finish: func() -> result<R, E>` | a client stream |
//! | `next`, `send`, and perhaps `finish` | a stream both ways |
//!
//! The results may be plain (`option<T>`, nothing, `R`) where nothing can fail.

use super::types::Types;
use crate::schema::{Item, Native, Reply, Step, Stream, Type};
use std::sync::Arc;
use wit_parser::{Function, FunctionKind, Handle, Resolve, Type as Wit, TypeDefKind, TypeId, TypeOwner};

/// A stream, and the error that a function may return in its place: the outer option is whether it may, the inner one
/// whether the error has a type.
type Found = (Stream, Option<Option<Type>>);

/// How `function` streams, and the error that it may return in place of a stream; none if it returns no resource.
pub(super) fn of(resolve: &Resolve, types: &mut Types<'_>, function: &Function) -> Result<Option<Found>, String> {
    let Some(result) = &function.result else { return Ok(None) };
    if let Some(resource) = owned(resolve, result) {
        return read(resolve, types, resource).map(|stream| Some((stream, None)));
    }
    let Some((Some(ok), err)) = as_result(resolve, result) else { return Ok(None) };
    let Some(resource) = owned(resolve, ok) else { return Ok(None) };
    let err = err.map(|ty| types.read(ty)).transpose()?;
    read(resolve, types, resource).map(|stream| Some((stream, Some(err))))
}

fn read(resolve: &Resolve, types: &mut Types<'_>, resource: TypeId) -> Result<Stream, String> {
    let name = resolve.types[resource].name.as_deref().unwrap_or_default();
    let method = |wanted: &str| {
        let TypeOwner::Interface(owner) = resolve.types[resource].owner else { return None };
        resolve.interfaces[owner].functions.values().find(|function| {
            matches!(function.kind, FunctionKind::Method(id) | FunctionKind::AsyncMethod(id) if id == resource)
                && function.item_name() == wanted
        })
    };
    let problem = |method: &str, shape: &str| format!("resource {name}: {method} must be `{shape}`");
    let next_shape = "next: func() -> result<option<T>, E>";
    let gives = match method("next") {
        None => None,
        Some(next) if next.params.len() != 1 => return Err(problem("next", next_shape)),
        Some(next) => {
            let result = next.result.as_ref().map(|ty| types.read(ty)).transpose()?;
            let Reply { ok: Some(Type::Option(item)), err } = Reply::of(result) else {
                return Err(problem("next", next_shape));
            };
            Some(Step { item: Arc::unwrap_or_clone(item), err })
        }
    };
    let send_shape = "send: func(item: T) -> result<_, E>";
    let sends = match method("send") {
        None => None,
        Some(send) => {
            let [_, item] = send.params.as_slice() else { return Err(problem("send", send_shape)) };
            let result = send.result.as_ref().map(|ty| types.read(ty)).transpose()?;
            let Reply { ok: None, err } = Reply::of(result) else { return Err(problem("send", send_shape)) };
            Some(Step { item: types.read(&item.ty)?, err })
        }
    };
    let finish = match method("finish") {
        None => None,
        Some(finish) if finish.params.len() != 1 => {
            return Err(problem("finish", "finish: func() -> result<R, E>"));
        }
        Some(finish) => Some(Reply::of(finish.result.as_ref().map(|ty| types.read(ty)).transpose()?)),
    };
    match (&gives, &sends, &finish) {
        (None, None, _) => Err(format!(
            "it returns the resource {name}, which is no stream: a stream has a method `{next_shape}` or `{send_shape}`"
        )),
        (None, Some(_), None) => Err(format!(
            "resource {name} has `send` and neither `next` nor `finish`: the caller could not learn how it ended"
        )),
        _ => Ok(Stream { resource: name.into(), sends, gives, finish, native: None }),
    }
}

/// How `function` streams by `stream<T>`, and the error that it may return in place of a stream; none if it does not.
pub(super) fn native_of(
    resolve: &Resolve,
    types: &mut Types<'_>,
    function: &Function,
) -> Result<Option<Found>, String> {
    let mut sends_at = None;
    for (at, param) in function.params.iter().enumerate() {
        match (as_stream(resolve, &param.ty)?, sends_at) {
            (None, _) => {}
            (Some(item), None) => sends_at = Some((at, item)),
            (Some(_), Some(_)) => {
                return Err(format!("parameter {}: one stream is what a caller can send", param.name));
            }
        }
    }
    let mut err = None;
    let mut gives = None;
    if let Some(result) = &function.result {
        gives = as_stream(resolve, result)?;
        if let Some((Some(ok), side)) = as_result(resolve, result)
            && let Some(item) = as_stream(resolve, ok)?
        {
            gives = Some(item);
            err = Some(side.map(|ty| types.read(ty)).transpose()?);
        }
    }
    if gives.is_none() && sends_at.is_none() {
        return Ok(None);
    }
    let stream = Stream {
        resource: "".into(),
        sends: sends_at.map(|(_, item)| Step::native(item)),
        gives: gives.map(Step::native),
        finish: None,
        native: Some(Native { gives, sends_at, replies: gives.is_none() && function.result.is_some() }),
    };
    Ok(Some((stream, err)))
}

/// What a `stream<T>` carries.
pub(super) fn as_stream(resolve: &Resolve, ty: &Wit) -> Result<Option<Item>, String> {
    let Wit::Id(id) = ty else { return Ok(None) };
    let item = match &resolve.types[*id].kind {
        TypeDefKind::Type(alias) => return as_stream(resolve, alias),
        TypeDefKind::Stream(item) => item,
        _ => return Ok(None),
    };
    let is_bytes = |ty: &Wit| match ty {
        Wit::Id(id) => matches!(resolve.types[*id].kind, TypeDefKind::List(Wit::U8)),
        _ => false,
    };
    match item {
        Some(Wit::U8) => Ok(Some(Item::Byte)),
        Some(Wit::String) => Ok(Some(Item::Text)),
        Some(ty) if is_bytes(ty) => Ok(Some(Item::Bytes)),
        _ => {
            Err("a stream carries u8, string or list<u8>; for other types return a resource with a method `next`"
                .into())
        }
    }
}

/// The resource that an owned handle stands for.
fn owned(resolve: &Resolve, ty: &Wit) -> Option<TypeId> {
    let Wit::Id(id) = ty else { return None };
    match &resolve.types[*id].kind {
        TypeDefKind::Handle(Handle::Own(resource)) => Some(origin(resolve, *resource)),
        TypeDefKind::Type(alias) => owned(resolve, alias),
        _ => None,
    }
}

/// Where a type that is used under several names was declared.
fn origin(resolve: &Resolve, id: TypeId) -> TypeId {
    match &resolve.types[id].kind {
        TypeDefKind::Type(Wit::Id(other)) => origin(resolve, *other),
        _ => id,
    }
}

fn as_result<'r>(resolve: &'r Resolve, ty: &'r Wit) -> Option<(Option<&'r Wit>, Option<&'r Wit>)> {
    let Wit::Id(id) = ty else { return None };
    match &resolve.types[*id].kind {
        TypeDefKind::Result(result) => Some((result.ok.as_ref(), result.err.as_ref())),
        TypeDefKind::Type(alias) => as_result(resolve, alias),
        _ => None,
    }
}
