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

use crate::value::Value;
use bytes::Bytes;
use std::mem::MaybeUninit;
use std::slice::{Iter, IterMut};
use wasmtime::component::__internal::wasmtime_environ::component::{TypeListIndex, TypeMapIndex, VariantInfo};
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
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

/// The reply did not fit the budget that one call has for data from guest to host.
#[derive(Debug, thiserror::Error)]
#[error("the reply is too large")]
pub(crate) struct ReplyTooLarge;

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
    types: &wasmtime::component::__internal::ComponentTypes,
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

fn lower_flat<T>(
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    value: &Value,
    dst: &mut IterMut<'_, ValRaw>,
) -> Result<()> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::Record(index), Value::Record(values)) => {
            let fields = &types[index].fields;
            check_count(fields.len(), values.len())?;
            fields.iter().zip(values).try_for_each(|(field, value)| lower_flat(cx, field.ty, value, dst))
        }
        (InterfaceType::Tuple(index), Value::Record(values)) => {
            let items = &types[index].types;
            check_count(items.len(), values.len())?;
            items.iter().zip(values).try_for_each(|(ty, value)| lower_flat(cx, *ty, value, dst))
        }
        (InterfaceType::FixedLengthList(index), Value::List(values)) => {
            let list = &types[index];
            check_count(list.size as usize, values.len())?;
            values.iter().try_for_each(|value| lower_flat(cx, list.element, value, dst))
        }
        (_, Value::Variant(case, payload)) => {
            let Some((_, payload_ty)) = cases(types, ty, *case)? else { return mismatch(value) };
            put(dst, ValRaw::u32(*case))?;
            let used = match (payload_ty, payload) {
                (Some(ty), Some(value)) => {
                    lower_flat(cx, ty, value, dst)?;
                    flat_count(types, ty)
                }
                (None, None) => 0,
                _ => return mismatch(value),
            };
            (1 + used..flat_count(types, ty)).try_for_each(|_| put(dst, ValRaw::u64(0)))
        }
        (InterfaceType::String, Value::String(text)) => {
            let mut pair = MaybeUninit::<[ValRaw; 2]>::uninit();
            text.linear_lower_to_flat(cx, ty, &mut pair)?;
            // SAFETY: lowering a string initialises its pointer and its length.
            let [pointer, length] = unsafe { pair.assume_init() };
            put(dst, pointer)?;
            put(dst, length)
        }
        (InterfaceType::List(_) | InterfaceType::Map(_), _) => {
            let (pointer, length) = lower_sequence(cx, ty, value)?;
            put(dst, ValRaw::i64(pointer as i64))?;
            put(dst, ValRaw::i64(length as i64))
        }
        _ => put(dst, scalar(ty, value)?.0),
    }
}

/// A scalar as its core value and as its bytes in memory (the first so many of them).
fn scalar(ty: InterfaceType, value: &Value) -> Result<(ValRaw, u64, usize)> {
    fn narrow<N: TryFrom<M>, M>(number: M) -> Result<N> {
        N::try_from(number).map_err(|_| format_err!("the number is out of range"))
    }
    Ok(match (ty, value) {
        (InterfaceType::Bool, Value::Bool(flag)) => (ValRaw::u32(u32::from(*flag)), u64::from(*flag), 1),
        (InterfaceType::U8, Value::Unsigned(number)) => {
            let number: u8 = narrow(*number)?;
            (ValRaw::u32(number.into()), number.into(), 1)
        }
        (InterfaceType::U16, Value::Unsigned(number)) => {
            let number: u16 = narrow(*number)?;
            (ValRaw::u32(number.into()), number.into(), 2)
        }
        (InterfaceType::U32, Value::Unsigned(number)) => {
            let number: u32 = narrow(*number)?;
            (ValRaw::u32(number), number.into(), 4)
        }
        (InterfaceType::U64, Value::Unsigned(number)) => (ValRaw::u64(*number), *number, 8),
        (InterfaceType::S8, Value::Signed(number)) => {
            let number: i8 = narrow(*number)?;
            (ValRaw::i32(number.into()), u64::from(number as u8), 1)
        }
        (InterfaceType::S16, Value::Signed(number)) => {
            let number: i16 = narrow(*number)?;
            (ValRaw::i32(number.into()), u64::from(number as u16), 2)
        }
        (InterfaceType::S32, Value::Signed(number)) => {
            let number: i32 = narrow(*number)?;
            (ValRaw::i32(number), u64::from(number as u32), 4)
        }
        (InterfaceType::S64, Value::Signed(number)) => (ValRaw::i64(*number), *number as u64, 8),
        (InterfaceType::Float32, Value::F32(number)) => (ValRaw::f32(number.to_bits()), number.to_bits().into(), 4),
        (InterfaceType::Float64, Value::F64(number)) => (ValRaw::f64(number.to_bits()), number.to_bits(), 8),
        (InterfaceType::Char, Value::Char(char)) => (ValRaw::u32(*char as u32), u64::from(*char as u32), 4),
        (InterfaceType::Flags(_), Value::Flags(bits)) => (ValRaw::u32(*bits), u64::from(*bits), 4),
        _ => return mismatch(value),
    })
}

fn store<T>(cx: &mut LowerContext<'_, T>, ty: InterfaceType, value: &Value, offset: usize) -> Result<()> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::Record(index), Value::Record(values)) => {
            let fields = &types[index].fields;
            check_count(fields.len(), values.len())?;
            let mut next = offset;
            for (field, value) in fields.iter().zip(values) {
                let at = types.canonical_abi(&field.ty).next_field32_size(&mut next);
                store(cx, field.ty, value, at)?;
            }
            Ok(())
        }
        (InterfaceType::Tuple(index), Value::Record(values)) => {
            let items = &types[index].types;
            check_count(items.len(), values.len())?;
            let mut next = offset;
            for (ty, value) in items.iter().zip(values) {
                let at = types.canonical_abi(ty).next_field32_size(&mut next);
                store(cx, *ty, value, at)?;
            }
            Ok(())
        }
        (InterfaceType::FixedLengthList(index), Value::List(values)) => {
            let list = &types[index];
            check_count(list.size as usize, values.len())?;
            let size = types.canonical_abi(&list.element).size32 as usize;
            values.iter().enumerate().try_for_each(|(n, value)| store(cx, list.element, value, offset + n * size))
        }
        (_, Value::Variant(case, payload)) => {
            let Some((layout, payload_ty)) = cases(types, ty, *case)? else { return mismatch(value) };
            let case = case.to_le_bytes();
            write(cx, offset, &case[..usize::from(layout.size)])?;
            match (payload_ty, payload) {
                (Some(ty), Some(value)) => store(cx, ty, value, offset + layout.payload_offset32 as usize),
                (None, None) => Ok(()),
                _ => mismatch(value),
            }
        }
        (InterfaceType::String, Value::String(text)) => {
            check_room(cx, offset, 8)?;
            text.linear_lower_to_memory(cx, ty, offset)
        }
        (InterfaceType::List(_) | InterfaceType::Map(_), _) => {
            let (pointer, length) = lower_sequence(cx, ty, value)?;
            write(cx, offset, &u32::try_from(pointer)?.to_le_bytes())?;
            write(cx, offset + 4, &u32::try_from(length)?.to_le_bytes())
        }
        (InterfaceType::Flags(index), Value::Flags(bits)) => {
            let size = flags_size(types[index].names.len())?;
            write(cx, offset, &bits.to_le_bytes()[..size])
        }
        _ => {
            let (_, bits, size) = scalar(ty, value)?;
            write(cx, offset, &bits.to_le_bytes()[..size])
        }
    }
}

/// Puts a list or a map into memory that the guest allocates, and says where it is and how many items it has.
fn lower_sequence<T>(cx: &mut LowerContext<'_, T>, ty: InterfaceType, value: &Value) -> Result<(usize, usize)> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::List(index), Value::Bytes(bytes)) if types[index].element == InterfaceType::U8 => {
            let pointer = cx.realloc(0, 0, 1, bytes.len())?;
            write(cx, pointer, bytes)?;
            Ok((pointer, bytes.len()))
        }
        (InterfaceType::List(index), Value::List(values)) => {
            let element = types[index].element;
            let abi = types.canonical_abi(&element);
            let size = abi.size32 as usize;
            let pointer = allocate(cx, values.len(), size, abi.align32)?;
            for (n, value) in values.iter().enumerate() {
                store(cx, element, value, pointer + n * size)?;
            }
            Ok((pointer, values.len()))
        }
        (InterfaceType::Map(index), Value::Map(entries)) => {
            let map = &types[index];
            let size = map.entry_abi.size32 as usize;
            let pointer = allocate(cx, entries.len(), size, map.entry_abi.align32)?;
            for (n, (key, value)) in entries.iter().enumerate() {
                let at = pointer + n * size;
                store(cx, map.key, key, at)?;
                store(cx, map.value, value, at + map.value_offset32 as usize)?;
            }
            Ok((pointer, entries.len()))
        }
        _ => mismatch(value),
    }
}

fn allocate<T>(cx: &mut LowerContext<'_, T>, count: usize, size: usize, align: u32) -> Result<usize> {
    let bytes = count.checked_mul(size).ok_or_else(|| format_err!("a list larger than memory"))?;
    cx.realloc(0, 0, align, bytes)
}

fn lift_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &mut Iter<'_, ValRaw>) -> Result<Value> {
    let types = cx.types;
    match ty {
        InterfaceType::Record(index) => types[index]
            .fields
            .iter()
            .map(|field| lift_flat(cx, field.ty, src))
            .collect::<Result<_>>()
            .map(Value::Record),
        InterfaceType::Tuple(index) => {
            types[index].types.iter().map(|ty| lift_flat(cx, *ty, src)).collect::<Result<_>>().map(Value::Record)
        }
        InterfaceType::FixedLengthList(index) => {
            let list = &types[index];
            (0..list.size).map(|_| lift_flat(cx, list.element, src)).collect::<Result<_>>().map(Value::List)
        }
        InterfaceType::Variant(_) | InterfaceType::Enum(_) | InterfaceType::Option(_) | InterfaceType::Result(_) => {
            let case = take(src)?.get_u32();
            let payload_ty = cases(types, ty, case)?.and_then(|(_, payload)| payload);
            let payload = payload_ty.map(|ty| lift_flat(cx, ty, src).map(Box::new)).transpose()?;
            Ok(Value::Variant(case, payload))
        }
        // One core value is too few for a pointer and a length.
        InterfaceType::String | InterfaceType::List(_) | InterfaceType::Map(_) => bail!("the result is in memory"),
        InterfaceType::Flags(index) => {
            flags_size(types[index].names.len())?;
            Ok(Value::Flags(take(src)?.get_u32()))
        }
        _ => {
            let raw = take(src)?;
            let bits = match ty {
                InterfaceType::U64 | InterfaceType::S64 => raw.get_u64(),
                InterfaceType::Float64 => raw.get_f64(),
                InterfaceType::Float32 => raw.get_f32().into(),
                _ => raw.get_u32().into(),
            };
            from_bits(ty, bits)
        }
    }
}

fn load(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> Result<Value> {
    let types = cx.types;
    match ty {
        InterfaceType::Record(index) => {
            let fields = &types[index].fields;
            spend(cx, fields.len(), size_of::<Value>())?;
            let mut next = 0;
            let values = fields.iter().map(|field| {
                let abi = types.canonical_abi(&field.ty);
                let at = abi.next_field32_size(&mut next);
                load(cx, field.ty, slice(bytes, at, abi.size32 as usize)?)
            });
            values.collect::<Result<_>>().map(Value::Record)
        }
        InterfaceType::Tuple(index) => {
            let items = &types[index].types;
            spend(cx, items.len(), size_of::<Value>())?;
            let mut next = 0;
            let values = items.iter().map(|ty| {
                let abi = types.canonical_abi(ty);
                let at = abi.next_field32_size(&mut next);
                load(cx, *ty, slice(bytes, at, abi.size32 as usize)?)
            });
            values.collect::<Result<_>>().map(Value::Record)
        }
        InterfaceType::FixedLengthList(index) => {
            let list = &types[index];
            load_items(cx, list.element, bytes, list.size as usize).map(Value::List)
        }
        InterfaceType::Variant(_) | InterfaceType::Enum(_) | InterfaceType::Option(_) | InterfaceType::Result(_) => {
            let size = discriminant_size(types, ty);
            let case = from_le(slice(bytes, 0, size)?) as u32;
            let payload = match cases(types, ty, case)? {
                Some((layout, Some(ty))) => {
                    spend(cx, 1, size_of::<Value>())?;
                    let size = types.canonical_abi(&ty).size32 as usize;
                    Some(Box::new(load(cx, ty, slice(bytes, layout.payload_offset32 as usize, size)?)?))
                }
                _ => None,
            };
            Ok(Value::Variant(case, payload))
        }
        InterfaceType::String => {
            let length = from_le(slice(bytes, 4, 4)?) as usize;
            spend(cx, length & !(1 << 31), 1)?;
            String::linear_lift_from_memory(cx, ty, bytes).map(Value::String)
        }
        InterfaceType::List(index) => load_list(cx, index, bytes),
        InterfaceType::Map(index) => load_map(cx, index, bytes),
        InterfaceType::Flags(index) => {
            let size = flags_size(types[index].names.len())?;
            Ok(Value::Flags(from_le(slice(bytes, 0, size)?) as u32))
        }
        _ => from_bits(ty, from_le(bytes)),
    }
}

fn load_list(cx: &mut LiftContext<'_>, index: TypeListIndex, pair: &[u8]) -> Result<Value> {
    let element = cx.types[index].element;
    let abi = cx.types.canonical_abi(&element);
    let (items, length) = items(cx, pair, abi)?;
    if element == InterfaceType::U8 {
        spend(cx, length, 1)?;
        return Ok(Value::Bytes(Bytes::copy_from_slice(items)));
    }
    load_items(cx, element, items, length).map(Value::List)
}

fn load_items(cx: &mut LiftContext<'_>, element: InterfaceType, items: &[u8], length: usize) -> Result<Vec<Value>> {
    let size = cx.types.canonical_abi(&element).size32 as usize;
    spend(cx, length, size_of::<Value>())?;
    (0..length).map(|n| load(cx, element, slice(items, n * size, size)?)).collect()
}

fn load_map(cx: &mut LiftContext<'_>, index: TypeMapIndex, pair: &[u8]) -> Result<Value> {
    let types = cx.types;
    let map = &types[index];
    let (items, length) = items(cx, pair, &map.entry_abi)?;
    spend(cx, length, 2 * size_of::<Value>())?;
    let size = map.entry_abi.size32 as usize;
    let (key_size, value_size) = (types.canonical_abi(&map.key).size32, types.canonical_abi(&map.value).size32);
    let entries = (0..length).map(|n| {
        let entry = slice(items, n * size, size)?;
        let key = load(cx, map.key, slice(entry, 0, key_size as usize)?)?;
        let value = load(cx, map.value, slice(entry, map.value_offset32 as usize, value_size as usize)?)?;
        Ok((key, value))
    });
    entries.collect::<Result<_>>().map(Value::Map)
}

/// The memory that a pointer and a length speak of.
fn items<'m>(cx: &LiftContext<'m>, pair: &[u8], abi: &CanonicalAbiInfo) -> Result<(&'m [u8], usize)> {
    let pointer = from_le(slice(pair, 0, 4)?) as usize;
    let length = from_le(slice(pair, 4, 4)?) as usize;
    if !pointer.is_multiple_of(abi.align32 as usize) {
        bail!("a list's address is not aligned");
    }
    let size = length.checked_mul(abi.size32 as usize).ok_or_else(|| format_err!("a list larger than memory"))?;
    Ok((slice(cx.memory(), pointer, size)?, length))
}

fn from_bits(ty: InterfaceType, bits: u64) -> Result<Value> {
    Ok(match ty {
        InterfaceType::Bool => Value::Bool(bits as u32 != 0),
        InterfaceType::U8 => Value::Unsigned((bits as u8).into()),
        InterfaceType::U16 => Value::Unsigned((bits as u16).into()),
        InterfaceType::U32 => Value::Unsigned((bits as u32).into()),
        InterfaceType::U64 => Value::Unsigned(bits),
        InterfaceType::S8 => Value::Signed((bits as i8).into()),
        InterfaceType::S16 => Value::Signed((bits as i16).into()),
        InterfaceType::S32 => Value::Signed((bits as i32).into()),
        InterfaceType::S64 => Value::Signed(bits as i64),
        InterfaceType::Float32 => Value::F32(f32::from_bits(bits as u32)),
        InterfaceType::Float64 => Value::F64(f64::from_bits(bits)),
        InterfaceType::Char => Value::Char(char::from_u32(bits as u32).ok_or_else(|| format_err!("not a character"))?),
        _ => bail!("a resource, stream or future has no place in a message"),
    })
}

fn from_le(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    let length = bytes.len().min(8);
    wide[..length].copy_from_slice(&bytes[..length]);
    u64::from_le_bytes(wide)
}

fn slice(bytes: &[u8], offset: usize, size: usize) -> Result<&[u8]> {
    let rest = bytes.get(offset..).and_then(|rest| rest.get(..size));
    rest.ok_or_else(|| format_err!("an address outside of memory"))
}

fn write<T>(cx: &mut LowerContext<'_, T>, offset: usize, bytes: &[u8]) -> Result<()> {
    let place = cx.as_slice_mut().get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.ok_or_else(|| format_err!("an address outside of memory"))?.copy_from_slice(bytes);
    Ok(())
}

fn check_room<T>(cx: &mut LowerContext<'_, T>, offset: usize, size: usize) -> Result<()> {
    slice(cx.as_slice_mut(), offset, size).map(drop)
}

fn put(dst: &mut IterMut<'_, ValRaw>, raw: ValRaw) -> Result<()> {
    *dst.next().ok_or_else(|| format_err!("more core values than the function takes"))? = raw;
    Ok(())
}

fn take<'a>(src: &mut Iter<'a, ValRaw>) -> Result<&'a ValRaw> {
    src.next().ok_or_else(|| format_err!("fewer core values than the result has"))
}

fn spend(cx: &mut LiftContext<'_>, count: usize, size: usize) -> Result<()> {
    cx.consume_fuel_array(count, size).map_err(|_| wasmtime::Error::new(ReplyTooLarge))
}

fn flat_count(types: &wasmtime::component::__internal::ComponentTypes, ty: InterfaceType) -> usize {
    types.canonical_abi(&ty).flat_count(usize::MAX).unwrap_or(usize::MAX)
}

fn discriminant_size(types: &wasmtime::component::__internal::ComponentTypes, ty: InterfaceType) -> usize {
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

fn mismatch<T>(value: &Value) -> Result<T> {
    bail!("a value of another type than the function takes: {value:.80?}")
}
