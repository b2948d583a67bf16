//! How many functions fit on one host: `make density N=10000`.
//!
//! Makes so many components that no two share their code, deploys them to a fresh host, starts that host again, and
//! measures what the start takes, what a function's first call takes, and what memory holds then. `scripts/density`
//! says what the figures mean.

mod component;
mod host;

use anyhow::{Context as _, ensure};
use host::Host;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Deploys at the same time: one waits for the disk while another is compiled.
const DEPLOYERS: usize = 4;
/// First calls that are measured, at most: one after the other, and each after a while in which nothing happened.
const SAMPLE: usize = 2_000;
const SAMPLE_OF_IDLE: usize = 1_000;
/// That while. It is long enough for a machine to let its processors sleep.
const PAUSE: Duration = Duration::from_millis(5);
/// Calls at the same time when all functions are called.
const CALLERS: usize = 4;

/// What a run is asked for.
struct Settings {
    micro: PathBuf,
    functions: usize,
    /// The budget of the host's loaded code, as the flag takes it.
    code_cache: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let micro = arguments.next().context("usage: bench-density PROGRAM FUNCTIONS [CODE-CACHE]")?;
    let functions = arguments.next().context("how many functions")?.parse().context("how many functions")?;
    ensure!(functions > 0, "at least one function is needed");
    measure(Settings { micro: micro.into(), functions, code_cache: arguments.next() }).await
}

async fn measure(settings: Settings) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(&settings.micro, folder.path(), None, settings.code_cache.as_deref()).await?;
    let fresh = host.resident()?;
    deploy_all(&host, settings.functions).await?;
    say(format!("a fresh host holds {:.1} MB, after the deploys {:.1} MB", mb(fresh), mb(host.resident()?)))?;
    let addresses = host.stop().await?;

    let began = Instant::now();
    let host = Host::start(&settings.micro, folder.path(), Some(&addresses), settings.code_cache.as_deref()).await?;
    let start = began.elapsed();
    let resident = host.resident()?;
    say(format!("started in {:.3} s with {:.1} MB", start.as_secs_f64(), mb(resident)))?;

    let sample = sample(settings.functions, SAMPLE + SAMPLE_OF_IDLE);
    let (busy, idle) = sample.split_at(sample.len() * SAMPLE / (SAMPLE + SAMPLE_OF_IDLE));
    let first = first_calls(&host, busy, None).await?;
    first_calls(&host, idle, Some(PAUSE)).await?;
    say(format!("then {:.1} MB; {}", mb(host.resident()?), host.code().await?))?;

    let most = call_all(&host, settings.functions).await?;
    say(format!(
        "all were called: at most {:.1} MB, now {:.1} MB; {}",
        mb(most),
        mb(host.resident()?),
        host.code().await?
    ))?;
    listings(&host).await?;
    host.stop().await?;

    say(format!(
        "n={} start_s={:.3} rss_mb={:.1} first_call_p99_ms={:.3}",
        settings.functions,
        start.as_secs_f64(),
        mb(resident),
        millis(percentile(&first, 0.99)),
    ))
}

/// Calls functions that nobody called before, each twice, and says what that took; gives the times of the first calls,
/// sorted.
async fn first_calls(host: &Host, functions: &[usize], pause: Option<Duration>) -> anyhow::Result<Vec<Duration>> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for number in functions {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        first.push(host.call(*number).await?);
        again.push(host.call(*number).await?);
    }
    first.sort_unstable();
    again.sort_unstable();
    let figures = |sorted: &[Duration]| {
        let [p50, p90, p99, worst] = [0.5, 0.9, 0.99, 1.0].map(|share| millis(percentile(sorted, share)));
        format!("p50 {p50:.3}, p90 {p90:.3}, p99 {p99:.3}, worst {worst:.3} ms")
    };
    let how = pause.map_or("one after the other".to_string(), |pause| format!("each after {pause:?} of silence"));
    say(format!("{} first calls, {how}: {}; each again: {}", first.len(), figures(&first), figures(&again)))?;
    Ok(first)
}

/// Deploys all functions, and says what a deploy took when there were few and when there were many.
async fn deploy_all(host: &Host, functions: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut digests = HashSet::new();
    let slice = (functions / 10).clamp(1, 500);
    let mut at_slice = Instant::now();
    let mut report = String::new();
    let mut next = 0;
    while next < functions {
        let until = (next + slice).min(functions);
        let mut components = Vec::with_capacity(until - next);
        for number in next..until {
            let component = component::make(number as u32)?;
            ensure!(digests.insert(sha256(&component)), "function {number} is the same as another one");
            components.push((number, component));
        }
        let count = components.len();
        let began_slice = Instant::now();
        let queue = tokio::sync::Mutex::new(components.into_iter());
        let deployers = (0..DEPLOYERS).map(async |_| {
            loop {
                let Some((number, component)) = queue.lock().await.next() else { return anyhow::Ok(()) };
                host.deploy(number, component).await?;
            }
        });
        futures::future::try_join_all(deployers).await?;
        let each = began_slice.elapsed().as_secs_f64() * 1000.0 / count as f64;
        if next == 0 || until == functions {
            let _ = write!(report, "{}{each:.2} ms each up to {until}", if report.is_empty() { "" } else { ", " });
        }
        next = until;
        if at_slice.elapsed() > Duration::from_secs(20) {
            at_slice = Instant::now();
            say(format!("{next} of {functions} are deployed, {each:.2} ms each"))?;
        }
    }
    say(format!("{functions} deployed in {:.1} s: {report}", began.elapsed().as_secs_f64()))
}

/// Calls every function, and gives the most memory that the host held meanwhile.
async fn call_all(host: &Host, functions: usize) -> anyhow::Result<u64> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let most = std::sync::atomic::AtomicU64::new(0);
    let callers = (0..CALLERS).map(async |_| {
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number >= functions {
                return anyhow::Ok(());
            }
            host.call(number).await?;
            if number.is_multiple_of(100) {
                most.fetch_max(host.resident()?, std::sync::atomic::Ordering::Relaxed);
            }
        }
    });
    futures::future::try_join_all(callers).await?;
    Ok(most.into_inner().max(host.resident()?))
}

/// Asks for everything there is, and says how long that takes and how long a call takes meanwhile.
async fn listings(host: &Host) -> anyhow::Result<()> {
    for path in ["/v1/deployments", "/openapi.json", "/registry"] {
        let began = Instant::now();
        let mut worst = Duration::ZERO;
        let listing = host.get(path);
        tokio::pin!(listing);
        let bytes = loop {
            tokio::select! {
                bytes = &mut listing => break bytes?,
                took = host.call(0) => worst = worst.max(took?),
            }
        };
        let (took, size) = (began.elapsed().as_secs_f64(), bytes as f64 / 1e6);
        let resident = mb(host.resident()?);
        say(format!(
            "{path}: {took:.2} s, {size:.1} MB; calls meanwhile at most {:.1} ms; host {resident:.1} MB",
            millis(worst)
        ))?;
    }
    Ok(())
}

/// So many numbers below `functions`, each once, in no order.
fn sample(functions: usize, count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..functions).collect();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for at in 0..count.min(functions) {
        // xorshift: any order will do that is not the one of the deploys.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = at + (state % (functions - at) as u64) as usize;
        numbers.swap(at, other);
    }
    numbers.truncate(count);
    numbers
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

fn say(line: String) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "density: {line}")?)
}

/// The name of a function by its number.
fn name(number: usize) -> String {
    format!("f{number:05}")
}

/// The file of a host's data folder.
fn read(folder: &Path, file: &str) -> anyhow::Result<String> {
    let path = folder.join(file);
    Ok(std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?.trim().to_string())
}
