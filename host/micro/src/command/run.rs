//! `micro run`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::layout::{first_call, took};
use super::server::Listen;
use super::{Options, Output, deploy, print};
use crate::admin::{Address, Deployment, Host, HostError};
use crate::build::Built;
use crate::build::source::Source;
use crate::build::watch::Watch;
use crate::server::{self, RunningHost};

/// Deploy a function and deploy it again whenever its source changes, until interrupted
#[derive(Debug, Args)]
#[command(after_help = "\
Without a running host, one is started here and ends with this command. What does not build, or what the host \
refuses, is shown and changes nothing: the revision before goes on. The end takes back what was deployed.

With --output json: one object on each line, {\"name\", \"revision\", \"changed\", \"ready_ms\", \"built_ms\"}.")]
pub struct Arguments {
    /// A folder with a micro.toml, or a .wasm file
    #[arg(value_name = "DIR|FILE", default_value = ".", hide_default_value = true)]
    source: PathBuf,

    /// The deployment's name [default: by the manifest, else the file's stem]
    #[arg(long)]
    name: Option<String>,

    #[command(flatten, next_help_heading = "For the host that is started when none runs")]
    listen: Listen,
}

/// Deploys again and again.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { source, name, listen } = arguments;
    let source = Source::open(&source)?;
    // Before the first build: what is saved during it counts as a change.
    let watch = match &source {
        Source::Package(package) => Watch::package(package)?,
        Source::File(file) => Watch::file(file)?,
    };
    let mut stop = Stop::listen().context("wait for signals")?;
    let (host, started) = connect(options, listen).await?;
    let mut session = Session { host, source, name, output: options.output, deployed: Vec::new() };
    let result = session.follow(watch, &mut stop).await;
    let taken_back = session.take_back().await;
    if let Some(started) = started {
        started.stop().await;
    }
    result.and(taken_back)
}

/// The running host, or one that is started in this process.
async fn connect(options: &Options, listen: Listen) -> Result<(Host, Option<RunningHost>)> {
    let host = options.host()?;
    match host.health().await {
        Ok(()) => return Ok((host, None)),
        // Somebody who names an address means that host, and not one of ours.
        Err(HostError::NotReachable { .. }) if !host.address().is_given() => {}
        Err(error) => return Err(error.into()),
    }
    let started = server::start(listen.server_options(options)).await.context("start of a host")?;
    let address = Address::parse(&started.sidecar_address.to_string())?;
    print::remark(format!("api      http://{}\nsidecar  {}", started.api_address, address.url()));
    Ok((Host::new(address, &options.data_dir())?, Some(started)))
}

/// One source that is kept deployed.
struct Session {
    host: Host,
    source: Source,
    name: Option<String>,
    output: Output,
    deployed: Vec<Deployed>,
}

/// A name that this command deployed to.
struct Deployed {
    name: String,
    /// The revision that was current before.
    before: Option<u64>,
    /// The revision that is current by our doing.
    now: u64,
}

impl Session {
    /// Deploys after each change, until it is told to stop.
    async fn follow(&mut self, mut watch: Watch, stop: &mut Stop) -> Result<()> {
        loop {
            let began = Instant::now();
            let built = tokio::select! {
                built = self.build() => built,
                () = stop.wait() => return Ok(()),
            };
            if let Source::Package(package) = &self.source {
                watch.accept(&package.dir.join("Cargo.lock"));
            }
            // Not to be interrupted, or nobody would know whether there is something to take back.
            let result = match built {
                Ok(built) => self.swap(built, began.elapsed()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                print::remark(format!("{error:#}"));
            }
            tokio::select! {
                changed = watch.changed() => changed?,
                () = stop.wait() => return Ok(()),
            }
        }
    }

    async fn build(&self) -> Result<Built> {
        self.source.settle().await;
        deploy::component(&self.source).await
    }

    /// Makes the component the current revision and says so.
    async fn swap(&mut self, built: Built, build_time: Duration) -> Result<()> {
        let name = self.name.clone().unwrap_or(built.name);
        let before = match self.host.deployment(&name).await {
            Ok(answer) => Some(answer.value.revision),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let began = Instant::now();
        let answer = deploy::upload(&self.host, &name, None, built.component).await?;
        let swap_time = began.elapsed();
        let now = answer.value.revision;
        let known = self.deployed.iter_mut().find(|deployed| deployed.name == name);
        let is_first = known.is_none();
        match known {
            Some(known) => known.now = now,
            None => self.deployed.push(Deployed { name, before, now }),
        }
        for warning in &answer.value.warnings {
            print::remark(format!("warning: {warning}"));
        }
        self.report(&answer.value, build_time, swap_time, is_first).await
    }

    async fn report(
        &self,
        deployment: &Deployment,
        build_time: Duration,
        swap_time: Duration,
        is_first: bool,
    ) -> Result<()> {
        let Deployment { name, revision, .. } = deployment;
        let is_changed = deployment.changed != Some(false);
        if self.output == Output::Json {
            print::line(serde_json::json!({
                "name": name, "revision": revision, "changed": is_changed,
                "ready_ms": swap_time.as_millis() as u64, "built_ms": build_time.as_millis() as u64,
            }))?;
            return Ok(());
        }
        let built = match self.source {
            Source::Package(_) => format!(" (built in {})", took(build_time)),
            Source::File(_) => String::new(),
        };
        if is_changed || is_first {
            print::line(format!("{name} revision {revision} ready in {}{built}", took(swap_time)))?;
        } else {
            print::line(format!("{name} is the same as before: revision {revision} stays{built}"))?;
        }
        if is_first {
            if let Some(call) = first_call::find(&self.host, deployment).await {
                print::line(format!("  {call}"))?;
            }
            print::line(format!("watching {}; ctrl-C ends it", self.source.path().display()))?;
        }
        Ok(())
    }

    /// Brings the host back to where it was: what was there before is current again, what was not is removed.
    async fn take_back(&self) -> Result<()> {
        for Deployed { name, before, now } in &self.deployed {
            if *before == Some(*now) {
                continue;
            }
            let result = match before {
                Some(revision) => self.host.rollback(name, Some(*revision)).await,
                None => self.host.remove(name).await,
            };
            match (result, before) {
                (Ok(_), Some(revision)) => print::remark(format!("{name} is back at revision {revision}")),
                (Ok(_), None) => print::remark(format!("{name} is removed")),
                // Somebody else has removed it, or the host itself is gone.
                (Err(error), _) if error.is_not_found() => {}
                (Err(HostError::NotReachable { .. }), _) => {}
                (Err(error), _) => return Err(error).context(format!("take back {name}")),
            }
        }
        Ok(())
    }
}

/// The two signals that end a command in good order.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Stop> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}
