//! How things look when they are printed for people. Everything here is text in, text out.

pub mod first_call;
pub mod grants;
pub mod json;
pub mod service;
pub mod table;

use std::time::{Duration, SystemTime};

use bytesize::ByteSize;

use crate::admin::{Canary, Deployment};

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

/// How long until an RFC 3339 time: `in 5m`; text that is none is shown as it is.
pub fn until(time: &str) -> String {
    match humantime::parse_rfc3339(time) {
        // A time that has just gone by is now.
        Ok(then) => match then.duration_since(SystemTime::now()).unwrap_or_default() {
            left if left.as_secs() == 0 => "now".into(),
            left => format!("in {}", ago(left).trim_end_matches(" ago")),
        },
        Err(_) => time.to_owned(),
    }
}

/// What a canary gets: `revision 4 gets 10% of the calls`.
pub fn canary(canary: &Canary) -> String {
    format!("revision {} gets {}% of the calls", canary.revision, canary.percent)
}

/// How a deployment takes HTTP requests as they are: `wasi:http 0.2, on shop.example.com`; empty if it does not.
pub fn web(deployment: &Deployment) -> String {
    match (&deployment.web, deployment.hosts.as_slice()) {
        (None, _) => String::new(),
        (Some(web), []) => web.clone(),
        (Some(web), hosts) => format!("{web}, on {}", hosts.join(", ")),
    }
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
        assert_eq!((until("soon"), until("2020-01-01T00:00:00Z")), ("soon".into(), "now".into()));
        let later = SystemTime::now() + Duration::from_secs(330);
        assert_eq!(until(&humantime::format_rfc3339(later).to_string()), "in 5m");
        assert_eq!(took(Duration::from_millis(45)), "45 ms");
        assert_eq!(took(Duration::from_millis(1234)), "1.2 s");
    }
}
