//! `micro logs`

use anyhow::Result;
use clap::Args;

use super::{Options, Output, print};
use crate::admin::LogLine;

/// Print what a function wrote, and what the host says about it
#[derive(Debug, Args)]
#[command(after_help = "\
With --output json: one object on each line, {\"time\", \"deployment\", \"revision\", \"request\", \"stream\", \
\"message\"}; stream is stdout, stderr or host, and request the id of the call.")]
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
    let LogLine { time, revision, stream, message, .. } = line;
    format!("{time}  r{revision}  {stream:<6}  {}", message.trim_end()).trim_end().to_owned()
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
        assert_eq!(layout(&line), "2026-01-01T00:00:00Z  r3  host    out of memory");
    }
}
