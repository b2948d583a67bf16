//! `micro status`

use anyhow::Result;
use clap::Args;

use super::layout::{age, size, table};
use super::{Options, Output, print};
use crate::admin::{Deployment, Revision, Status};

/// Show how the host is, or one deployment with its revisions
#[derive(Debug, Args)]
#[command(after_help = "\
With --output json: {\"version\", \"host\", \"started_at\", \"api_address\", \"sidecar_address\", \"data_dir\", \
\"engines\", \"deployments\"}; for NAME the deployment as `micro deploy` prints it.")]
pub struct Arguments {
    /// A deployment
    name: Option<String>,
}

/// Shows.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let host = options.host()?;
    let Some(name) = arguments.name else {
        let answer = host.status().await?;
        options.print(&answer, host_layout)?;
        return Ok(());
    };
    let answer = host.deployment(&name).await?;
    if options.output == Output::Json {
        print::line(&answer.json)?;
        return Ok(());
    }
    let revisions = host.revisions(&name).await?.value.revisions;
    print::line(deployment_layout(&answer.value, &revisions))?;
    Ok(())
}

fn host_layout(status: &Status) -> String {
    let mut rows = vec![
        ("host", status.host.clone()),
        ("version", status.version.clone()),
        ("started", age(&status.started_at)),
        ("api", status.api_url()),
        ("sidecar", format!("http://{}", status.sidecar_address.trim_start_matches("http://"))),
        ("data dir", status.data_dir.clone()),
        ("deployments", status.deployments.to_string()),
    ];
    let engines: Vec<(String, String)> =
        status.engines.iter().map(|(name, value)| (format!("engines {name}"), value_text(value))).collect();
    rows.extend(engines.iter().map(|(name, value)| (name.as_str(), value.clone())));
    table::pairs(&rows)
}

/// A JSON value as people read it: no quotes around texts, `key value` pairs for objects.
fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key} {}", value_text(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        serde_json::Value::Array(items) => items.iter().map(value_text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn deployment_layout(deployment: &Deployment, revisions: &[Revision]) -> String {
    let Deployment { limits, stats, .. } = deployment;
    let loaded = if deployment.loaded { "in memory" } else { "loaded on the next call" };
    let rows = [
        ("name", deployment.name.clone()),
        ("version", deployment.version.clone()),
        ("kind", deployment.kind.clone()),
        ("state", deployment.state.clone()),
        ("detail", deployment.detail.clone()),
        ("revision", deployment.revision.to_string()),
        ("digest", deployment.digest.clone()),
        ("size", size(deployment.size)),
        ("deployed", age(&deployment.deployed_at)),
        ("engine", format!("{}, {loaded}", deployment.engine)),
        (
            "limits",
            format!(
                "memory {}, timeout {}, concurrency {}, queue {}",
                limits.memory, limits.timeout, limits.concurrency, limits.queue
            ),
        ),
        (
            "calls",
            format!(
                "{} answered, {} of them with an error, {} running, {} waiting",
                stats.calls, stats.errors, stats.in_flight, stats.queued
            ),
        ),
        ("endpoints", table::list(&deployment.endpoints)),
        ("imports", table::list(&deployment.imports)),
        ("warnings", deployment.warnings.join("\n")),
    ];
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut text = table::pairs(&rows);
    if !revisions.is_empty() {
        let rows: Vec<[String; 5]> = revisions.iter().map(revision_row).collect();
        text.push_str("\n\n");
        text.push_str(&table::columns(["REVISION", "VERSION", "SIZE", "DEPLOYED", "DIGEST"], &rows));
    }
    text
}

fn revision_row(revision: &Revision) -> [String; 5] {
    let mark = if revision.current { " *" } else { "" };
    [
        format!("{}{mark}", revision.number),
        revision.version.clone(),
        size(revision.size),
        age(&revision.deployed_at),
        revision.digest.chars().take("sha256:".len() + 12).collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_shown_with_its_revisions() {
        let revision = |number, current| Revision {
            number,
            current,
            digest: format!("sha256:{}", "ab".repeat(32)),
            ..Revision::default()
        };
        let deployment = Deployment { name: "greeter".into(), revision: 2, ..Deployment::default() };
        let text = deployment_layout(&deployment, &[revision(2, true), revision(1, false)]);
        assert!(text.starts_with("name       greeter\nrevision   2\n"), "{text}");
        let table = "\n\nREVISION  VERSION  SIZE  DEPLOYED  DIGEST
2 *       n/a      0 B   n/a       sha256:abababababab
1         n/a      0 B   n/a       sha256:abababababab";
        assert!(text.ends_with(table), "{text}");
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }

    #[test]
    fn the_state_of_the_engines_is_readable() {
        let value = serde_json::json!({"memories": 1000, "pagemap_scan": true, "kinds": ["lean"]});
        assert_eq!(value_text(&value), "kinds lean, memories 1000, pagemap_scan true");
    }
}
