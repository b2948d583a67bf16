//! `micro deploy`

use anyhow::{Context, Result};
use clap::Args;

use super::layout::{self, first_call, grants, size, table};
use super::progress::Progress;
use super::settings::Settings;
use super::{Options, Output, print};
use crate::admin::{Answer, DeployOptions, Deployment, Host};
use crate::build::Built;
use crate::source::{self, Names, Source};

/// Give a function to the host: built from its source, or a component that is there
#[derive(Debug, Args)]
#[command(after_help = "\
SOURCE is a folder with a micro.toml; a .wasm file; a git URL (https://…/x.git, git+https://…, git@HOST:PATH, \
github.com/USER/REPOSITORY) with //FOLDER and #REV behind it; a reference of an OCI registry (oci://…, or \
REGISTRY/REPOSITORY with :TAG or @sha256:…), with the credentials of 'docker login'; or http(s)://HOST/FILE.wasm with \
#sha256:… behind it.

With --output json: the deployment, {\"name\", \"version\", \"kind\", \"state\", \"detail\", \"revision\", \"digest\", \
\"size\", \"deployed_at\", \"engine\", \"loaded\", \"web\", \"hosts\", \"command\", \"endpoints\", \"imports\", \
\"grants\": [{\"import\", \"state\", \"what\"}], \"limits\", \"stats\", \"schedules\", \"warnings\", \"changed\"}; \
web, hosts and command are missing where there are none; changed is false when that component was already the current one.")]
pub struct Arguments {
    /// A folder with a micro.toml, a .wasm file, or where one is to be had
    #[arg(value_name = "SOURCE", default_value = ".", hide_default_value = true)]
    source: String,

    /// The deployment's name [default: by the manifest, else the file's stem]
    #[arg(long)]
    name: Option<String>,

    /// The version [default: by the manifest, else latest]
    #[arg(long)]
    version: Option<String>,

    /// Give it this share of the calls, 10%, beside the revision that runs; 'micro promote' gives it all
    #[arg(long, value_name = "SHARE", value_parser = share)]
    canary: Option<String>,

    /// Deploy although deployments that import from this one break
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    settings: Settings,
}

/// Deploys.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { source: text, name, version, canary, force, settings } = arguments;
    let deploy_options = DeployOptions { version, canary, force, ..settings.deploy_options()? };
    let source = source::open(&text, &options.data_dir())?;
    let host = options.host()?;
    // Before a build that may take minutes.
    host.health().await?;
    let built = component(&source).await?;
    let name = name.unwrap_or(built.name);
    let answer = upload(&host, &name, built.component, &deploy_options).await?;
    if source.local().is_none() {
        Names::open(&options.data_dir()).remember(&text, &name);
    }
    for warning in &answer.value.warnings {
        print::remark(format!("warning: {warning}"));
    }
    if options.output == Output::Json {
        print::line(&answer.json)?;
        return Ok(());
    }
    let first = first_call::find(&host, &answer.value).await;
    print::line(summary(&answer.value, first))?;
    Ok(())
}

/// The component, with a sign of life while it is built.
pub async fn component(source: &Source) -> Result<Built> {
    let progress = Progress::start(source.first_step());
    let built = source.component(&|step| progress.now(step)).await?;
    drop(progress);
    if !built.remarks.is_empty() {
        print::remark(&built.remarks);
    }
    Ok(built)
}

/// Hands the component over, with a sign of life while the host compiles it.
pub async fn upload(
    host: &Host,
    name: &str,
    component: Vec<u8>,
    options: &DeployOptions,
) -> Result<Answer<Deployment>> {
    let progress = Progress::start(format!("deploying {name}"));
    let answer = host.deploy(name, component, options).await;
    drop(progress);
    answer.with_context(|| format!("deploy {name}"))
}

/// A share of the calls, as the host reads it.
fn share(text: &str) -> Result<String, String> {
    match text.trim().trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(text.to_owned()),
        _ => Err("expected a share like 10%, above 0 and below 100".to_owned()),
    }
}

fn summary(deployment: &Deployment, first: Option<String>) -> String {
    let Deployment { name, revision, .. } = deployment;
    let state = match deployment.changed {
        Some(false) => format!("revision {revision} is already the current one"),
        _ => format!("revision {revision} is {}", deployment.state),
    };
    let mut rows = vec![
        ("digest", deployment.digest.clone()),
        ("size", size(deployment.size)),
        ("engine", deployment.engine.clone()),
        ("web", layout::web(deployment)),
        ("command", deployment.command.clone().unwrap_or_default()),
        ("endpoints", table::list(&deployment.endpoints)),
        ("imports", grants::of_deployment(deployment)),
    ];
    rows.retain(|(name, value)| *name != "web" || !value.is_empty());
    if !deployment.detail.is_empty() {
        rows.insert(0, ("detail", deployment.detail.clone()));
    }
    if let Some(canary) = &deployment.canary {
        rows.insert(0, ("canary", layout::canary(canary)));
    }
    rows.retain(|(_, value)| !value.is_empty());
    rows.extend(first.map(|first| ("try", first)));
    format!("{name} {state}\n{}", table::indent(&table::pairs(&rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_of_some_calls_and_not_of_all() {
        for text in ["10%", "0.5 %", "99"] {
            assert_eq!(share(text).as_deref(), Ok(text));
        }
        for text in ["much", "0%", "100%", "-1%", "", "NaN"] {
            assert!(share(text).is_err_and(|reason| reason.contains("like 10%")), "{text}");
        }
    }

    #[test]
    fn a_deploy_tells_what_is_there_now() {
        let deployment = Deployment {
            name: "greeter".into(),
            state: "ready".into(),
            revision: 3,
            digest: "sha256:ab".into(),
            size: 53_412,
            engine: "lean".into(),
            endpoints: vec!["Say.Hello".into()],
            imports: vec!["wasi:io/streams@0.2.6".into(), "wasi:cli/stdout@0.2.6".into()],
            ..Deployment::default()
        };
        let text = summary(&deployment, Some("curl 'http://127.0.0.1:8080/greeter/say/hello'".into()));
        assert_eq!(
            text,
            "greeter revision 3 is ready
  digest     sha256:ab
  size       52.2 KiB
  engine     lean
  endpoints  Say.Hello
  imports    wasi:io/streams@0.2.6
             wasi:cli/stdout@0.2.6
  try        curl 'http://127.0.0.1:8080/greeter/say/hello'"
        );
        let again = Deployment { changed: Some(false), imports: vec![], ..deployment };
        let text = summary(&again, None);
        assert!(text.starts_with("greeter revision 3 is already the current one\n"), "{text}");
        assert!(text.ends_with("  imports    none"), "{text}");
    }
}
