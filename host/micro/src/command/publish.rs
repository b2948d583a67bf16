//! `micro publish`

use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::Args;

use super::Options;
use super::call::{metadata_pair, request_text};
use super::failure::Failure;
use crate::admin::topics::Outgoing;

/// Publish a message to a topic
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  micro publish orders.created '{\"id\": 7}' --key 7
  micro publish reports @report.pdf --content-type application/pdf
  generate | micro publish reminders - --in 1h

The broker has the message when the command ends with status 0.")]
pub struct Arguments {
    /// The topic: orders.created
    topic: String,

    /// The message; @FILE reads it from a file and - from standard input
    #[arg(value_name = "MESSAGE")]
    message: Vec<String>,

    /// What it belongs together with: messages with the same key are handled in their order
    #[arg(long)]
    key: Option<String>,

    /// Deliver it after this time: 90s, 1h
    #[arg(long = "in", value_name = "TIME")]
    later: Option<humantime::Duration>,

    /// What the message is
    #[arg(long, alias = "content_type", value_name = "TYPE", default_value = micro_mesh::call::JSON)]
    content_type: String,

    /// Tells it from all others, for subscribers that must not do things twice [default: one that nobody else has]
    #[arg(long)]
    id: Option<String>,

    /// A header for the subscribers; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
}

/// Publishes.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { topic, message, key, later, content_type, id, metadata } = arguments;
    if message.is_empty() {
        return Err(Failure::usage("require a message e.g. micro publish orders.created '{\"id\": 7}'").into());
    }
    let header = metadata.iter().map(|pair| metadata_pair(pair)).collect::<Result<Vec<_>, _>>()?;
    let deliver_at = later.map(|time| deliver_at(time.into()));
    let body = match message.as_slice() {
        [one] if one == "-" || one.starts_with('@') => super::store::value_bytes(one)?,
        words => request_text(words)?.into_bytes(),
    };
    let message = Outgoing { content_type, key, deliver_at, id, header, body };
    options.host()?.publish(&topic, message).await?;
    Ok(())
}

fn deliver_at(later: Duration) -> u64 {
    let at = SystemTime::now().checked_add(later).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    at.and_then(|at| u64::try_from(at.as_millis()).ok()).unwrap_or(u64::MAX)
}
