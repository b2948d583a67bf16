//! How fast messages come from a guest to a guest.

use crate::host::Host;
use crate::{Settings, say};
use anyhow::ensure;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PUBLISHERS: u64 = 64;
/// Bytes of each message.
const SIZE: u64 = 200;
/// Messages that a guest publishes in one call, where it publishes several.
const TOGETHER: u64 = 500;
const TOPIC: &str = "speed.test";

/// Between two looks, and how long the last messages may take.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn run(settings: &Settings, messages: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(settings, folder.path(), None).await?;
    for name in ["sink", "flood"] {
        host.deploy(settings, name).await?;
    }
    // The first ones load what is needed.
    measure(&host, messages / 20, 0, 1).await?;
    let (rate, _) = measure(&host, messages, 0, 1).await?;
    let half = (rate / 2.0) as u64;
    let (paced, report) = measure(&host, half * 5, half, 1).await?;
    let (together, _) = measure(&host, messages, 0, TOGETHER).await?;
    host.stop().await?;
    say(format!(
        "messages_per_s={rate:.0}; at {paced:.0}/s p50_ms={:.2} p99_ms={:.2}; {TOGETHER} in a call \
         messages_per_s={together:.0}",
        report["p50_ms"].as_f64().unwrap_or_default(),
        report["p99_ms"].as_f64().unwrap_or_default(),
    ))
}

/// Publishes so many messages, and waits until the last of them came; gives how many that is in a second.
async fn measure(host: &Host, messages: u64, rate: u64, together: u64) -> anyhow::Result<(f64, Value)> {
    let each = messages.div_ceil(PUBLISHERS);
    let wanted = each * PUBLISHERS;
    host.call("sink", "Sink.Report", json!({})).await?;
    let began = Instant::now();
    let publishers = (0..PUBLISHERS).map(|_| {
        let rate = if rate == 0 { 0 } else { rate.div_ceil(PUBLISHERS) };
        let flood = json!({ "topic": TOPIC, "count": each, "size": SIZE, "rate": rate, "together": together });
        host.call("flood", "Flood.Publish", flood)
    });
    futures::future::try_join_all(publishers).await?;
    let published = Instant::now();
    loop {
        let count = host.call("sink", "Sink.Count", json!({})).await?["result"].as_u64().unwrap_or_default();
        if count >= wanted {
            break;
        }
        ensure!(published.elapsed() < PATIENCE, "only {count} of {wanted} messages came");
        tokio::time::sleep(LOOK).await;
    }
    let took = began.elapsed();
    let report = host.call("sink", "Sink.Report", json!({})).await?;
    Ok((wanted as f64 / took.as_secs_f64(), report))
}
