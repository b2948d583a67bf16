//! `micro list services`

use std::collections::BTreeSet;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Options;

/// List what is in the catalogue
#[derive(Debug, Args)]
#[command(after_help = "With --output json: an array of service records, as the registry lists them.")]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What to list.
#[derive(Debug, Subcommand)]
pub enum What {
    /// The names of all services
    Services,
}

/// Lists.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let What::Services = arguments.what;
    services(options).await
}

/// Prints the names of all services, sorted, one on a line.
pub async fn services(options: &Options) -> Result<()> {
    let answer = options.host()?.services().await?;
    options.print(&answer, |services| {
        let names: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
        names.into_iter().collect::<Vec<_>>().join("\n")
    })?;
    Ok(())
}
