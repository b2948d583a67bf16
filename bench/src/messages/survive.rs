//! Nothing is lost while the host is killed again and again.

use crate::host::Host;
use crate::{Settings, say};
use anyhow::{Context as _, ensure};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Publishers at the same time; each has keys of its own, and waits for each message to be taken.
const PUBLISHERS: u64 = 64;
const KEYS: u64 = 1000;
const KILLS: u64 = 10;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// How long the messages may take to be handled when all were published.
const PATIENCE: Duration = Duration::from_secs(900);

pub(super) async fn run(settings: &Settings, messages: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let per_key = messages / KEYS;
    ensure!(per_key > 0, "at least {KEYS} messages are needed");
    let mut host = Host::start(settings, folder.path(), None).await?;
    host.deploy(settings, "keeper").await?;
    let sidecar = host.sidecar.clone();
    let began = Instant::now();
    let (published, tries) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|first| tokio::spawn(publish(sidecar.clone(), first, per_key, published.clone(), tries.clone())))
        .collect();
    for kill in 1..=KILLS {
        // Spread over the publishing, each at another moment.
        while published.load(Ordering::Relaxed) < per_key * KEYS * kill / (KILLS + 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        host.kill().await?;
        host = Host::start(settings, folder.path(), Some(&sidecar)).await?;
    }
    for publisher in publishers {
        publisher.await??;
    }
    let published = published.load(Ordering::Relaxed);
    let took = began.elapsed().as_secs_f64();
    say(format!(
        "{published} published in {took:.0} s, in {} tries beyond that",
        tries.load(Ordering::Relaxed) - published
    ))?;
    await_end(&host).await?;
    let report = host.call("keeper", "Keeper.Report", json!({ "numbers": per_key })).await?;
    let letters = letters(&host).await?;
    // One of each thousand can never be handled, and stands in no key's way.
    let poison = (1..=per_key).filter(|number| number % 1000 == 500).count() as u64 * KEYS;
    let missing_poison = poison.saturating_sub(letters.len() as u64);
    host.stop().await?;
    say(format!(
        "published={published} kills={KILLS} keys={} missing={} out_of_order={} handled_again={} poison={poison} \
         dead_letters={} seconds={:.0}",
        report["keys"],
        report["missing"].as_u64().unwrap_or(u64::MAX) + missing_poison,
        report["disordered"],
        report["again"],
        letters.len(),
        began.elapsed().as_secs_f64(),
    ))?;
    ensure!(report["keys"] == KEYS && report["missing"] == 0 && missing_poison == 0, "messages are missing");
    ensure!(report["disordered"] == 0, "messages came out of order");
    Ok(())
}

/// Publishes the numbers of some keys, each key's in their order, each again until the host has taken it.
async fn publish(
    sidecar: String,
    first: u64,
    per_key: u64,
    published: Arc<AtomicU64>,
    tries: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    for number in 1..=per_key {
        for key in (first..KEYS).step_by(PUBLISHERS as usize) {
            let url = format!("http://{sidecar}/broker?topic=numbers.{}&key=k{key}", key % 10);
            loop {
                let request = http.post(&url).header("content-type", "application/json");
                let request = request.header("micro-id", format!("{key}-{number}"));
                tries.fetch_add(1, Ordering::Relaxed);
                match request.body(format!("{{\"number\":{number}}}")).send().await {
                    Ok(answer) if answer.status().is_success() => break,
                    // The host is gone, or not yet back: it may have the message or not.
                    Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
            published.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Waits until nothing is left to be handled.
async fn await_end(host: &Host) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let topics = host.get("/topics").await?;
        let lag: u64 =
            topics["topics"].as_array().into_iter().flatten().filter_map(|topic| topic["lag"].as_u64()).sum();
        if lag == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{lag} messages are not handled");
        tokio::time::sleep(LOOK).await;
    }
}

/// The dead letters, each once: one that was published twice died twice.
async fn letters(host: &Host) -> anyhow::Result<BTreeSet<String>> {
    let (mut found, mut from) = (BTreeSet::new(), 0);
    loop {
        let page = host.get(&format!("/dead-letters/keeper?from={from}")).await?;
        let letters = page["letters"].as_array().context("no letters")?.clone();
        let Some(last) = letters.last().and_then(|letter| letter["offset"].as_u64()) else { return Ok(found) };
        found.extend(letters.iter().filter_map(|letter| letter["header"]["micro-id"].as_str().map(str::to_owned)));
        from = last + 1;
    }
}
