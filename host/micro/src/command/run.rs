//! `micro run`

mod host;
mod session;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::failure::Failure;
use super::log::Level;
use super::server::{self, Listen};
use super::settings::Settings;
use super::stop::Stop;
use super::{Options, kill, print, ps, status};
use crate::admin::{Host, HostError};
use crate::build::source::Source as Local;
use crate::source::{self, Changes, Names};
use host::{Started, connect};
use session::Session;

/// Somebody else's server is not asked more often.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Run a function: deploy it, deploy it again when its source changes, take it back at the end. Alone: run a host
#[derive(Debug, Args)]
#[command(after_help = "\
SOURCE is what 'micro deploy' takes: a folder, a .wasm file, a git URL, a reference of an OCI registry, an http(s) URL. \
A folder or a file is watched; anything else is followed with -u: what git, the registry or the server has is compared \
with what runs, and a source that names a commit or a digest stays what it is. With -s and -k, SOURCE can be the name of \
the deployment, too.

Without a running host, one is started here and ends with this command. What does not build, or what the host \
refuses, is shown and changes nothing: the revision before goes on. The end takes back what was deployed, but not \
what somebody else deployed meanwhile; a second ctrl-C does not wait for the host. With -x it stays, and the host keeps \
it running. Services that die are started again by every host; -r is about the host.

With --output json: one object on each line, {\"name\", \"revision\", \"changed\", \"ready_ms\", \"built_ms\"}; with -s \
and -k what 'micro status', 'micro ps' and 'micro kill' print.")]
#[expect(clippy::struct_excessive_bools, reason = "the flags of the original command")]
pub struct Arguments {
    /// What to run; without it, the host itself, or its status when it runs already
    #[arg(value_name = "SOURCE")]
    source: Option<String>,

    /// Show the status of SOURCE, or of everything that runs
    #[arg(short, long, conflicts_with_all = ["kill", "restart", "update", "defer"])]
    status: bool,

    /// Take SOURCE away
    #[arg(short, long, conflicts_with_all = ["restart", "update", "defer"])]
    kill: bool,

    /// Start the host again if it dies
    #[arg(short, long)]
    restart: bool,

    /// Update: look now and then whether the source has something new
    #[arg(short, long)]
    update: bool,

    /// How often -u looks, at least 1s
    #[arg(long, alias = "update_interval", value_name = "TIME", default_value = "30s", value_parser = interval)]
    #[arg(requires = "update")]
    update_interval: Duration,

    /// Defer to the running host: deploy and leave
    #[arg(short = 'x', long, conflicts_with_all = ["restart", "update"])]
    defer: bool,

    /// The deployment's name [default: by the manifest, else by the file, the repository or the URL]
    #[arg(long)]
    name: Option<String>,

    #[command(flatten)]
    settings: Settings,

    #[command(flatten, next_help_heading = "For the host that is started when none runs")]
    listen: Listen,
}

/// Does what the flags say.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let target = arguments.name.clone().or_else(|| arguments.source.clone());
    if arguments.status {
        let Some(target) = target else { return ps::run(ps::Arguments::default(), options).await };
        let name = deployed_name(&target, options).await?;
        return status::run(status::Arguments { name: Some(name) }, options).await;
    }
    if arguments.kill {
        let target = target.ok_or_else(|| Failure::usage("-k needs what to kill: a deployment or its source"))?;
        let name = deployed_name(&target, options).await?;
        return kill::run(kill::Arguments { name }, options).await;
    }
    match arguments.source.clone() {
        Some(text) => follow(text, arguments, options).await,
        None if arguments.defer || arguments.name.is_some() => Err(Failure::usage("expected a source to run").into()),
        None => manage(arguments.listen, arguments.restart, options).await,
    }
}

/// Keeps a source deployed, or with `-x` only deploys it.
async fn follow(text: String, arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { restart, update, update_interval, defer, name, settings, listen, .. } = arguments;
    let deploy = settings.deploy_options()?;
    let source = source::open(&text, &options.data_dir())?;
    if defer {
        let host = options.host()?;
        host.health().await?;
        let mut session = Session::new(host, source, text, name, deploy, options);
        return session.deploy(None).await;
    }
    if update && source.is_fixed() {
        print::remark(format!("{} can only be what it is now: there is nothing to update", source.shown()));
    }
    // Before the first build: what is saved during it counts as a change.
    let changes = Changes::of(&source, update.then_some(update_interval))?;
    let mut stop = Stop::listen().context("wait for signals")?;
    let (host, started) = connect(options, listen, restart).await?;
    let mut session = Session::new(host, source, text, name, deploy, options);
    let result = session.follow(changes, &mut stop).await;
    let taken_back = tokio::select! {
        biased;
        () = stop.insist() => Err(Failure::plain("not everything is taken back: 'micro ps' shows what runs").into()),
        taken_back = session.take_back() => taken_back,
    };
    if let Some(started) = started {
        started.stop().await;
    }
    result.and(taken_back)
}

/// Runs a host in the foreground; one that runs already is shown.
async fn manage(listen: Listen, restart: bool, options: &Options) -> Result<()> {
    let host = options.host()?;
    match host.health().await {
        Ok(()) => {
            print::remark("a host runs here already:");
            return status::run(status::Arguments { name: None }, options).await;
        }
        Err(HostError::NotReachable { .. }) if !host.address().is_given() => {}
        Err(error) => return Err(error.into()),
    }
    if !restart {
        return server::serve(listen, options, None).await;
    }
    let mut stop = Stop::listen().context("wait for signals")?;
    let started = Started::child(listen, Level::Host, options).await?;
    stop.wait().await;
    started.stop().await;
    Ok(())
}

/// The deployment that `target` means: one of that name, or what it became when it was deployed.
async fn deployed_name(target: &str, options: &Options) -> Result<String> {
    let host = options.host()?;
    let (data_dir, mut names) = (options.data_dir(), vec![target.to_owned()]);
    names.extend(Names::open(&data_dir).find(target).map(str::to_owned));
    if let Ok(source) = source::open(target, &data_dir) {
        names.push(match source.local() {
            Some(Local::Package(package)) => package.name(),
            Some(file) => file.component(&|_| ()).await?.name,
            None => source.name(),
        });
    }
    for name in names {
        if is_deployed(&host, &name).await? {
            return Ok(name);
        }
    }
    Ok(target.to_owned())
}

async fn is_deployed(host: &Host, name: &str) -> Result<bool> {
    match host.deployment(name).await {
        Ok(_) => Ok(true),
        // What cannot be a name, a URL for one, is none.
        Err(HostError::Refused(error)) if error.code < 500 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < MIN_INTERVAL {
        return Err(format!("expected at least {}", humantime::format_duration(MIN_INTERVAL)));
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_more_often_than_once_a_second() {
        assert_eq!(interval("1m").unwrap(), Duration::from_secs(60));
        assert!(interval("999ms").unwrap_err().contains("at least 1s"));
        assert!(interval("soon").is_err());
    }
}
