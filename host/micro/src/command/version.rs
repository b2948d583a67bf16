//! `micro version`

use anyhow::Result;
use clap::Args;

use super::{Options, Output, print};

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Print the version of this program
#[derive(Debug, Args)]
#[command(after_help = "With --output json: {\"version\"}.")]
pub struct Arguments {}

/// Prints.
pub fn run(_: Arguments, options: &Options) -> Result<()> {
    match options.output {
        Output::Text => print::line(format!("micro {VERSION}"))?,
        Output::Json => print::line(serde_json::json!({ "version": VERSION }))?,
    }
    Ok(())
}
