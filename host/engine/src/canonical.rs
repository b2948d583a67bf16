//! [`Value`]s into and out of a guest's memory, by the canonical ABI.
//!
//! wasmtime's own dynamic values carry every field name and box every byte of a list; a photo would cost forty times its
//! size. Here a [`Value`] is written to and read from guest memory directly, walking wasmtime's types, so that `list<u8>`
//! is one copy. The traits behind typed functions are used for that: they are open to implementors outside wasmtime
//! (`bindgen!` needs them), and they pass the component's real type along with every value.
//!
//! # Safety
//!
//! Nothing here trusts the schema that a [`Value`] was made from: each value is matched against the type that wasmtime
//! holds for the function being called, every access to guest memory is bounds-checked, and the number of core values is
//! checked before any is written. A mismatch is an error and never a wild write.

mod lift;
mod lower;

use crate::value::Value;
use lift::{lift_flat, load};
use lower::lower_flat;
use std::mem::MaybeUninit;
use wasmtime::component::__internal::wasmtime_environ::component::VariantInfo;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, ComponentTypes, InstanceType, InterfaceType, LiftContext, LowerContext,
};
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Lower};
use wasmtime::{Result, ValRaw, bail, format_err};

/// The canonical ABI passes this many core values as such; more go through memory.
pub(crate) const MAX_FLAT_PARAMS: usize = 16;

/// The arguments of a call whose core values number at most [`MAX_FLAT_PARAMS`].
pub(crate) struct Arguments(pub(crate) Vec<Value>);

/// A result that comes back as one core value, or none.
pub(crate) struct StackResult(pub(crate) Option<Value>);

/// A result that comes back in memory.
pub(crate) struct HeapResult(pub(crate) Option<Value>);

// SAFETY: `Lower` is an array of `ValRaw`. `ABI` is only consulted for values in memory, which arguments of this many
// core values never are.
unsafe impl ComponentType for Arguments {
    type Lower = [ValRaw; MAX_FLAT_PARAMS];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: each value is checked against the type it is lowered to.
unsafe impl ComponentNamedList for Arguments {}

// SAFETY: all of `dst` is initialised before any value is lowered, and a function with more core values is refused.
unsafe impl Lower for Arguments {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let slots = dst.write([ValRaw::u64(0); MAX_FLAT_PARAMS]);
        let InterfaceType::Tuple(index) = ty else { bail!("a function's parameters are a tuple") };
        if cx.types.canonical_abi(&ty).flat_count(MAX_FLAT_PARAMS).is_none() {
            bail!("more than {MAX_FLAT_PARAMS} core values");
        }
        let types = &cx.types[index].types;
        check_count(types.len(), self.0.len())?;
        let mut slots = slots.iter_mut();
        for (ty, value) in types.iter().zip(&self.0) {
            lower_flat(cx, *ty, value, &mut slots)?;
        }
        Ok(())
    }

    fn linear_lower_to_memory<T>(&self, _: &mut LowerContext<'_, T>, _: InterfaceType, _: usize) -> Result<()> {
        bail!("arguments are never lowered to memory")
    }
}

// SAFETY: one `ValRaw`.
unsafe impl ComponentType for StackResult {
    type Lower = [ValRaw; 1];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: the result is lifted by its real type.
unsafe impl ComponentNamedList for StackResult {}

// SAFETY: a result of more than one core value is refused before `src` is read.
unsafe impl Lift for StackResult {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> Result<Self> {
        if cx.types.canonical_abi(&ty).flat_count(1).is_none() {
            bail!("the result is in memory");
        }
        let mut src = src.iter();
        only_result(cx, ty)?.map(|ty| lift_flat(cx, ty, &mut src)).transpose().map(StackResult)
    }

    fn linear_lift_from_memory(_: &mut LiftContext<'_>, _: InterfaceType, _: &[u8]) -> Result<Self> {
        bail!("the result is not in memory")
    }
}

// SAFETY: two `ValRaw`, which tells wasmtime that the result lies in memory. `ABI` claims no bytes and no alignment, so
// that the slice it hands over is empty and only says where the result begins; the bounds are checked below.
unsafe impl ComponentType for HeapResult {
    type Lower = [ValRaw; 2];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: the result is lifted by its real type.
unsafe impl ComponentNamedList for HeapResult {}

// SAFETY: the place and the size of the result are checked against the memory and the real type.
unsafe impl Lift for HeapResult {
    fn linear_lift_from_flat(_: &mut LiftContext<'_>, _: InterfaceType, _: &Self::Lower) -> Result<Self> {
        bail!("the result is in memory")
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, start: &[u8]) -> Result<Self> {
        let abi = cx.types.canonical_abi(&ty);
        if abi.flat_count(1).is_some() {
            bail!("the result is not in memory");
        }
        let memory = cx.memory();
        let offset = (start.as_ptr() as usize).wrapping_sub(memory.as_ptr() as usize);
        if !offset.is_multiple_of(abi.align32 as usize) {
            bail!("the result's address is not aligned");
        }
        let bytes = slice(memory, offset, abi.size32 as usize)?;
        only_result(cx, ty)?.map(|ty| load(cx, ty, bytes)).transpose().map(HeapResult)
    }
}

/// A function has one result or none; both come as a tuple.
fn only_result(cx: &LiftContext<'_>, ty: InterfaceType) -> Result<Option<InterfaceType>> {
    match ty {
        InterfaceType::Tuple(index) => match &*cx.types[index].types {
            [] => Ok(None),
            [ty] => Ok(Some(*ty)),
            _ => bail!("more than one result"),
        },
        _ => bail!("a function's results are a tuple"),
    }
}

/// The payload type of each case of something that is lowered as a variant, and its layout.
fn cases(
    types: &ComponentTypes,
    ty: InterfaceType,
    case: u32,
) -> Result<Option<(&VariantInfo, Option<InterfaceType>)>> {
    let case = case as usize;
    let unknown = || format_err!("case {case} does not exist");
    Ok(Some(match ty {
        InterfaceType::Variant(index) => {
            let variant = &types[index];
            (&variant.info, *variant.cases.get_index(case).ok_or_else(unknown)?.1)
        }
        InterfaceType::Enum(index) => {
            let names = &types[index];
            if case >= names.names.len() {
                return Err(unknown());
            }
            (&names.info, None)
        }
        InterfaceType::Option(index) => {
            let option = &types[index];
            (&option.info, *[None, Some(option.ty)].get(case).ok_or_else(unknown)?)
        }
        InterfaceType::Result(index) => {
            let result = &types[index];
            (&result.info, *[result.ok, result.err].get(case).ok_or_else(unknown)?)
        }
        _ => return Ok(None),
    }))
}

fn slice(bytes: &[u8], offset: usize, size: usize) -> Result<&[u8]> {
    let rest = bytes.get(offset..).and_then(|rest| rest.get(..size));
    rest.ok_or_else(|| format_err!("an address outside of memory"))
}

fn flat_count(types: &ComponentTypes, ty: InterfaceType) -> usize {
    types.canonical_abi(&ty).flat_count(usize::MAX).unwrap_or(usize::MAX)
}

fn discriminant_size(types: &ComponentTypes, ty: InterfaceType) -> usize {
    // Every variant has a first case, and all its cases share one layout.
    match cases(types, ty, 0) {
        Ok(Some((layout, _))) => layout.size.into(),
        _ => 1,
    }
}

fn flags_size(count: usize) -> Result<usize> {
    match count {
        0 => Ok(0),
        1..=8 => Ok(1),
        9..=16 => Ok(2),
        17..=32 => Ok(4),
        _ => bail!("more than 32 flags"),
    }
}

fn check_count(wanted: usize, given: usize) -> Result<()> {
    if wanted == given {
        return Ok(());
    }
    bail!("expected {wanted} values, got {given}")
}
