//! The host as its users see it. One binary, a module per topic.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_calls;
mod bodies;
mod cli;
mod cli_services;
mod commands;
mod crash;
mod deploys;
mod doors;
mod everything;
mod functions;
mod imports;
mod oci;
mod openapi;
mod raw;
mod reload;
mod rollouts;
mod schedules;
mod sdk;
mod services;
mod sources;
mod streams;
mod types;
