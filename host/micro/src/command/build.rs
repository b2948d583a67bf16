//! `micro build`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::layout::{size, table};
use super::{Options, Output, deploy, print};
use crate::build::Package;
use crate::build::source::Source as Local;

/// Build the function in a folder into one .wasm file, with its manifest inside
#[derive(Debug, Args)]
#[command(after_help = "\
The folder holds a micro.toml, or a Cargo.toml to take name and version from. A crate is built with cargo for \
wasm32-wasip2; any other language needs
  [build]
  command = \"…\"         run by sh in that folder
  output = \"….wasm\"     where the component then lies

With --output json: {\"name\", \"file\", \"size\", \"digest\"}.")]
pub struct Arguments {
    /// The folder with the micro.toml or the crate
    #[arg(default_value = ".", hide_default_value = true)]
    dir: PathBuf,

    /// Where to put the component [default: DIR/target/micro/NAME.wasm]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Builds.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let package = Package::read(&arguments.dir)?;
    let built = deploy::component(&Local::Package(Box::new(package.clone())).into()).await?;
    let file = match arguments.out {
        Some(file) => file,
        // Below the folder as it was named, which is the shorter way to say it.
        None => match package.default_output().strip_prefix(&package.dir) {
            Ok(rest) => arguments.dir.join(rest),
            Err(_) => package.default_output(),
        },
    };
    built.write(&file)?;
    let bytes = built.component.len() as u64;
    match options.output {
        Output::Json => print::line(serde_json::json!({
            "name": package.name(), "file": file, "size": bytes, "digest": built.digest,
        }))?,
        Output::Text => print::line(table::pairs(&[
            ("file", file.display().to_string()),
            ("size", size(bytes)),
            ("digest", built.digest),
        ]))?,
    }
    Ok(())
}
