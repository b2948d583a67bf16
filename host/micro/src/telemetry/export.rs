//! Spans on their way to the collector: queued, sent in batches in the background, and dropped where that is not fast
//! enough. No call ever waits for it.

use super::otlp::Resource;
use super::span::Record;
use super::{Settings, SpanCounts, otlp};
use crate::tls;
use anyhow::Context as _;
use prost::Message as _;
use reqwest::header::CONTENT_TYPE;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a host that stops waits for its last spans to be taken.
const FLUSH: Duration = Duration::from_secs(5);

/// More of what a collector says is not read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The way to the background.
pub(super) struct Queue {
    sender: mpsc::Sender<Job>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

enum Job {
    Span(Box<Record>),
    /// Everything before it has been sent, or lost.
    Flush(oneshot::Sender<()>),
}

impl Queue {
    /// Starts the task that sends. It ends when the queue is gone.
    pub(super) fn start(settings: Settings, host: &str) -> anyhow::Result<Queue> {
        tls::install_provider();
        let client = reqwest::Client::builder()
            .user_agent(concat!("micro/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .default_headers(settings.headers.clone())
            .build()
            .context("make a client for the collector of traces")?;
        let (sender, jobs) = mpsc::channel(settings.queue);
        let counts = Arc::<Counts>::default();
        let resource = Resource::new(&settings, host);
        let export = Export { client, settings, resource, counts: counts.clone(), is_down: false };
        tokio::spawn(export.run(jobs));
        Ok(Queue { sender, counts })
    }

    /// Queues a span, or counts it as lost.
    pub(super) fn put(&self, record: Box<Record>) {
        if self.sender.try_send(Job::Span(record)).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counts(&self) -> SpanCounts {
        SpanCounts {
            exported: self.counts.exported.load(Ordering::Relaxed),
            dropped: self.counts.dropped.load(Ordering::Relaxed),
        }
    }

    pub(super) async fn flush(&self) {
        let (tell, told) = oneshot::channel();
        let flush = async {
            if self.sender.send(Job::Flush(tell)).await.is_ok() {
                // A task that is gone has nothing left to send.
                let _ = told.await;
            }
        };
        if timeout(FLUSH, flush).await.is_err() {
            tracing::warn!("the last spans were not taken within {}", humantime::format_duration(FLUSH));
        }
    }
}

/// The task in the background.
struct Export {
    client: reqwest::Client,
    settings: Settings,
    resource: Resource,
    counts: Arc<Counts>,
    /// Whether the collector failed the last time: that is said once.
    is_down: bool,
}

impl Export {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::new();
        while let Some(job) = jobs.recv().await {
            let mut asked = take(job, &mut batch);
            let until = Instant::now() + self.settings.delay;
            while asked.is_none() && batch.len() < self.settings.batch {
                match timeout_at(until, jobs.recv()).await {
                    Ok(Some(job)) => asked = take(job, &mut batch),
                    // The time is over, or the host is.
                    Ok(None) | Err(_) => break,
                }
            }
            if !batch.is_empty() {
                self.send(std::mem::take(&mut batch)).await;
            }
            if let Some(asked) = asked {
                // Who no longer waits need not be told.
                let _ = asked.send(());
            }
        }
    }

    async fn send(&mut self, batch: Vec<Record>) {
        let count = batch.len() as u64;
        let message = otlp::request(&self.resource, batch).encode_to_vec();
        match self.post(message).await {
            Ok(rejected) => {
                if std::mem::take(&mut self.is_down) {
                    tracing::info!(endpoint = %self.settings.endpoint, "the collector of traces takes spans again");
                }
                let rejected = rejected.min(count);
                self.counts.exported.fetch_add(count - rejected, Ordering::Relaxed);
                self.counts.dropped.fetch_add(rejected, Ordering::Relaxed);
            }
            Err(reason) => {
                self.counts.dropped.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_down, true) {
                    tracing::warn!(endpoint = %self.settings.endpoint, "spans are lost until the collector takes them: {reason}");
                }
            }
        }
    }

    /// Sends a batch; gives how many of its spans the collector did not want.
    async fn post(&self, message: Vec<u8>) -> Result<u64, String> {
        let request = self.client.post(self.settings.endpoint.clone()).header(CONTENT_TYPE, otlp::CONTENT_TYPE);
        let mut response = request.body(message).send().await.map_err(|error| reason(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| reason(&error))? {
            if answer.len() + piece.len() > MAX_ANSWER {
                return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
            }
            answer.extend_from_slice(&piece);
        }
        Ok(otlp::rejected(&answer))
    }
}

/// Puts a span into the batch; gives who asks for all of it to be sent now.
fn take(job: Job, batch: &mut Vec<Record>) -> Option<oneshot::Sender<()>> {
    match job {
        Job::Span(record) => {
            batch.push(*record);
            None
        }
        Job::Flush(asked) => Some(asked),
    }
}

/// The last of an error's causes says what happened, the first only that something did.
fn reason(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut last = error.to_string();
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    last
}
