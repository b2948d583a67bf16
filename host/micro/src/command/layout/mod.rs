//! How things look when they are printed for people. Everything here is text in, text out.

pub mod first_call;
pub mod json;
pub mod service;
pub mod table;

use std::time::{Duration, SystemTime};

use bytesize::ByteSize;

/// A number of bytes as people write it.
pub fn size(bytes: u64) -> String {
    ByteSize::b(bytes).to_string()
}

/// How long ago an RFC 3339 time was; text that is none is shown as it is.
pub fn age(time: &str) -> String {
    match humantime::parse_rfc3339(time) {
        Ok(then) => {
            // A clock that was set back makes a time to come; it is now, then.
            ago(SystemTime::now().duration_since(then).unwrap_or_default())
        }
        Err(_) => time.to_owned(),
    }
}

fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0 => return "now".into(),
        1..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "m"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count}{unit} ago")
}

/// A short time as people say it: `45 ms`, `1.2 s`.
pub fn took(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let texts: Vec<_> = [0, 59, 60, 7199, 90_000].map(|seconds| ago(Duration::from_secs(seconds))).into();
        assert_eq!(texts, ["now", "59s ago", "1m ago", "1h ago", "1d ago"]);
        assert_eq!(age("yesterday"), "yesterday");
        assert_eq!(age("2020-01-01T00:00:00Z").split_once("d ago").map(|(_, rest)| rest), Some(""));
        assert_eq!(took(Duration::from_millis(45)), "45 ms");
        assert_eq!(took(Duration::from_millis(1234)), "1.2 s");
    }
}
