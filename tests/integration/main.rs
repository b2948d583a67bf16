//! The host as its users see it. One binary, a module per topic.

mod bad_calls;
mod bodies;
mod cli;
mod crash;
mod deploys;
mod doors;
mod everything;
mod functions;
mod openapi;
mod reload;
mod types;
