//! Measures a broker: publishers that wait for each of their messages, and a group that acknowledges them.
//!
//!     cargo run --release -p micro-mesh --example broker_speed -- [KIND…] [--publishers N] [--messages N] [--rate N]
//!
//! Without a rate, everybody goes as fast as they can. With one, so many messages a second are published, and the time
//! from publishing to delivery says more than the speed.
#![expect(clippy::print_stdout, reason = "a measurement is for whoever runs it")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use micro_mesh::broker::{
    self, Broker, BrokerError, Group, Message, OpenOptions, Pattern, PublishOptions, SubscribeOptions, Subscription,
};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// The bytes of a message.
const SIZE: usize = 200;

#[derive(Clone, Copy)]
struct Load {
    publishers: u64,
    messages: u64,
    /// Messages a second, as many as go if there is none.
    rate: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut load = Load { publishers: 64, messages: 200_000, rate: None };
    let mut kinds = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().unwrap_or_default().parse::<u64>();
        match argument.as_str() {
            "--publishers" => load.publishers = number()?.max(1),
            "--messages" => load.messages = number()?,
            "--rate" => load.rate = Some(number()?.max(1)),
            _ => kinds.push(argument),
        }
    }
    if kinds.is_empty() {
        kinds = vec!["memory".to_owned(), "sqlite".to_owned()];
    }
    for kind in kinds {
        let folder = tempfile::tempdir()?;
        let options = OpenOptions { path: Some(folder.path().join("broker")), ..OpenOptions::default() };
        let broker = broker::open(&kind, options).await?;
        measure(&kind, &broker, load).await?;
        broker.close().await?;
    }
    Ok(())
}

async fn measure(kind: &str, broker: &Arc<dyn Broker>, load: Load) -> Result<(), Box<dyn Error>> {
    let pattern = Pattern::new("speed")?;
    let group = Some(Group::durable("g"));
    let options = SubscribeOptions { group, prefetch: 1_024, ..SubscribeOptions::default() };
    let subscription = broker.subscribe(&pattern, options).await?;
    let began = Instant::now();
    let each = load.messages / load.publishers;
    let receiver = tokio::spawn(receive(subscription, each * load.publishers, began));
    let mut publishers = JoinSet::new();
    for publisher in 0..load.publishers {
        publishers.spawn(publish(broker.clone(), publisher, each, load, began));
    }
    let mut told = Vec::new();
    for times in publishers.join_all().await {
        told.extend(times?);
    }
    let mut came = receiver.await?;
    let seconds = began.elapsed().as_secs_f64();
    let count = came.len();
    println!(
        "broker={kind} messages={count} messages_per_s={:.0} delivered_p50_ms={:.2} delivered_p99_ms={:.2} \
         delivered_max_ms={:.2} told_p50_ms={:.2} told_p99_ms={:.2}",
        count as f64 / seconds,
        quantile(&mut came, 0.5),
        quantile(&mut came, 0.99),
        quantile(&mut came, 1.0),
        quantile(&mut told, 0.5),
        quantile(&mut told, 0.99),
    );
    Ok(())
}

/// Publishes, and says how long each message took until the broker had it.
async fn publish(
    broker: Arc<dyn Broker>,
    publisher: u64,
    count: u64,
    load: Load,
    began: Instant,
) -> Result<Vec<Duration>, BrokerError> {
    let options = PublishOptions { patience: Duration::from_secs(30), ..PublishOptions::default() };
    let mut ticks = load.rate.map(|rate| {
        let mut ticks = interval(Duration::from_secs_f64(load.publishers as f64 / rate as f64));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    });
    let mut times = Vec::new();
    for number in 0..count {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let start = Instant::now();
        let mut body = vec![b'x'; SIZE];
        let stamp = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        body.splice(..stamp.len(), stamp);
        // Some servers take what has the same id for the same message.
        let id = format!("{publisher}-{number}");
        let message = Message::new(body).with("content-type", "application/json").with("micro-id", id);
        broker.publish("speed", message, options).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// Acknowledges what comes, and says how long each message was on its way.
async fn receive(mut subscription: Subscription, count: u64, began: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        let Some(delivery) = subscription.next().await else { break };
        let stamp: [u8; 8] = delivery.message.body.get(..8).and_then(|stamp| stamp.try_into().ok()).unwrap_or_default();
        times.push(began.elapsed().saturating_sub(Duration::from_nanos(u64::from_le_bytes(stamp))));
        delivery.ack();
    }
    times
}

/// In milliseconds.
fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share) as usize).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}
