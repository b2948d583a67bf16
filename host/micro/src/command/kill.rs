//! `micro kill`

use anyhow::Result;
use clap::Args;

use super::Options;

/// Take a deployment away: calls that run come to their end, new ones find no such service
#[derive(Debug, Args)]
#[command(after_help = "With --output json: the deployment as it was, as `micro deploy` prints it.")]
pub struct Arguments {
    /// The deployment
    pub name: String,
}

/// Removes.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let answer = options.host()?.remove(&arguments.name).await?;
    options.print(&answer, |was| format!("{} is removed; it was at revision {}", was.name, was.revision))?;
    Ok(())
}
