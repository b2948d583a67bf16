//! What the fuzz targets share: memory that has an end, types and components made from bytes.

pub mod component;
pub mod memory;
pub mod panics;
pub mod protos;
pub mod schema;
