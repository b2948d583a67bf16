//! Core values and memory back into values.

use super::{cases, discriminant_size, flags_size, slice};
use crate::limits::ReplyTooLarge;
use crate::value::Value;
use bytes::Bytes;
use std::slice::Iter;
use wasmtime::component::__internal::wasmtime_environ::component::{TypeListIndex, TypeMapIndex};
use wasmtime::component::__internal::{CanonicalAbiInfo, InterfaceType, LiftContext};
use wasmtime::component::Lift;
use wasmtime::{Result, ValRaw, bail, format_err};

/// Reads a value from core values.
pub(super) fn lift_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &mut Iter<'_, ValRaw>) -> Result<Value> {
    let types = cx.types;
    match ty {
        InterfaceType::Record(index) => lift_parts(cx, types[index].fields.iter().map(|field| field.ty), src),
        InterfaceType::Tuple(index) => lift_parts(cx, types[index].types.iter().copied(), src),
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

/// Reads a record or a tuple, whose parts are of these types, from core values.
fn lift_parts(
    cx: &mut LiftContext<'_>,
    parts: impl Iterator<Item = InterfaceType>,
    src: &mut Iter<'_, ValRaw>,
) -> Result<Value> {
    parts.map(|ty| lift_flat(cx, ty, src)).collect::<Result<_>>().map(Value::Record)
}

/// Reads a value from its bytes in memory.
pub(super) fn load(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> Result<Value> {
    let types = cx.types;
    match ty {
        InterfaceType::Record(index) => load_parts(cx, types[index].fields.iter().map(|field| field.ty), bytes),
        InterfaceType::Tuple(index) => load_parts(cx, types[index].types.iter().copied(), bytes),
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
        // wasmtime counts the text itself.
        InterfaceType::String => String::linear_lift_from_memory(cx, ty, slice(bytes, 0, 8)?).map(Value::String),
        InterfaceType::List(index) => load_list(cx, index, bytes),
        InterfaceType::Map(index) => load_map(cx, index, bytes),
        InterfaceType::Flags(index) => {
            let size = flags_size(types[index].names.len())?;
            Ok(Value::Flags(from_le(slice(bytes, 0, size)?) as u32))
        }
        _ => from_bits(ty, from_le(bytes)),
    }
}

/// Reads a record or a tuple, whose parts are of these types, from its bytes in memory.
fn load_parts(
    cx: &mut LiftContext<'_>,
    parts: impl ExactSizeIterator<Item = InterfaceType>,
    bytes: &[u8],
) -> Result<Value> {
    spend(cx, parts.len(), size_of::<Value>())?;
    let mut next = 0;
    let values = parts.map(|ty| {
        let abi = cx.types.canonical_abi(&ty);
        let at = abi.next_field32_size(&mut next);
        load(cx, ty, slice(bytes, at, abi.size32 as usize)?)
    });
    values.collect::<Result<_>>().map(Value::Record)
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

fn take<'a>(src: &mut Iter<'a, ValRaw>) -> Result<&'a ValRaw> {
    src.next().ok_or_else(|| format_err!("fewer core values than the result has"))
}

fn spend(cx: &mut LiftContext<'_>, count: usize, size: usize) -> Result<()> {
    cx.consume_fuel_array(count, size).map_err(|_| wasmtime::Error::new(ReplyTooLarge))
}
