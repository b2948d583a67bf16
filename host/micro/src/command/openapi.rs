//! `micro openapi`

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::{Options, print};

/// Print the OpenAPI document of the gateway: every endpoint of every deployment
#[derive(Debug, Args)]
pub struct Arguments {
    /// Write it to a file instead
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Prints.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let document = options.host()?.openapi().await?;
    let document = document.trim_end();
    match arguments.out {
        Some(file) => {
            std::fs::write(&file, format!("{document}\n")).with_context(|| format!("write {}", file.display()))
        }
        None => Ok(print::line(document)?),
    }
}
