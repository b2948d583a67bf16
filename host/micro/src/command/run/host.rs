//! The host that a source runs on: the one that is there, one in this process, or one in a process of its own that is
//! started again when it dies.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use micro_engine::manifest::AskedLimits;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::{Address, Host, HostError};
use crate::command::log::{self, Level};
use crate::command::server::Listen;
use crate::command::{Options, print};
use crate::server::{self, RunningHost};

/// How long a host may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a host may take to end after it was asked to; it lets calls come to their end.
const END_LIMIT: Duration = Duration::from_secs(20);
/// Before a host that died is started again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A host that dies again and again is not started more often.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A host that ran for so long did not die of its start.
const STEADY: Duration = Duration::from_secs(60);

/// The running host, or one that is started for this command.
pub(super) async fn connect(options: &Options, listen: Listen, restart: bool) -> Result<(Host, Option<Started>)> {
    let host = options.host()?;
    match host.health().await {
        Ok(()) => return Ok((host, None)),
        // Somebody who names an address means that host, and not one of ours.
        Err(HostError::NotReachable { .. }) if !host.address().is_given() => {}
        Err(error) => return Err(error.into()),
    }
    let started = match restart {
        true => Started::child(listen, Level::Beside, options).await?,
        false => Started::here(listen, options).await?,
    };
    let address = Address::parse(started.sidecar())?;
    Ok((Host::new(address, &options.data_dir())?, Some(started)))
}

/// A host that ends with this command.
pub(super) enum Started {
    /// In this process.
    Here { host: RunningHost, sidecar: String },
    /// In its own, which is watched.
    Child { watcher: JoinHandle<()>, stop: oneshot::Sender<()>, sidecar: String },
}

impl Started {
    async fn here(listen: Listen, options: &Options) -> Result<Started> {
        log::start(Level::Beside)?;
        let host = server::start(listen.server_options(options, None)?).await.context("start of a host")?;
        let sidecar = format!("http://{}", host.sidecar_address);
        print::remark(format!("api      http://{}\nsidecar  {sidecar}", host.api_address));
        Ok(Started::Here { host, sidecar })
    }

    /// Starts a host in a process of its own, and again whenever that ends.
    pub(super) async fn child(listen: Listen, level: Level, options: &Options) -> Result<Started> {
        let program = std::env::current_exe().context("find this program")?;
        let plan = Plan { program, data_dir: options.data_dir(), listen, level };
        let running = plan.start().await.context("start of a host")?;
        let sidecar = running.sidecar.clone();
        print::remark(format!("api      {}\nsidecar  {sidecar}", running.api));
        // The system chooses a port once: clients know the host by it.
        let plan = plan.at(&running);
        let (stop, stopped) = oneshot::channel();
        let watcher = tokio::spawn(plan.keep(running, stopped));
        Ok(Started::Child { watcher, stop, sidecar })
    }

    fn sidecar(&self) -> &str {
        match self {
            Started::Here { sidecar, .. } | Started::Child { sidecar, .. } => sidecar,
        }
    }

    /// Ends the host in good order.
    pub(super) async fn stop(self) {
        match self {
            Started::Here { host, .. } => host.stop().await,
            Started::Child { watcher, stop, .. } => {
                // A watcher that is gone has no host any more.
                let _ = stop.send(());
                let _ = watcher.await;
            }
        }
    }
}

/// How a host is started.
struct Plan {
    program: PathBuf,
    data_dir: PathBuf,
    listen: Listen,
    /// How much it tells, if nobody has said so.
    level: Level,
}

/// A host in another process.
struct Running {
    child: Child,
    api: String,
    sidecar: String,
    /// Held, so that the host does not write into a closed pipe.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Plan {
    /// Starts a host and waits until it listens.
    async fn start(&self) -> Result<Running> {
        let mut command = Command::new(&self.program);
        command.arg("server").arg("--data-dir").arg(&self.data_dir);
        command.args(["--api-address", &self.listen.api_address, "--sidecar-address", &self.listen.sidecar_address]);
        command.args(["--namespace", &self.listen.namespace]).args(self.listen.permits.arguments());
        command.args(["--max-connections", &self.listen.max_connections.to_string()]);
        command.args(["--max-requests", &self.listen.max_requests.to_string()]);
        command.args(["--code-cache", &self.listen.code_cache.as_u64().to_string()]);
        command.args(["--code-idle", &self.listen.code_idle.to_string()]);
        for (flag, limits) in [("--default-limit", &self.listen.default_limit), ("--max-limit", &self.listen.max_limit)]
        {
            for limit in limits.iter().flat_map(AskedLimits::texts) {
                command.args([flag, &limit]);
            }
        }
        if let Some(memory) = self.listen.guest_memory {
            command.args(["--guest-memory", &memory.as_u64().to_string()]);
        }
        // Its addresses are read below, in the form for people.
        command.args(["--output", "text"]).envs([self.level.variable()]);
        // In a group of its own: a ctrl-C is for this command, which has something to take back first.
        command.process_group(0).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("run {}", self.program.display()))?;
        let stdout = child.stdout.take().context("its standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let addresses = tokio::time::timeout(START_LIMIT, addresses(&mut lines)).await;
        let Some((api, sidecar)) = addresses.context("it does not listen in time")?? else {
            let status = child.wait().await?;
            anyhow::bail!("it ended at once ({status}); its reason is above");
        };
        print::remark(format!("host     process {}, started again when it dies", child.id().unwrap_or_default()));
        Ok(Running { child, api, sidecar, _stdout: lines })
    }

    /// The same, at the addresses that a host has found.
    fn at(self, running: &Running) -> Plan {
        let bare = |url: &str| url.trim_start_matches("http://").to_owned();
        let (api_address, sidecar_address) = (bare(&running.api), bare(&running.sidecar));
        Plan { listen: Listen { api_address, sidecar_address, ..self.listen }, ..self }
    }

    /// Starts the host again whenever it ends, until it is told to stop.
    async fn keep(self, running: Running, mut stop: oneshot::Receiver<()>) {
        let mut running = Some(running);
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(mut host) = running.take() {
                let began = Instant::now();
                let status = tokio::select! {
                    status = host.child.wait() => status,
                    _ = &mut stop => return end(host.child).await,
                };
                if began.elapsed() >= STEADY {
                    pause = FIRST_PAUSE;
                }
                print::remark(format!("the host ended ({}); it is started again", describe(status)));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = &mut stop => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            let started = tokio::select! {
                started = self.start() => started,
                _ = &mut stop => return,
            };
            match started {
                Ok(host) => running = Some(host),
                Err(error) => print::remark(format!("start of the host: {error:#}; it is tried again")),
            }
        }
    }
}

/// The two lines that a host says where it listens with; nothing when it ends before.
async fn addresses(lines: &mut Lines<BufReader<ChildStdout>>) -> std::io::Result<Option<(String, String)>> {
    let (mut api, mut sidecar) = (None, None);
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("api", address)) => api = Some(address.trim().to_owned()),
            Some(("sidecar", address)) => sidecar = Some(address.trim().to_owned()),
            _ => {}
        }
        if let (Some(api), Some(sidecar)) = (&api, &sidecar) {
            return Ok(Some((api.clone(), sidecar.clone())));
        }
    }
    Ok(None)
}

/// Asks a host to end, and ends it when it does not.
async fn end(mut child: Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    // A process that is gone needs no signal.
    let is_asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
    if is_asked && tokio::time::timeout(END_LIMIT, child.wait()).await.is_ok() {
        return;
    }
    let _ = child.kill().await;
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}
