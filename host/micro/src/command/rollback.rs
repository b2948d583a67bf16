//! `micro rollback`

use anyhow::Result;
use clap::Args;

use super::Options;

/// Go back to an earlier revision of a deployment, or take its canary out
#[derive(Debug, Args)]
#[command(after_help = "\
Without a number, a canary is taken out if there is one. `micro status NAME` lists the revisions. With --output json: the deployment, as `micro deploy` prints it.")]
pub struct Arguments {
    /// The deployment
    name: String,

    /// The revision [default: the one before the current, or the current if there is a canary]
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
}

/// Goes back.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let host = options.host()?;
    // A host that says nothing of it still rolls back.
    let before = host.deployment(&arguments.name).await.ok().and_then(|answer| answer.value.canary);
    let answer = host.rollback(&arguments.name, arguments.revision).await?;
    let taken_out = before.filter(|_| answer.value.canary.is_none());
    options.print(&answer, |now| {
        let canary = taken_out.map(|canary| format!("; canary revision {} is taken out", canary.revision));
        let canary = canary.unwrap_or_default();
        format!("{} is {} at revision {}{canary}\n  digest  {}", now.name, now.state, now.revision, now.digest)
    })?;
    Ok(())
}
