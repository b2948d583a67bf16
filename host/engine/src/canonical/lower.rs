//! Values into core values and into memory.

use super::{cases, check_count, flags_size, flat_count, slice};
use crate::value::Value;
use std::mem::MaybeUninit;
use std::slice::IterMut;
use wasmtime::component::__internal::{InterfaceType, LowerContext};
use wasmtime::component::Lower;
use wasmtime::{Result, ValRaw, bail, format_err};

/// Writes a value as core values.
pub(super) fn lower_flat<T>(
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    value: &Value,
    dst: &mut IterMut<'_, ValRaw>,
) -> Result<()> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::Record(index), Value::Record(values)) => {
            lower_parts(cx, types[index].fields.iter().map(|field| field.ty), values, dst)
        }
        (InterfaceType::Tuple(index), Value::Record(values)) => {
            lower_parts(cx, types[index].types.iter().copied(), values, dst)
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

/// Writes a record or a tuple, whose parts are of these types, as core values.
fn lower_parts<T>(
    cx: &mut LowerContext<'_, T>,
    parts: impl ExactSizeIterator<Item = InterfaceType>,
    values: &[Value],
    dst: &mut IterMut<'_, ValRaw>,
) -> Result<()> {
    check_count(parts.len(), values.len())?;
    let mut parts = parts.zip(values);
    parts.try_for_each(|(ty, value)| lower_flat(cx, ty, value, dst))
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
            store_parts(cx, types[index].fields.iter().map(|field| field.ty), values, offset)
        }
        (InterfaceType::Tuple(index), Value::Record(values)) => {
            store_parts(cx, types[index].types.iter().copied(), values, offset)
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

/// Writes a record or a tuple, whose parts are of these types, into memory.
fn store_parts<T>(
    cx: &mut LowerContext<'_, T>,
    parts: impl ExactSizeIterator<Item = InterfaceType>,
    values: &[Value],
    offset: usize,
) -> Result<()> {
    check_count(parts.len(), values.len())?;
    let mut next = offset;
    for (ty, value) in parts.zip(values) {
        let at = cx.types.canonical_abi(&ty).next_field32_size(&mut next);
        store(cx, ty, value, at)?;
    }
    Ok(())
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

fn mismatch<T>(value: &Value) -> Result<T> {
    bail!("a value of another type than the function takes: {value:.80?}")
}
