//! `micro get service`

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Options;
use super::failure::Failure;
use super::layout::service;

/// Show one thing of the catalogue
#[derive(Debug, Args)]
#[command(after_help = "With --output json: an array of service records, one for each version.")]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What to show.
#[derive(Debug, Subcommand)]
pub enum What {
    /// A service: its nodes, and its endpoints with their requests and responses
    Service {
        /// The service's name
        name: Option<String>,
    },
}

/// Shows.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let What::Service { name } = arguments.what;
    service(name, options).await
}

/// Prints one service.
pub async fn service(name: Option<String>, options: &Options) -> Result<()> {
    let Some(name) = name else {
        return Err(Failure::usage("require service name").on_stdout().into());
    };
    match options.host()?.service(&name).await {
        Ok(answer) if answer.value.is_empty() => Err(unknown()),
        Ok(answer) => Ok(options.print(&answer, |services| service::layout(services))?),
        Err(error) if error.is_not_found() => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn unknown() -> anyhow::Error {
    Failure::plain("service not found").on_stdout().into()
}
