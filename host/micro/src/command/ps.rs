//! `micro ps`

use anyhow::Result;
use clap::Args;

use super::layout::{age, table};
use super::{Options, Output, print};
use crate::admin::{Deployment, Page};

/// List the deployments
#[derive(Debug, Default, Args)]
#[command(after_help = "\
With --output json: {\"deployments\": [deployment, …], \"total\": N}, each as `micro deploy` prints it.")]
pub struct Arguments {
    /// List so many at most
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// List only those whose names come after this one
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
}

/// Lists.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let page = Page { limit: arguments.limit, after: arguments.after };
    let answer = options.host()?.deployments(&page).await?;
    let (shown, total) = (answer.value.deployments.len(), answer.value.total);
    if shown == 0 && total > 0 && options.output == Output::Text {
        print::remark(format!("none of the {total} deployments"));
        return Ok(());
    }
    if answer.value.deployments.is_empty() && options.output == Output::Text {
        print::remark("nothing is deployed; 'micro deploy' does that");
        return Ok(());
    }
    options.print(&answer, |all| layout(&all.deployments))?;
    if shown < total && options.output == Output::Text {
        print::remark(format!("{shown} of {total} deployments"));
    }
    Ok(())
}

fn layout(deployments: &[Deployment]) -> String {
    let mut rows: Vec<[String; 11]> = deployments.iter().map(row).collect();
    rows.sort();
    let heading =
        ["NAME", "VERSION", "REVISION", "KIND", "STATE", "REPLICAS", "CANARY", "ENGINE", "CALLS", "ERRORS", "DEPLOYED"];
    table::columns(heading, &rows)
}

fn row(deployment: &Deployment) -> [String; 11] {
    let replicas = deployment.replicas.as_ref();
    [
        deployment.name.clone(),
        deployment.version.clone(),
        deployment.revision.to_string(),
        if deployment.command.is_some() { "command".into() } else { deployment.kind.clone() },
        deployment.state.clone(),
        replicas.map(|replicas| format!("{}/{}", replicas.ready, replicas.wanted)).unwrap_or_default(),
        deployment.canary.as_ref().map(|canary| format!("{}%", canary.percent)).unwrap_or_default(),
        deployment.engine.clone(),
        deployment.stats.calls.to_string(),
        deployment.stats.errors.to_string(),
        age(&deployment.deployed_at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Canary, Replicas};

    #[test]
    fn deployments_are_sorted_and_aligned() {
        let deployment = |name: &str, version: &str| Deployment {
            name: name.into(),
            version: version.into(),
            kind: "function".into(),
            state: "ready".into(),
            engine: "lean".into(),
            revision: 12,
            ..Deployment::default()
        };
        let desk = Deployment {
            kind: "service".into(),
            replicas: Some(Replicas { ready: 1, wanted: 2, ..Replicas::default() }),
            canary: Some(Canary { percent: 2.5, ..Canary::default() }),
            ..deployment("desk", "2")
        };
        let text = layout(&[deployment("zoo", "1"), deployment("demo.greeter", ""), desk]);
        assert_eq!(
            text,
            "NAME          VERSION  REVISION  KIND      STATE  REPLICAS  CANARY  ENGINE  CALLS  ERRORS  DEPLOYED
demo.greeter  n/a      12        function  ready  n/a       n/a     lean    0      0       n/a
desk          2        12        service   ready  1/2       2.5%    lean    0      0       n/a
zoo           1        12        function  ready  n/a       n/a     lean    0      0       n/a"
        );
    }
}
