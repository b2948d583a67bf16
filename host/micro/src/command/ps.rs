//! `micro ps`

use anyhow::Result;
use clap::Args;

use super::layout::{age, table};
use super::{Options, Output, print};
use crate::admin::Deployment;

/// List the deployments
#[derive(Debug, Args)]
#[command(after_help = "With --output json: {\"deployments\": [deployment, …]}, each as `micro deploy` prints it.")]
pub struct Arguments {}

/// Lists.
pub async fn run(_: Arguments, options: &Options) -> Result<()> {
    let answer = options.host()?.deployments().await?;
    if answer.value.deployments.is_empty() && options.output == Output::Text {
        print::remark("nothing is deployed; 'micro deploy' does that");
        return Ok(());
    }
    options.print(&answer, |all| layout(&all.deployments))?;
    Ok(())
}

fn layout(deployments: &[Deployment]) -> String {
    let mut rows: Vec<[String; 8]> = deployments.iter().map(row).collect();
    rows.sort();
    table::columns(["NAME", "VERSION", "REVISION", "STATE", "ENGINE", "CALLS", "ERRORS", "DEPLOYED"], &rows)
}

fn row(deployment: &Deployment) -> [String; 8] {
    [
        deployment.name.clone(),
        deployment.version.clone(),
        deployment.revision.to_string(),
        deployment.state.clone(),
        deployment.engine.clone(),
        deployment.stats.calls.to_string(),
        deployment.stats.errors.to_string(),
        age(&deployment.deployed_at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_sorted_and_aligned() {
        let deployment = |name: &str, version: &str| Deployment {
            name: name.into(),
            version: version.into(),
            state: "ready".into(),
            engine: "lean".into(),
            revision: 12,
            ..Deployment::default()
        };
        let text = layout(&[deployment("zoo", "1"), deployment("demo.greeter", "")]);
        assert_eq!(
            text,
            "NAME          VERSION  REVISION  STATE  ENGINE  CALLS  ERRORS  DEPLOYED
demo.greeter  n/a      12        ready  lean    0      0       n/a
zoo           1        12        ready  lean    0      0       n/a"
        );
    }
}
