//! `micro wit`

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Options, Output, print};

/// Print the WIT by which other guests import what a deployment exports
#[derive(Debug, Args)]
#[command(after_help = "\
Written into the `wit/deps` folder of another package, with `import demo:greeter/say;` in its world, it makes a client \
whose types are checked when it is built:
  micro wit greeter > wit/deps/greeter.wit

With --output json: {\"name\", \"wit\"}.")]
pub struct Arguments {
    /// The deployment
    name: String,
}

/// Prints.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let wit = options.host()?.wit(&arguments.name).await?;
    match options.output {
        Output::Text => print::text(wit.trim_end())?,
        Output::Json => print::line(json!({ "name": arguments.name, "wit": wit }))?,
    }
    Ok(())
}
