//! What the integration tests stand on: a host, the guests it serves, and the program run from outside.
//!
//! ```no_run
//! # use micro_tests::{Host, json};
//! # async fn test() {
//! let host = Host::start().await;
//! host.deploy("echo").await;
//! let reply = host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await;
//! assert_eq!(reply.json(), json!({"result": 3}));
//! # }
//! ```
//!
//! Nothing here sleeps to let something happen: [`until`] waits for a condition, and [`DEADLINE`] ends a wait in vain.
#![expect(clippy::expect_used, clippy::panic, reason = "a harness ends the test that uses it by panicking")]

mod client;
mod guests;
mod host;
mod http;
mod lines;
mod process;
mod program;
mod reply;
mod signal;
mod wait;
mod wire;

pub use client::Client;
pub use guests::{MARKER, built_guest, function, guest, versioned, with_manifest};
pub use host::Host;
pub use http::{Connection, Parts, Upload};
pub use lines::Lines;
pub use micro::server::Options;
pub use process::HostProcess;
pub use program::{Outcome, Program, workspace};
pub use reply::Reply;
pub use rustix::process::Signal;
pub use serde_json::{Value, json};
pub use signal::signal;
pub use wait::{DEADLINE, until};
pub use wire::{Frame, HTTP2, Wire};
