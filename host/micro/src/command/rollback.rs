//! `micro rollback`

use anyhow::Result;
use clap::Args;

use super::Options;

/// Go back to an earlier revision of a deployment
#[derive(Debug, Args)]
#[command(after_help = "\
`micro status NAME` lists the revisions. With --output json: the deployment, as `micro deploy` prints it.")]
pub struct Arguments {
    /// The deployment
    name: String,

    /// The revision [default: the one before the current]
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
}

/// Goes back.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let answer = options.host()?.rollback(&arguments.name, arguments.revision).await?;
    options.print(&answer, |now| {
        format!("{} is {} at revision {}\n  digest  {}", now.name, now.state, now.revision, now.digest)
    })?;
    Ok(())
}
