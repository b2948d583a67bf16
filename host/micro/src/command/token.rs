//! `micro token`

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Options, Output, print};
use crate::admin::HostError;
use crate::sidecar;

/// Show the admin token, or replace it
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the token of the host whose data folder this is
    #[command(after_help = "With --output json: {\"token\"}.")]
    Show,
    /// Make a new token, which is in the file at once; the old one opens nothing any more
    #[command(after_help = "\
The host need not run. With --output json: {\"token\"}.")]
    Rotate,
}

/// Shows or replaces.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    match arguments.action {
        Action::Show => {
            let token = kept(options)?;
            match options.output {
                Output::Text => print::line(token)?,
                Output::Json => print::line(json!({ "token": token }))?,
            }
        }
        Action::Rotate => rotate(options).await?,
    }
    Ok(())
}

async fn rotate(options: &Options) -> Result<()> {
    let host = options.host()?;
    let place = host.token_file().to_path_buf();
    let done = format!("the admin token is a new one, in {}; the old one opens nothing any more", place.display());
    match host.rotate_token().await {
        Ok(answer) => options.print(&answer, |_| done)?,
        // A host that does not run has nothing in its hands but the file. Somebody who names an address means that host.
        Err(HostError::NotReachable { .. }) if !host.address().is_given() && place.exists() => {
            sidecar::replace_token(&place).with_context(|| format!("write {}", place.display()))?;
            match options.output {
                Output::Text => print::line(done)?,
                Output::Json => print::line(json!({ "token": kept(options)? }))?,
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn kept(options: &Options) -> Result<String> {
    let place = options.host()?.token_file().to_path_buf();
    let text = std::fs::read_to_string(&place).map_err(|error| HostError::no_token(place, &error))?;
    Ok(text.trim().to_owned())
}
