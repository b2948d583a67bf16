//! The program `micro`: a WebAssembly function host and the commands that work with it.

pub mod admin;
pub mod build;
pub mod command;
pub mod gateway;
pub mod lines;
pub mod runtime;
pub mod server;
pub mod sidecar;
pub mod source;
pub mod tls;
mod whole_file;
