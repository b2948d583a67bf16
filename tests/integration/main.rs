//! The host as its users see it. One binary, a module per topic.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod abuse;
mod bad_calls;
mod bodies;
mod capabilities;
mod cli;
mod cli_services;
mod commands;
mod crash;
mod density;
mod deploys;
mod doors;
mod events;
mod everything;
mod faults;
mod functions;
mod imports;
mod limits;
mod logs;
mod metrics;
mod oci;
mod openapi;
mod raw;
mod reload;
mod rollouts;
mod schedules;
mod sdk;
mod services;
mod slow_callers;
mod sources;
mod streams;
mod trust;
mod traces;
mod types;
mod web;
mod web_ends;
