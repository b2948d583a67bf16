//! Where spans go, by the [variables of OpenTelemetry](https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
//!
//! A host that has the address of a collector is one that records; without it, the other variables mean nothing.

use super::sampler::{self, Sampler};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::str::FromStr;
use std::time::Duration;

/// The variable that `--otlp-endpoint` stands for.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Where below the endpoint a collector takes spans.
const TRACES: &str = "v1/traces";

/// The largest queue that may be asked for, in spans: they are some hundred bytes each.
const MAX_QUEUE: usize = 1 << 20;

/// Where spans go, which, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The whole URL.
    pub(super) endpoint: Url,
    /// For the collector, beside its own.
    pub(super) headers: HeaderMap,
    /// What this host is called.
    pub(super) service: String,
    /// What else is said of it.
    pub(super) resource: Vec<(String, String)>,
    pub(super) sampler: Sampler,
    /// Spans that may wait.
    pub(super) queue: usize,
    /// Spans sent at once.
    pub(super) batch: usize,
    /// How long a span waits for others.
    pub(super) delay: Duration,
    /// How long the collector may take.
    pub(super) timeout: Duration,
}

/// A setting that cannot be followed.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{name}={value}: {reason}")]
pub struct SettingsError {
    name: String,
    value: String,
    reason: String,
}

impl Settings {
    /// Settings from the environment; `endpoint` is what the command line says. None, if nothing shall be recorded.
    pub fn from_environment(endpoint: Option<&str>) -> Result<Option<Settings>, SettingsError> {
        // A variable that is set to nothing is as good as not set.
        Settings::read(endpoint, |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    fn read(
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Settings>, SettingsError> {
        let refuse = |name: &str, value: &str, reason: &str| {
            Err(SettingsError { name: name.into(), value: value.into(), reason: reason.into() })
        };
        let is_disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporter = variable("OTEL_TRACES_EXPORTER").unwrap_or_else(|| "otlp".into());
        if is_disabled || exporter == "none" {
            return Ok(None);
        }
        let given = |name: &str| {
            variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .map(|value| (format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), value))
                .or_else(|| {
                    Some((format!("OTEL_EXPORTER_OTLP_{name}"), variable(&format!("OTEL_EXPORTER_OTLP_{name}"))?))
                })
        };
        let Some(endpoint) = find_endpoint(endpoint, &variable)? else { return Ok(None) };
        if exporter != "otlp" {
            return refuse("OTEL_TRACES_EXPORTER", &exporter, "this host has otlp, or none");
        }
        if let Some((name, protocol)) = given("PROTOCOL")
            && protocol != "http/protobuf"
        {
            return refuse(&name, &protocol, "this host sends http/protobuf; a collector takes it at port 4318 mostly");
        }
        let mut resource = match variable("OTEL_RESOURCE_ATTRIBUTES") {
            Some(list) => pairs("OTEL_RESOURCE_ATTRIBUTES", &list)?,
            None => Vec::new(),
        };
        let named = resource.iter().rev().find(|(key, _)| key == "service.name").map(|(_, value)| value.clone());
        resource.retain(|(key, _)| key != "service.name");
        let headers = match given("HEADERS") {
            Some((name, list)) => headers(&name, &list)?,
            None => HeaderMap::new(),
        };
        let timeout = match given("TIMEOUT") {
            Some((name, value)) => number(&name, &value)?,
            None => 10_000,
        };
        let count = |name: &str, default: u64| match variable(name) {
            Some(value) => number(name, &value),
            None => Ok(default),
        };
        let queue = usize::try_from(count("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?).unwrap_or(MAX_QUEUE).clamp(1, MAX_QUEUE);
        let batch = usize::try_from(count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?).unwrap_or(queue).clamp(1, queue);
        Ok(Some(Settings {
            endpoint,
            headers,
            service: variable("OTEL_SERVICE_NAME").or(named).unwrap_or_else(|| "micro".into()),
            resource,
            sampler: find_sampler(&variable)?,
            queue,
            batch,
            delay: Duration::from_millis(count("OTEL_BSP_SCHEDULE_DELAY", 5000)?),
            timeout: Duration::from_millis(timeout),
        }))
    }
}

/// The address for traces: its own variable has it whole, the others have what all signals have in common.
fn find_endpoint(given: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Url>, SettingsError> {
    let own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let (name, text, is_whole) = match (given, variable(own), variable(ENDPOINT)) {
        (Some(given), ..) => ("--otlp-endpoint", given.to_owned(), false),
        (None, Some(own_value), _) => (own, own_value, true),
        (None, None, Some(common)) => (ENDPOINT, common, false),
        (None, None, None) => return Ok(None),
    };
    let whole = if is_whole { text.clone() } else { format!("{}/{TRACES}", text.trim_end_matches('/')) };
    let url = Url::from_str(&whole).map_err(|error| error.to_string());
    match url {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(Some(url)),
        Ok(_) => Err("expected a URL like http://127.0.0.1:4318".to_owned()),
        Err(error) => Err(format!("{error}; expected a URL like http://127.0.0.1:4318")),
    }
    .map_err(|reason| SettingsError { name: name.into(), value: text, reason })
}

fn find_sampler(variable: impl Fn(&str) -> Option<String>) -> Result<Sampler, SettingsError> {
    let (name, argument) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
    let Some(sampler) = variable(name) else { return Ok(Sampler::default()) };
    let ratio = match variable(argument) {
        None => 1.0,
        Some(value) => match value.trim().parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ if !sampler.ends_with("ratio") => 1.0,
            _ => {
                let reason = "expected a number from 0 to 1".into();
                return Err(SettingsError { name: argument.into(), value, reason });
            }
        },
    };
    Sampler::named(&sampler, ratio).ok_or_else(|| {
        let reason = format!("expected one of {}", sampler::NAMES.join(", "));
        SettingsError { name: name.into(), value: sampler, reason }
    })
}

fn number(name: &str, value: &str) -> Result<u64, SettingsError> {
    value.trim().parse().map_err(|_| SettingsError {
        name: name.into(),
        value: value.into(),
        reason: "expected a whole number".into(),
    })
}

fn headers(name: &str, list: &str) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::new();
    for (key, value) in pairs(name, list)? {
        let (Ok(key), Ok(mut value)) = (HeaderName::from_str(&key), HeaderValue::from_str(&value)) else {
            let reason = format!("{key} is not a header that HTTP can carry");
            // The value may be a secret.
            return Err(SettingsError { name: name.into(), value: "…".into(), reason });
        };
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// `key=value,key=value`, percent-encoded.
fn pairs(name: &str, list: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    let pairs = items.map(|item| {
        let (key, value) = item.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((key.trim().to_owned(), value.into_owned())).filter(|(key, _)| !key.is_empty())
    });
    pairs.collect::<Option<Vec<_>>>().ok_or_else(|| SettingsError {
        name: name.into(),
        value: "…".into(),
        reason: "expected KEY=VALUE,KEY=VALUE with values percent-encoded".into(),
    })
}

#[cfg(test)]
mod tests;
