//! The host as its users see it. One binary, a module per topic.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_calls;
mod bodies;
mod cli;
mod crash;
mod deploys;
mod doors;
mod everything;
mod functions;
mod imports;
mod openapi;
mod reload;
mod rollouts;
mod services;
mod streams;
mod types;
