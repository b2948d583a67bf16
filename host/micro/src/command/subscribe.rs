//! `micro subscribe`

use std::io::Write;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::{Options, Output, print};
use crate::admin::topics::Event;

/// Print the messages of a topic as they come
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  micro subscribe 'orders.*'
  micro subscribe orders.created --queue desk
  micro subscribe audit --from earliest --count 10

A message that was sent to this command counts as handled. With --output json: one object on each line, {\"Topic\", \"Header\", \
\"Body\"}; Body is base64.")]
pub struct Arguments {
    /// The topic, or a pattern: orders.created, orders.*, orders.>
    topic: String,

    /// Share the messages with others in this queue
    #[arg(long)]
    queue: Option<String>,

    /// Where to begin: earliest, latest, offset:NUMBER or time:MILLISECONDS [default: latest]
    #[arg(long, value_name = "POSITION")]
    from: Option<String>,

    /// End after so many messages
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

/// Prints messages until the host ends.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { topic, queue, from, count } = arguments;
    let mut left = count.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    let mut messages = options.host()?.subscribe(&topic, queue.as_deref(), from.as_deref()).await?;
    while let Some(message) = messages.next().await? {
        match serde_json::from_str::<Event>(&message.data) {
            Ok(event) if options.output == Output::Text => show(&event)?,
            // A message that does not read is shown as it came.
            _ => print::line(&message.data)?,
        }
        left -= 1;
        if left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// The topic and the body on one line.
fn show(event: &Event) -> Result<()> {
    let body = STANDARD.decode(&event.body).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    write!(out, "{}  ", event.topic)?;
    match std::str::from_utf8(&body) {
        Ok(text) => writeln!(out, "{}", text.trim_end())?,
        Err(_) => writeln!(out, "{} bytes, base64 {}", body.len(), event.body)?,
    }
    out.flush()?;
    Ok(())
}
