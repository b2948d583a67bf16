//! The program `micro`: a WebAssembly function host and the commands that work with it.

pub mod admin;
pub mod build;
pub mod command;
mod data_folder;
mod doors;
pub mod gateway;
mod pieces;
pub mod lines;
pub mod runtime;
pub mod server;
pub mod sidecar;
pub mod source;
pub mod telemetry;
mod threads;
pub mod tls;
mod whole_file;
