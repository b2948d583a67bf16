//! Which lines somebody wants to see.

use super::block::Head;
use super::record::{self, Record};
use micro_engine::log::{Level, Stream};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use std::time::SystemTime;

/// Lines shown when nobody says how many, or since when.
const DEFAULT_LINES: usize = 100;

/// Memory of a compiled expression, in bytes. Its time is linear in the line.
const EXPRESSION: usize = 1024 * 1024;

/// What somebody asks a log for, as it is written in a query string. What is not said leaves nothing out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    lines: Option<usize>,
    follow: bool,
    since: Option<String>,
    until: Option<String>,
    grep: Option<String>,
    request: Option<String>,
    stream: Option<String>,
    level: Option<String>,
}

/// The same, read.
#[derive(Debug, Clone)]
pub struct Query {
    /// The last so many of those that fit.
    pub(super) lines: usize,
    /// Go on with those that come.
    pub(super) follow: bool,
    pub(super) filter: Filter,
}

/// Which lines fit.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    since: Option<u64>,
    until: Option<u64>,
    grep: Option<Regex>,
    request: Option<Digits>,
    /// None for all.
    streams: Vec<Stream>,
    level: Option<Level>,
}

/// The first digits of an id.
#[derive(Debug, Clone, Copy)]
struct Digits {
    number: u128,
    mask: u128,
}

/// A part of a query that says nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadFilter(String);

impl Query {
    /// Reads what was asked for. Times that are said as a duration are counted back from now.
    pub fn parse(parameters: Parameters) -> Result<Query, BadFilter> {
        let Parameters { lines, follow, since, until, grep, request, stream, level } = parameters;
        if follow && until.is_some() {
            return Err(BadFilter("until: a log that is followed has no end; leave out until or follow".into()));
        }
        let filter = Filter {
            since: since.as_deref().map(|text| time("since", text)).transpose()?,
            until: until.as_deref().map(|text| time("until", text)).transpose()?,
            grep: grep.as_deref().map(expression).transpose()?,
            request: request.as_deref().map(digits).transpose()?,
            streams: stream.as_deref().map(streams).transpose()?.unwrap_or_default(),
            level: level.as_deref().map(level_of).transpose()?,
        };
        let default = if filter.since.is_some() || filter.request.is_some() { usize::MAX } else { DEFAULT_LINES };
        Ok(Query { lines: lines.unwrap_or(default), follow, filter })
    }
}

impl Filter {
    /// Whether every line fits.
    pub(super) fn is_none(&self) -> bool {
        let Filter { since, until, grep, request, streams, level } = self;
        [since.is_some(), until.is_some(), grep.is_some(), request.is_some(), level.is_some()] == [false; 5]
            && streams.is_empty()
    }

    /// Whether a block may have lines that fit.
    pub(super) fn may_fit(&self, block: &Head) -> bool {
        self.since.is_none_or(|since| block.until >= since) && self.until.is_none_or(|until| block.from <= until)
    }

    /// Whether a line fits.
    pub(super) fn fits(&self, record: &Record<'_>) -> bool {
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time <= until)
            && self.level.is_none_or(|least| record.level.is_some_and(|level| level >= least))
            && (self.streams.is_empty() || self.streams.iter().any(|one| one.as_str() == record.stream.as_str()))
            && self.request.is_none_or(|id| {
                id.begin(record.request.as_u128()) || record.trace.is_some_and(|trace| id.begin(trace))
            })
            && self.grep.as_ref().is_none_or(|expression| expression.is_match(&record.text()))
    }
}

impl Digits {
    fn begin(self, id: u128) -> bool {
        id & self.mask == self.number
    }
}

/// `10m` is ten minutes ago.
fn time(name: &str, text: &str) -> Result<u64, BadFilter> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(record::micros(time));
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    ago.map(record::micros).ok_or_else(|| {
        BadFilter(format!("{name} {text:?}: expected a time like 2026-01-31T12:00:00Z, or how long ago, like 10m"))
    })
}

fn expression(text: &str) -> Result<Regex, BadFilter> {
    let built = RegexBuilder::new(text).size_limit(EXPRESSION).dfa_size_limit(EXPRESSION).build();
    built.map_err(|error| BadFilter(format!("grep {text:?}: {error}")))
}

fn digits(text: &str) -> Result<Digits, BadFilter> {
    let is_id = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    let number = number.ok_or_else(|| {
        BadFilter(format!("request {text:?}: expected the id of a request or a trace, or its first hexadecimal digits"))
    })?;
    let free = 4 * (32 - text.len() as u32);
    Ok(Digits { number: number << free, mask: u128::MAX << free })
}

fn streams(text: &str) -> Result<Vec<Stream>, BadFilter> {
    let one = |name: &str| Stream::ALL.into_iter().find(|stream| stream.as_str() == name.trim());
    let all: Option<Vec<Stream>> = text.split(',').map(one).collect();
    let known = Stream::ALL.map(Stream::as_str).join(", ");
    all.ok_or_else(|| BadFilter(format!("stream {text:?}: expected one or several of {known}, with commas between")))
}

fn level_of(text: &str) -> Result<Level, BadFilter> {
    let known = Level::ALL.into_iter().find(|level| level.as_str() == text);
    known.ok_or_else(|| {
        BadFilter(format!("level {text:?}: expected one of {}", Level::ALL.map(Level::as_str).join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::Line;
    use super::*;
    use micro_mesh::call::RequestId;

    fn fits(parameters: Parameters, line: Line<'_>, time: u64) -> bool {
        let mut bytes = Vec::new();
        line.write(time, 1, &mut bytes);
        let record = Record::read(&mut &bytes[..]).unwrap();
        Query::parse(parameters).unwrap().filter.fits(&record)
    }

    fn refused(parameters: Parameters) -> String {
        Query::parse(parameters).unwrap_err().to_string()
    }

    #[test]
    fn lines_are_chosen_by_time() {
        let line = Line::of_host("x");
        let at = |since, until| Parameters { since, until, ..Parameters::default() };
        let second = 1_000_000;
        assert!(fits(at(Some("1970-01-01T00:00:02Z".into()), None), line, 2 * second));
        assert!(!fits(at(Some("1970-01-01T00:00:02Z".into()), None), line, 2 * second - 1));
        assert!(fits(at(None, Some("1970-01-01 00:00:02".into())), line, 2 * second));
        assert!(!fits(at(None, Some("1970-01-01T00:00:02Z".into())), line, 2 * second + 1));
        assert!(fits(at(Some("10m".into()), None), line, record::now() - 599 * second));
        assert!(!fits(at(Some("10m".into()), None), line, record::now() - 601 * second));
    }

    #[test]
    fn lines_are_chosen_by_what_they_say_and_who_wrote_them() {
        let id = RequestId::from(0xabcd_u128 << 112);
        let line = Line {
            request: id,
            trace: Some(0xef_u128 << 120),
            level: Some(Level::Warn),
            ..Line::of_host("Disk 7 full")
        };
        let with = |change: fn(&mut Parameters)| {
            let mut parameters = Parameters::default();
            change(&mut parameters);
            fits(parameters, line, 0)
        };
        assert!(with(|_| {}));
        assert!(with(|all| all.grep = Some(r"(?i)disk \d FULL$".into())));
        assert!(!with(|all| all.grep = Some("disk".into())));
        assert!(with(|all| all.request = Some("abc".into())));
        assert!(with(|all| all.request = Some("EF".into())));
        assert!(!with(|all| all.request = Some("abd".into())));
        assert!(with(|all| all.stream = Some("stdout, host".into())));
        assert!(!with(|all| all.stream = Some("stderr".into())));
        assert!(with(|all| all.level = Some("info".into())));
        assert!(!with(|all| all.level = Some("error".into())));
        assert!(!fits(Parameters { level: Some("trace".into()), ..Parameters::default() }, Line::of_host("x"), 0));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_name() {
        let none = Parameters::default;
        assert!(
            refused(Parameters { since: Some("yesterday".into()), ..none() })
                .starts_with("since \"yesterday\": expected")
        );
        assert!(refused(Parameters { grep: Some("(a".into()), ..none() }).starts_with("grep \"(a\": "));
        let bomb = "(a{1000}){1000}";
        assert!(refused(Parameters { grep: Some(bomb.into()), ..none() }).contains("size limit"));
        for id in ["", "xyz", "+1", "000000000000000000000000000000000"] {
            assert!(refused(Parameters { request: Some(id.into()), ..none() }).starts_with("request "), "{id:?}");
        }
        assert!(refused(Parameters { stream: Some("stdin".into()), ..none() }).contains("stdout, stderr, host"));
        assert!(refused(Parameters { level: Some("loud".into()), ..none() }).contains("trace, debug, info"));
        assert!(refused(Parameters { until: Some("1m".into()), follow: true, ..none() }).starts_with("until: "));
    }

    #[test]
    fn all_lines_are_shown_where_it_is_said_which() {
        let lines = |parameters| Query::parse(parameters).unwrap().lines;
        assert_eq!(lines(Parameters::default()), DEFAULT_LINES);
        assert_eq!(lines(Parameters { since: Some("1h".into()), ..Parameters::default() }), usize::MAX);
        assert_eq!(lines(Parameters { since: Some("1h".into()), lines: Some(5), ..Parameters::default() }), 5);
    }
}
