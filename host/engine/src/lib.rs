//! Turns wasm bytes into callable endpoints.
//!
//! A component is *inspected* (its WIT becomes a schema, from the bytes alone), *compiled* once into an authenticated
//! cache, *loaded* into one of two engines, and then *called*: JSON, a query string or bytes become component values
//! against the schema, a fresh instance runs within its limits, and its reply goes back the same way.
//!
//! This is the only crate that names wasmtime.

pub mod error;
pub mod name;
pub mod schema;
pub mod section;
pub mod manifest;
pub mod docs;
pub mod module;
pub mod inspect;
pub mod proto;
pub mod wit;
pub mod compat;
pub mod value;
pub mod json;
pub mod query;
pub mod log;
pub mod limits;
pub mod usage;
pub mod engines;
pub mod cache;
pub mod loaded;
mod canonical;
mod dynamic;
mod trap;
mod fair;
pub mod egress;
pub mod secret;
pub mod capability;
pub mod access;
mod bindings;
pub mod program;
mod live;
pub mod outcome;
mod lifecycle;
pub mod command;
mod streaming;
pub mod actor;
pub mod native;
pub mod web;

pub use access::{Access, Granted, Scope};
pub use actor::Actor;
pub use engines::Engines;
pub use error::{CallError, LoadError};
pub use inspect::{Inspection, inspect};
pub use manifest::Manifest;
pub use program::{Callable, Deadline, Program};
pub use proto::Protos;
pub use usage::{GuestMemory, Usage};
pub use value::Value;
pub use web::WebRequest;
