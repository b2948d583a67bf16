//! `micro stream`

use std::io::{ErrorKind, Read};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::call::{metadata_pair, request_text};
use super::failure::Failure;
use super::{Options, print};

/// Read so much of the messages at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// Chunks that wait to be sent.
const WAITING: usize = 4;

/// Call an endpoint that streams, and print each message as it comes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  micro stream clock Ticks.Every '{\"seconds\": 1}'
  micro stream sums Adder.Add '{\"start\": 5}' --send numbers.ndjson
  generate | micro stream chat Room.Talk --send -

Each message is printed as JSON on a line of its own, with --output json too. An error is printed as `error streaming \
SERVICE.ENDPOINT: {\"id\", \"code\", \"detail\", \"status\"}` on standard output, with exit status 1. Ctrl-C leaves, and \
the service is told.")]
pub struct Arguments {
    /// The service's name
    service: String,

    /// The endpoint: Ticks.Every
    endpoint: String,

    /// The request as JSON, {} by default; @FILE reads it from a file
    #[arg(value_name = "JSON")]
    request: Vec<String>,

    /// Send the messages in this file, a line of JSON for each; - reads them from standard input as they come
    #[arg(long, value_name = "FILE")]
    send: Option<String>,

    /// Passed on with the call; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
}

/// Prints messages until there are no more.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { service, endpoint, request, send, metadata } = arguments;
    if send.as_deref() == Some("-") && request.as_slice() == ["-"] {
        return Err(Failure::usage("standard input holds the request or the messages, not both").into());
    }
    let request = request_text(&request)?;
    let metadata = metadata.iter().map(|pair| metadata_pair(pair)).collect::<Result<Vec<_>, _>>()?;
    let host = options.host()?;
    let request = RawValue::from_string(request);
    let request = request.map_err(|error| Failure::usage(format!("the request is not JSON: {error}")))?;
    let opened = match send {
        None => host.stream(&service, &endpoint, &request, &metadata).await,
        Some(from) => host.stream_both_ways(&service, &endpoint, &request, &metadata, lines_of(&from)?).await,
    };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::plain(format!("error streaming {service}.{endpoint}: {error}")).on_stdout()
    };
    let mut messages = match opened {
        Ok(messages) => messages,
        Err(crate::admin::HostError::Refused(error)) => return Err(failed(&error).into()),
        Err(error) => return Err(error.into()),
    };
    let mut kept: Option<String> = None;
    while let Some(line) = messages.next().await? {
        // What looks like an error and is not the last line is a message.
        if let Some(message) = kept.take() {
            print::line(message)?;
        }
        match error_of(&line) {
            Some(_) => kept = Some(line),
            None if line.is_empty() => {}
            None => print::line(line)?,
        }
    }
    match kept.as_deref().and_then(error_of) {
        Some(error) => Err(failed(&error).into()),
        None => Ok(()),
    }
}

/// The error that a line tells, if it does.
fn error_of(line: &str) -> Option<micro_mesh::Error> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Last {
        error: micro_mesh::Error,
    }
    let is_like_one = line.starts_with("{\"error\":");
    is_like_one.then(|| serde_json::from_str::<Last>(line).ok()).flatten().map(|last| last.error)
}

/// What a file or standard input holds, as it can be read.
///
/// A thread of its own reads it, one that nobody waits for: standard input may go on when the call has ended.
fn lines_of(from: &str) -> Result<mpsc::Receiver<std::io::Result<Bytes>>> {
    let mut source: Box<dyn Read + Send> = match from {
        "-" => Box::new(std::io::stdin()),
        file => Box::new(std::fs::File::open(file).with_context(|| format!("read the messages from {file}"))?),
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    let read = move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            let part = match source.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&chunk[..length])),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = part.is_err();
            // A receiver that is gone has no use for more.
            if sender.blocking_send(part).is_err() || is_last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("messages".into()).spawn(read).context("start a thread for the messages")?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_error_is_one() {
        let error = error_of(r#"{"error":{"id":"x","code":409,"detail":"no","status":"Conflict"}}"#).unwrap();
        assert_eq!((error.code, &*error.detail), (409, "no"));
        for message in
            [r#"{"error":"no"}"#, r#"{"error":{"code":1},"more":2}"#, r#"{"a":1}"#, "7", "\"{\\\"error\\\":\""]
        {
            assert!(error_of(message).is_none(), "{message}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_to_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "{\"n\":1}\n".repeat(10_000);
        std::fs::write(file.path(), &text).unwrap();
        let mut chunks = lines_of(file.path().to_str().unwrap()).unwrap();
        let mut read = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            read.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(read, text.as_bytes());
        let missing = lines_of("/no/such/file").unwrap_err();
        assert!(missing.to_string().contains("/no/such/file"), "{missing}");
    }
}
