//! One source that is kept deployed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::admin::{DeployOptions, Deployment, Host, HostError};
use crate::build::Built;
use crate::build::source::Source as Local;
use crate::command::failure::Failure;
use crate::command::layout::{first_call, took};
use crate::command::stop::Stop;
use crate::command::{Options, Output, deploy, print};
use crate::source::{Changes, Names, Source};
use std::path::PathBuf;

/// One source that is kept deployed.
pub(super) struct Session {
    host: Host,
    source: Source,
    /// The source as it was given.
    text: String,
    name: Option<String>,
    deploy: DeployOptions,
    output: Output,
    data_dir: PathBuf,
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
    /// A session in which nothing has happened yet.
    pub(super) fn new(
        host: Host,
        source: Source,
        text: String,
        name: Option<String>,
        deploy: DeployOptions,
        options: &Options,
    ) -> Session {
        let (output, data_dir) = (options.output, options.data_dir());
        Session { host, source, text, name, deploy, output, data_dir, deployed: Vec::new() }
    }

    /// Builds and deploys once. `following` says what comes then.
    pub(super) async fn deploy(&mut self, following: Option<&str>) -> Result<()> {
        let began = Instant::now();
        let built = self.build().await?;
        self.swap(built, began.elapsed(), following).await
    }

    /// Deploys after each change, until it is told to stop.
    pub(super) async fn follow(&mut self, mut changes: Changes, stop: &mut Stop) -> Result<()> {
        let following = match &changes {
            Changes::Watched(_) => format!("watching {}; ctrl-C ends it", self.source.shown()),
            Changes::Asked(interval) => {
                let interval = humantime::format_duration(*interval);
                format!("looking at {} every {interval}; ctrl-C ends it", self.source.shown())
            }
            Changes::Ignored => "running; ctrl-C ends it".to_owned(),
        };
        loop {
            let began = Instant::now();
            let built = tokio::select! {
                built = self.build() => built,
                () = stop.wait() => return Ok(()),
            };
            if let Some(Local::Package(package)) = self.source.local() {
                changes.accept(&package.dir.join("Cargo.lock"));
            }
            // Not to be interrupted at once, or nobody would know whether there is something to take back.
            let result = match built {
                Ok(built) => tokio::select! {
                    result = self.swap(built, began.elapsed(), Some(&following)) => result,
                    () = stop.insist() => {
                        let text = "nobody waits for the deploy any more: 'micro ps' shows what came of it";
                        return Err(Failure::plain(text).into());
                    }
                },
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {}
                // Nothing will come that would mend it.
                Err(error) if matches!(changes, Changes::Ignored) => return Err(error),
                Err(error) => print::remark(format!("{error:#}")),
            }
            tokio::select! {
                changed = changes.changed(&self.source, &|text| print::remark(text)) => changed?,
                () = stop.wait() => return Ok(()),
            }
        }
    }

    async fn build(&self) -> Result<Built> {
        if let Some(local) = self.source.local() {
            local.settle().await;
        }
        deploy::component(&self.source).await
    }

    /// Makes the component the current revision and says so.
    async fn swap(&mut self, built: Built, build_time: Duration, following: Option<&str>) -> Result<()> {
        let name = self.name.clone().unwrap_or(built.name);
        let before = match self.host.deployment(&name).await {
            Ok(answer) => Some(answer.value.revision),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let began = Instant::now();
        let answer = deploy::upload(&self.host, &name, built.component, &self.deploy).await?;
        let swap_time = began.elapsed();
        let now = answer.value.revision;
        if self.source.local().is_none() {
            Names::open(&self.data_dir).remember(&self.text, &name);
        }
        let known = self.deployed.iter_mut().find(|deployed| deployed.name == name);
        let is_first = known.is_none();
        match known {
            Some(known) => known.now = now,
            None => self.deployed.push(Deployed { name, before, now }),
        }
        for warning in &answer.value.warnings {
            print::remark(format!("warning: {warning}"));
        }
        self.report(&answer.value, build_time, swap_time, following.filter(|_| is_first), is_first).await
    }

    async fn report(
        &self,
        deployment: &Deployment,
        build_time: Duration,
        swap_time: Duration,
        following: Option<&str>,
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
        let built = if self.source.is_built() { format!(" (built in {})", took(build_time)) } else { String::new() };
        if is_changed || is_first {
            print::line(format!("{name} revision {revision} ready in {}{built}", took(swap_time)))?;
        } else {
            print::line(format!("{name} is the same as before: revision {revision} stays{built}"))?;
        }
        if is_first && let Some(call) = first_call::find(&self.host, deployment).await {
            print::line(format!("  {call}"))?;
        }
        if let Some(following) = following {
            print::line(following)?;
        }
        Ok(())
    }

    /// Brings the host back to where it was: what was there before is current again, what was not is removed. What
    /// somebody else has deployed meanwhile stays.
    pub(super) async fn take_back(&self) -> Result<()> {
        for Deployed { name, before, now } in &self.deployed {
            if *before == Some(*now) {
                continue;
            }
            if let Ok(answer) = self.host.deployment(name).await
                && answer.value.revision != *now
            {
                print::remark(format!("{name} stays at revision {}, which is not ours", answer.value.revision));
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
