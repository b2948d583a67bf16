//! What a guest is given when it is deployed: `--arg`, `--env`, `--config`, `--allow`, and words behind `--`.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use micro_engine::manifest::AskedLimits;

use super::failure::Failure;
use crate::admin::DeployOptions;

/// Arguments and variables travel in the address of a request, which has no room for more bytes.
const MAX_SETTINGS: usize = 16 * 1024;

/// The guest's arguments and environment variables.
#[derive(Debug, Default, Args)]
pub struct Settings {
    /// An argument for the function, in place of the manifest's; can be given more than once
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    args: Vec<String>,

    /// An environment variable for the function, added to the manifest's; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,

    /// A limit, in place of the manifest's: memory, timeout, cpu, concurrency, queue, request, reply, log or reuse; can be given
    /// more than once
    #[arg(long = "limit", value_name = "LIMIT=VALUE", value_parser = limit)]
    limits: Vec<AskedLimits>,
    /// A value that the function reads by wasi:config, added to the manifest's; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    config: Vec<(String, String)>,

    /// Something that it may reach, added to what its manifest allows: http=HOST, tcp=HOST:PORT, call=SERVICE, store=NAME,
    /// env=NAME, secrets=NAME, files=FOLDER; can be given more than once
    #[arg(long, value_name = "KIND=WHAT", value_parser = variable)]
    allow: Vec<(String, String)>,

    /// More arguments for the function
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<String>,
}

impl Settings {
    /// Options for a deploy that carry them.
    pub fn deploy_options(self) -> Result<DeployOptions> {
        let Settings { mut args, env, limits, config, allow, rest } = self;
        args.extend(rest);
        let mut allowed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (kind, what) in &allow {
            // `http=` alone says that nothing is meant.
            allowed.entry(kind.clone()).or_default().extend((!what.is_empty()).then(|| what.clone()));
        }
        let bytes = args.iter().map(String::len).sum::<usize>()
            + env.iter().chain(&config).chain(&allow).map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if bytes > MAX_SETTINGS {
            let limit = bytesize::ByteSize::b(MAX_SETTINGS as u64);
            let text = format!(
                "--arg, --env, --config and --allow have {bytes} bytes, more than {limit}: put them into the manifest"
            );
            return Err(Failure::usage(text).into());
        }
        Ok(DeployOptions {
            args: (!args.is_empty()).then_some(args),
            env: env.into_iter().collect(),
            limits: all(&limits),
            config: config.into_iter().collect(),
            allow: allowed,
            ..DeployOptions::default()
        })
    }
}

/// Reads one limit.
pub fn limit(text: &str) -> Result<AskedLimits, String> {
    let mut asked = AskedLimits::default();
    asked.read(text)?;
    Ok(asked)
}

/// Several limits as one; the last word on each counts.
pub fn all(limits: &[AskedLimits]) -> AskedLimits {
    limits.iter().fold(AskedLimits::default(), |all, one| all.with(one))
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_order_and_variables_their_equals_signs() {
        let settings = Settings {
            args: vec!["-a".into()],
            env: vec![variable("K=a=b").unwrap(), variable("EMPTY=").unwrap()],
            limits: vec![limit("queue=1").unwrap(), limit("queue=2").unwrap()],
            rest: vec!["b".into()],
            allow: vec![variable("http=a.com").unwrap(), variable("http=b.com").unwrap(), variable("call=").unwrap()],
            ..Settings::default()
        };
        let options = settings.deploy_options().unwrap();
        assert_eq!(options.args, Some(vec!["-a".to_owned(), "b".to_owned()]));
        assert_eq!(options.limits, limit("queue=2").unwrap());
        assert_eq!((options.env["K"].as_str(), options.env["EMPTY"].as_str()), ("a=b", ""));
        let allow = BTreeMap::from([("http".into(), vec!["a.com".into(), "b.com".into()]), ("call".into(), vec![])]);
        assert_eq!(options.allow, allow);
        assert_eq!(Settings::default().deploy_options().unwrap(), DeployOptions::default());
        assert!(variable("=x").is_err() && variable("x").is_err());
        let large = Settings { args: vec!["x".repeat(MAX_SETTINGS + 1)], ..Settings::default() };
        assert!(large.deploy_options().unwrap_err().to_string().contains("16.0 KiB"));
    }
}
