//! `micro logs`

use anyhow::Result;
use clap::Args;

use super::{Options, Output, print};
use crate::admin::LogLine;

/// Print what a function wrote, and what the host says about it
#[derive(Debug, Args)]
#[command(after_help = "\
Each line has its time, the revision, the first digits of the request it was written for (the whole id is in the reply's \
header x-request-id and in errors), stdout, stderr, host or the level that wasi:logging gave it, and the text.

With --output json: one object on each line, {\"time\", \"deployment\", \"revision\", \"request\", \"stream\", \
\"message\"}; stream is stdout, stderr, host or log, which has a \"level\" beside it, and request the id of the call.")]
pub struct Arguments {
    /// The deployment
    name: String,

    /// Go on with new lines as they are written
    #[arg(short, long)]
    follow: bool,

    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
}

/// So many of a request's digits tell its lines apart.
const REQUEST_DIGITS: usize = 8;

/// Prints log lines until there are no more.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { name, follow, lines } = arguments;
    let mut stream = options.host()?.logs(&name, lines, follow).await?;
    while let Some(line) = stream.next().await? {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str::<LogLine>(&line) {
            Ok(record) if options.output == Output::Text => print::line(layout(&record))?,
            // A line that does not read is shown as it came.
            _ => print::line(&line)?,
        }
    }
    Ok(())
}

fn layout(line: &LogLine) -> String {
    let LogLine { time, revision, request, message, .. } = line;
    let stream = line.level.as_ref().unwrap_or(&line.stream);
    let request = match request.get(..REQUEST_DIGITS) {
        Some(digits) if request.bytes().any(|digit| digit != b'0') => digits,
        _ => "-",
    };
    let message = message.trim_end();
    format!("{time}  r{revision}  {request:<REQUEST_DIGITS$}  {stream:<6}  {message}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_one_line() {
        let line = LogLine {
            time: "2026-01-01T00:00:00Z".into(),
            revision: 3,
            stream: "host".into(),
            message: "out of memory\n".into(),
            ..LogLine::default()
        };
        assert_eq!(layout(&line), "2026-01-01T00:00:00Z  r3  -         host    out of memory");
        let line = LogLine { request: "942d354b30be4909aaa9411a3f82ae5e".into(), ..line };
        assert_eq!(layout(&line), "2026-01-01T00:00:00Z  r3  942d354b  host    out of memory");
    }
}
