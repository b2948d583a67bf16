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
    let rows = [
        ("host", status.host.clone()),
        ("version", status.version.clone()),
        ("started", age(&status.started_at)),
        ("api", status.api_url()),
        ("sidecar", status.sidecar_url()),
        ("data dir", status.data_dir.clone()),
        ("deployments", status.deployments.to_string()),
        ("engines", engines_text(&status.engines)),
    ];
    table::pairs(&rows)
}

/// The engines, one on a line.
fn engines_text(engines: &serde_json::Value) -> String {
    match engines {
        serde_json::Value::Array(all) => all.iter().map(value_text).collect::<Vec<_>>().join("\n"),
        serde_json::Value::Null => String::new(),
        other => value_text(other),
    }
}

/// A JSON value as people read it: no quotes around texts, `key value` pairs for objects.
fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(fields) => {
            let name = fields.get("engine").map(value_text);
            let rest = fields.iter().filter(|(key, _)| *key != "engine");
            let rest = rest.map(|(key, value)| format!("{key} {}", value_text(value)));
            name.into_iter().chain(rest).collect::<Vec<_>>().join(", ")
        }
        serde_json::Value::Array(items) => items.iter().map(value_text).collect::<Vec<_>>().join(", "),
        serde_json::Value::Null => "none".to_owned(),
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
        let engines = serde_json::json!([
            {"engine": "lean", "pagemap_scan": true, "pool": 1000},
            {"engine": "concurrent", "pool": null},
        ]);
        assert_eq!(engines_text(&engines), "lean, pagemap_scan true, pool 1000\nconcurrent, pool none");
    }
}
