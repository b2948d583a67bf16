//! `micro top`

mod layout;
mod rates;
mod screen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::failure::Failure;
use super::stop::Stop;
use super::{Options, Output, print};
use crate::admin::{Host, HostError};
use rates::{Looks, Sample};

/// Show what deployments do at the moment, as `top` does for processes
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: q ends; n, c, e, p, r, w, m and u sort by name, calls, errors, p99, running, waiting, memory and CPU; the arrows \
scroll.

Times are taken from a histogram: they are right to within its next bound. CPU is of one core, so a host with four can \
show 400. What the host does not measure shows as -.

With --output json, and where standard output is no terminal: one look over one interval. {\"interval_seconds\", \
\"cpu_percent\", \"resident_bytes\", \"deployments\": [{\"name\", \"kind\", \"calls_per_second\", \
\"errors_per_second\", \"p50_seconds\", \"p99_seconds\", \"in_flight\", \"queued\", \"instances\", \"memory_bytes\", \
\"cpu_percent\"}, …]}.")]
pub struct Arguments {
    /// How long to count before the numbers are shown, and shown anew
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,

    /// What comes first
    #[arg(long, value_enum, value_name = "COLUMN", default_value_t = Column::Calls)]
    sort: Column,

    /// Print the numbers of one interval and end
    #[arg(long)]
    once: bool,
}

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Column {
    Name,
    Calls,
    Errors,
    P99,
    Running,
    Waiting,
    Memory,
    Cpu,
}

/// More often would show the cost of looking.
const SHORTEST: Duration = Duration::from_millis(100);

/// Shows until it is told to end.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { interval, sort, once } = arguments;
    if interval < SHORTEST {
        let shortest = humantime::format_duration(SHORTEST);
        return Err(Failure::usage(format!("--interval must be {shortest} or longer")).into());
    }
    let host = options.host()?;
    if once || options.output == Output::Json || !io::stdout().is_terminal() {
        let sample = one(&host, interval).await?;
        match options.output {
            Output::Json => print::line(serde_json::to_string(&sample)?)?,
            Output::Text => print::line(layout::page(&sample, sort))?,
        }
        return Ok(());
    }
    // A host that is not there is said as any command says it.
    let first = host.top(None).await?.value;
    let stop = Stop::listen()?;
    let mut looks = Looks::default();
    looks.take(first, Instant::now());
    let (tell, news) = mpsc::channel(1);
    let looking = tokio::spawn(look(host, looks, interval, tell));
    let outcome = screen::show(news, sort, stop).await;
    looking.abort();
    outcome
}

/// The numbers of one interval.
async fn one(host: &Host, interval: Duration) -> Result<Sample> {
    let mut looks = Looks::default();
    let first = host.top(None).await?.value;
    looks.take(first, Instant::now());
    loop {
        tokio::time::sleep(interval).await;
        let next = host.top(looks.since()).await?.value;
        // A host that was started anew meanwhile is looked at once more.
        if let Some(sample) = looks.take(next, Instant::now()) {
            return Ok(sample);
        }
    }
}

/// Looks again and again, until nobody wants to know.
async fn look(host: Host, mut looks: Looks, interval: Duration, tell: mpsc::Sender<Result<Sample, HostError>>) {
    let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let news = match host.top(looks.since()).await {
            Ok(answer) => match looks.take(answer.value, Instant::now()) {
                Some(sample) => Ok(sample),
                None => continue,
            },
            Err(error) => Err(error),
        };
        if tell.send(news).await.is_err() {
            return;
        }
    }
}
