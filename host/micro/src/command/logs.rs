//! `micro logs`

use anyhow::Result;
use clap::Args;

use super::{Options, Output, print};
use crate::admin::{LogLine, LogOptions};

/// Print what functions wrote, and what the host says about them
#[derive(Debug, Args)]
#[command(after_help = "\
Each line has its time, the revision, the first digits of the request it was written for (the whole id is in the reply's \
header x-request-id and in errors), stdout, stderr, host or the level that wasi:logging gave it, and the text. Without \
a name, the deployment comes first.

Lines are kept on disk, up to 16 MiB of each deployment and 1 GiB of all; they outlive the host's end, and for a day \
the deployment's. Times are RFC 3339, 2026-01-31T12:00:00Z, or how long ago, 10m.

With --output json: one object on each line, {\"time\", \"deployment\", \"revision\", \"request\", \"stream\", \
\"message\"}; stream is stdout, stderr, host or log, and request the id of the call. Lines that belong to a trace have \
\"trace\" as well, and those to which the function gave a level, \"level\".")]
pub struct Arguments {
    /// The deployment [default: all of them]
    name: Option<String>,

    /// Go on with new lines as they are written
    #[arg(short, long)]
    follow: bool,

    /// How many of the last lines [default: 100; all with --since or --request]
    #[arg(short = 'n', long)]
    lines: Option<usize>,

    /// Lines from then on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Lines up to then
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<String>,

    /// Lines whose text matches a regular expression
    #[arg(short, long, value_name = "REGEX")]
    grep: Option<String>,

    /// Lines of one request or trace; the first digits of its id will do
    #[arg(long, value_name = "ID")]
    request: Option<String>,

    /// Lines from stdout, stderr or host; several with commas between
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,

    /// Lines to which the function gave this level or a graver one: trace, debug, info, warn, error, critical
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
}

/// So many of a request's digits tell its lines apart.
const REQUEST_DIGITS: usize = 8;

/// Prints log lines until there are no more.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { name, follow, lines, since, until, grep, request, stream, level } = arguments;
    let wanted = LogOptions { lines, follow, since, until, grep, request, stream, level };
    let mut stream = options.host()?.logs(name.as_deref(), &wanted).await?;
    while let Some(line) = stream.next().await? {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str::<LogLine>(&line) {
            Ok(record) if options.output == Output::Text => print::line(layout(&record, name.is_none()))?,
            // A line that does not read is shown as it came.
            _ => print::line(&line)?,
        }
    }
    Ok(())
}

fn layout(line: &LogLine, is_of_many: bool) -> String {
    let LogLine { time, deployment, revision, request, stream, level, message } = line;
    let request = match request.get(..REQUEST_DIGITS) {
        Some(digits) if request.bytes().any(|digit| digit != b'0') => digits,
        _ => "-",
    };
    let deployment = if is_of_many { format!("{deployment}  ") } else { String::new() };
    let level = level.as_ref().map(|level| format!("{level}  ")).unwrap_or_default();
    let message = message.trim_end();
    let head = format!("{deployment}{time}  r{revision}  {request:<REQUEST_DIGITS$}  {stream:<6}");
    format!("{head}  {level}{message}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_one_line() {
        let line = LogLine {
            time: "2026-01-01T00:00:00Z".into(),
            deployment: "greeter".into(),
            revision: 3,
            stream: "host".into(),
            message: "out of memory\n".into(),
            ..LogLine::default()
        };
        assert_eq!(layout(&line, false), "2026-01-01T00:00:00Z  r3  -         host    out of memory");
        let line = LogLine { request: "942d354b30be4909aaa9411a3f82ae5e".into(), level: Some("warn".into()), ..line };
        assert_eq!(layout(&line, true), "greeter  2026-01-01T00:00:00Z  r3  942d354b  host    warn  out of memory");
    }
}
