//! `micro status`

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::layout::{self, age, grants, size, table, took, until};
use super::{Options, Output, print};
use crate::admin::deployment::Doors;
use crate::admin::{Canary, Code, Deployment, GuestMemory, Replicas, Revision, Schedule, Stats, Status, Subscription};
use micro_engine::manifest::{Limit, Unit};

/// Show how the host is, or one deployment with its revisions
#[derive(Debug, Args)]
#[command(after_help = "\
With --output json: {\"version\", \"host\", \"namespace\", \"started_at\", \"api_address\", \"sidecar_address\", \"data_dir\", \
\"engines\", \"doors\": {\"gateway\": {\"connections\", \"refused\"}, \"sidecar\": {…}, \"max_connections\", \"requests\", \
\"max_requests\", \"body_bytes\", \"max_body_bytes\", \"shed\", \"slow\"}, \
\"code\": {\"loaded\", \"bytes\", \"budget\", \"loads\", \"unloads\"}, \
\"guest_memory\": {\"used\", \"limit\", \"refusals\"}, \"deployments\"}; for NAME the deployment as `micro deploy` prints it, \
with \"schedules\": [{\"cron\", \"endpoint\", \"timezone\", \"next\", \"last\": {\"at\", \"outcome\", \"code\", \"detail\", \
\"took_ms\"}, \"missed\"}, …] and, where there are any, \"replicas\": {\"wanted\", \"ready\", \"restarts\", \"problems\"} \
and \"canary\": {\"revision\", \"version\", \"percent\", \"calls\", \"errors\"}; outcome is ok or failed, and next is \
null while the deployment's instances are given up.")]
pub struct Arguments {
    /// A deployment
    pub name: Option<String>,
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
        ("guest memory", guest_memory_text(&status.guest_memory)),
        ("code", code_text(&status.code)),
        ("engines", engines_text(&status.engines)),
        ("doors", status.doors.as_ref().map(doors_text).unwrap_or_default()),
    ];
    table::pairs(&rows)
}

fn guest_memory_text(memory: &GuestMemory) -> String {
    format!("{} of {}, refused {} times", size(memory.used), size(memory.limit), memory.refusals)
}

/// The doors, one on a line, and what both take together.
fn doors_text(doors: &Doors) -> String {
    let Doors { max_connections, requests, max_requests, shed, slow, .. } = doors;
    let mut lines = Vec::new();
    for (name, entrance) in [("gateway", &doors.gateway), ("sidecar", &doors.sidecar)] {
        let (connections, refused) = (entrance.connections, entrance.refused);
        lines.push(format!("{name}, {connections} of {max_connections} connections, {refused} refused"));
    }
    lines.push(format!("{requests} of {max_requests} requests now, {shed} shed, {slow} ended for slowness"));
    lines.join("\n")
}

/// What code is in memory.
fn code_text(code: &Code) -> String {
    let Code { loaded, bytes, budget, loads, unloads } = code;
    let (bytes, budget) = (size(*bytes), size(*budget));
    format!("{loaded} components, {bytes} of {budget}; {loads} loads, {unloads} unloads")
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
    let stats = &deployment.stats;
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
        ("command", deployment.command.clone().unwrap_or_default()),
        (
            "calls",
            format!(
                "{} answered, {} of them with an error, {} running, {} waiting",
                stats.calls, stats.errors, stats.in_flight, stats.queued
            ),
        ),
        ("usage", usage_text(stats)),
        ("replicas", deployment.replicas.as_ref().map(replicas_text).unwrap_or_default()),
        ("canary", deployment.canary.as_ref().map(canary_text).unwrap_or_default()),
        ("web", layout::web(deployment)),
        ("endpoints", table::list(&deployment.endpoints)),
        ("denied", denied_text(stats.denied)),
        ("imports", grants::of_deployment(deployment)),
        ("warnings", deployment.warnings.join("\n")),
    ];
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut text = table::pairs(&rows);
    let rows: Vec<[String; 4]> = Limit::ALL.into_iter().filter_map(|limit| limit_row(deployment, limit)).collect();
    if !rows.is_empty() {
        text.push_str("\n\n");
        text.push_str(&table::columns(["LIMIT", "VALUE", "USED", "HITS"], &rows));
    }
    if !deployment.schedules.is_empty() {
        let rows: Vec<[String; 6]> = deployment.schedules.iter().map(schedule_row).collect();
        text.push_str("\n\n");
        text.push_str(&table::columns(["SCHEDULE", "ENDPOINT", "ZONE", "NEXT", "LAST", "MISSED"], &rows));
    }
    if !deployment.subscriptions.is_empty() {
        let rows: Vec<[String; 7]> = deployment.subscriptions.iter().map(subscription_row).collect();
        text.push_str("\n\n");
        let heading = ["SUBSCRIBED TO", "GROUP", "ENDPOINT", "HANDLED", "FAILED", "DEAD", "IN WORK"];
        text.push_str(&table::columns(heading, &rows));
        for Subscription { topic, problem, .. } in &deployment.subscriptions {
            if let Some(problem) = problem {
                text.push_str(&format!("\n{topic}: {problem}"));
            }
        }
    }
    if !revisions.is_empty() {
        let rows: Vec<[String; 7]> = revisions.iter().map(revision_row).collect();
        text.push_str("\n\n");
        let heading = ["REVISION", "VERSION", "SIZE", "CALLS", "ERRORS", "DEPLOYED", "DIGEST"];
        text.push_str(&table::columns(heading, &rows));
    }
    text
}

fn usage_text(stats: &Stats) -> String {
    match stats.calls + stats.instances {
        0 => String::new(),
        _ => format!("{} instances, {}, {:.2} s on processors", stats.instances, size(stats.memory), stats.cpu_seconds),
    }
}

fn limit_row(deployment: &Deployment, limit: Limit) -> Option<[String; 4]> {
    let status = deployment.limits.get(limit.name())?;
    // Seconds as the limit's own unit has them.
    let value = match limit.unit() {
        Unit::Time => Duration::try_from_secs_f64(status.limit).map_or(0, |time| time.as_nanos() as u64),
        Unit::Bytes | Unit::Count => status.limit as u64,
    };
    let per_second = if limit == Limit::Log { "/s" } else { "" };
    let used = status.used.map(|used| limit.text(used)).unwrap_or_default();
    Some([limit.name().to_owned(), limit.text(value) + per_second, used, status.hits.to_string()])
}

/// What the function asked for and was not allowed, where there was anything.
fn denied_text(denied: u64) -> String {
    match denied {
        0 => String::new(),
        denied => format!("{denied} requests, connections, calls or stores: 'micro logs' says which"),
    }
}

fn replicas_text(replicas: &Replicas) -> String {
    let Replicas { wanted, ready, restarts, problems } = replicas;
    let counts = format!("{ready} of {wanted} ready, {restarts} restarts");
    std::iter::once(&counts).chain(problems).map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn canary_text(canary: &Canary) -> String {
    let Canary { calls, errors, .. } = canary;
    format!("{}: {calls} answered, {errors} of them with an error", layout::canary(canary))
}

fn schedule_row(schedule: &Schedule) -> [String; 6] {
    let last = schedule.last.as_ref().map(|last| {
        let how = match (last.code, &last.detail) {
            (Some(code), Some(detail)) => format!("{code} {detail}"),
            _ => last.outcome.clone(),
        };
        format!("{}, took {}: {how}", age(&last.at), took(Duration::from_millis(last.took_ms)))
    });
    [
        schedule.cron.clone(),
        schedule.endpoint.clone(),
        schedule.timezone.clone(),
        schedule.next.as_deref().map_or_else(|| "never".into(), until),
        last.unwrap_or_default(),
        schedule.missed.to_string(),
    ]
}

fn subscription_row(subscription: &Subscription) -> [String; 7] {
    let Subscription { topic, group, endpoint, handled, failed, dead, in_work, .. } = subscription;
    let [handled, failed, dead, in_work] = [handled, failed, dead, in_work].map(u64::to_string);
    [topic.clone(), group.clone(), endpoint.clone(), handled, failed, dead, in_work]
}

fn revision_row(revision: &Revision) -> [String; 7] {
    let mark = match (revision.current, revision.canary) {
        (true, _) => " *".into(),
        (false, Some(percent)) => format!(" {percent}%"),
        (false, None) => String::new(),
    };
    // What is not in use counts nothing.
    let is_used = revision.current || revision.canary.is_some();
    let count = |count: u64| if is_used { count.to_string() } else { String::new() };
    [
        format!("{}{mark}", revision.number),
        revision.version.clone(),
        size(revision.size),
        count(revision.calls),
        count(revision.errors),
        age(&revision.deployed_at),
        revision.digest.chars().take("sha256:".len() + 12).collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::deployment::LastRun;

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
        let table = "\n\nREVISION  VERSION  SIZE  CALLS  ERRORS  DEPLOYED  DIGEST
2 *       n/a      0 B   0      0       n/a       sha256:abababababab
1         n/a      0 B   n/a    n/a     n/a       sha256:abababababab";
        assert!(text.ends_with(table), "{text}");
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }

    #[test]
    fn replicas_canary_and_schedules_are_shown_where_there_are_any() {
        let problem = "desk.0: trapped".to_owned();
        let schedule = |last| Schedule {
            cron: "*/5 * * * *".into(),
            endpoint: "Desk.Sweep".into(),
            timezone: "UTC".into(),
            next: None,
            last,
            missed: 3,
        };
        let failed = LastRun {
            at: "2020".into(),
            outcome: "failed".into(),
            code: Some(409),
            detail: Some("no".into()),
            took_ms: 7,
        };
        let deployment = Deployment {
            replicas: Some(Replicas { wanted: 2, ready: 1, restarts: 4, problems: vec![problem] }),
            canary: Some(Canary { revision: 3, percent: 10.0, calls: 8, errors: 1, ..Canary::default() }),
            schedules: vec![schedule(None), schedule(Some(failed))],
            ..Deployment::default()
        };
        let tried = Revision { number: 3, canary: Some(10.0), calls: 8, errors: 1, ..Revision::default() };
        let text = deployment_layout(&deployment, &[tried]);
        assert!(text.contains("\nreplicas   1 of 2 ready, 4 restarts\n           desk.0: trapped\n"), "{text}");
        let canary = "\ncanary     revision 3 gets 10% of the calls: 8 answered, 1 of them with an error\n";
        assert!(text.contains(canary), "{text}");
        let schedules = "\n\nSCHEDULE     ENDPOINT    ZONE  NEXT   LAST                     MISSED
*/5 * * * *  Desk.Sweep  UTC   never  n/a                      3
*/5 * * * *  Desk.Sweep  UTC   never  2020, took 7 ms: 409 no  3\n";
        assert!(text.contains(schedules), "{text}");
        assert!(text.contains("\n3 10%     n/a      0 B   8      1       "), "{text}");
    }

    #[test]
    fn the_doors_are_shown_with_their_limits() {
        let doors = Doors { max_connections: 9, requests: 1, max_requests: 5, slow: 3, ..Doors::default() };
        let text = host_layout(&Status { doors: Some(doors), ..Status::default() });
        for shown in [
            "\ndoors         gateway, 0 of 9 connections, 0 refused\n",
            " sidecar, 0 of 9 connections, 0 refused\n",
            " 1 of 5 requests now, 0 shed, 3 ended for slowness",
        ] {
            assert!(text.contains(shown), "{text}");
        }
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
