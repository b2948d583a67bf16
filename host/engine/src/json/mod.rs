//! JSON ↔ component values, straight against the schema.
//!
//! | WIT | JSON out | JSON in, as well |
//! |---|---|---|
//! | record | object, `snake_case` keys | `kebab-case` and `camelCase` keys |
//! | list, tuple | array | |
//! | list&lt;u8&gt; | base64 string | URL-safe and unpadded base64; array of numbers |
//! | map | object, keys as text | |
//! | option | value or `null` | the field left out |
//! | option of an option | `null`, or `{"some": …}` | |
//! | variant | `"case"` or `{"case": value}` | `{"case": null}` |
//! | enum, flags | string, array of strings | |
//! | 64-bit integers | number up to 2^53, else string | both |
//! | f32, f64 | number, or `"NaN"`, `"Infinity"`, `"-Infinity"` | |
//! | result inside a value | `{"ok": …}`, `{"err": …}` | `"ok"`, `"err"` when nothing is carried |
//!
//! Unknown fields, missing fields and wrong types are refused with their place.

mod place;
mod read;
mod write;

pub(crate) use read::expected;
pub use read::{read_fields, read_given_fields, read_value};
pub(crate) use write::key_text;
pub use write::{write_reply, write_value};

/// The largest integer that every JSON reader keeps exact.
const EXACT_INTEGERS: u64 = 1 << 53;

#[cfg(test)]
mod tests;
