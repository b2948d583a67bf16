//! `micro promote`

use anyhow::Result;
use clap::Args;

use super::Options;

/// Give all calls to the revision that a canary deploy tries
#[derive(Debug, Args)]
#[command(after_help = "\
`micro status NAME` shows how the canary does; `micro rollback NAME` takes it out instead. With --output json: the \
deployment, as `micro deploy` prints it.")]
pub struct Arguments {
    /// The deployment
    name: String,
}

/// Promotes.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let answer = options.host()?.promote(&arguments.name).await?;
    options.print(&answer, |now| {
        format!("{} is {} at revision {}\n  digest  {}", now.name, now.state, now.revision, now.digest)
    })?;
    Ok(())
}
