//! The keys that a manifest may hold.

use super::ManifestError;
use crate::name::hint;

/// The keys of each table, so that a wrong one can be answered with the right one.
const KEYS: [(&str, &[&str]); 10] = [
    (
        "",
        &[
            "name",
            "namespace",
            "version",
            "description",
            "kind",
            "host",
            "build",
            "limits",
            "service",
            "rollout",
            "allow",
            "imports",
            "args",
            "env",
            "config",
            "route",
            "subscribe",
            "schedule",
            "reply",
            "metadata",
        ],
    ),
    ("build", &["command", "output", "watch"]),
    ("limits", &["memory", "timeout", "cpu", "concurrency", "queue", "request", "reply", "log", "reuse"]),
    ("service", &["replicas", "restart", "hash", "on-state-refused", "grace", "health-interval"]),
    ("rollout", &["window", "max-errors", "min-calls"]),
    ("allow", &["call", "store", "http", "tcp", "env", "secrets", "files", "publish"]),
    ("route", &["method", "host", "path", "endpoint"]),
    ("subscribe", &["topic", "queue", "endpoint", "from", "retries", "backoff", "concurrency"]),
    ("schedule", &["cron", "endpoint", "timezone", "request", "missed", "overlap"]),
    ("reply", &["content-type"]),
];

pub(super) fn check_keys(table: &toml::Table) -> Result<(), ManifestError> {
    for (section, known) in KEYS {
        let tables: Vec<&toml::Table> = match table.get(section) {
            _ if section.is_empty() => vec![table],
            Some(toml::Value::Table(one)) => vec![one],
            Some(toml::Value::Array(many)) => many.iter().filter_map(toml::Value::as_table).collect(),
            _ => Vec::new(),
        };
        for key in tables.into_iter().flat_map(|table| table.keys()) {
            if known.contains(&key.as_str()) {
                continue;
            }
            let place = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            let hint = hint(key, known.iter().copied());
            return Err(ManifestError(format!("unknown key `{place}`: {hint}")));
        }
    }
    Ok(())
}
