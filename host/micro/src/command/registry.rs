//! `micro registry`: the older spelling of `micro list` and `micro get`.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{Options, get, list};

/// List services, or show one
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::Arguments),
    Get(get::Arguments),
}

/// Does as `list` and `get` do.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    match arguments.verb {
        Verb::List(arguments) => list::run(arguments, options).await,
        Verb::Get(arguments) => get::run(arguments, options).await,
    }
}
