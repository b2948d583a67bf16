//! Samples in Prometheus' text format, version 0.0.4.

use super::histogram::{BOUNDS, Histogram};
use std::fmt::Write as _;

/// What a page of it says it is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// They only grow, until the host starts anew.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The two lines before the samples of a family.
pub(super) fn write_head(out: &mut String, family: &str, kind: Kind, help: &str) {
    // Writing to a text does not fail.
    let _ = writeln!(out, "# HELP {family} {help}\n# TYPE {family} {}", kind.as_str());
}

/// A sample's number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        Number::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Number {
        Number::Whole(number.into())
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Number {
        Number::Whole(number as u64)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Number {
        Number::Real(number)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(number) => number.fmt(out),
            Number::Real(number) => number.fmt(out),
        }
    }
}

/// Takes the samples of one family, of the host or of one deployment.
pub(super) struct Samples<'o> {
    out: &'o mut String,
    family: &'static str,
    /// The labels that all of them have: `deployment="greeter"`, or nothing.
    labels: String,
}

impl<'o> Samples<'o> {
    /// Those of the host.
    pub(super) fn of_host(out: &'o mut String, family: &'static str) -> Samples<'o> {
        Samples { out, family, labels: String::new() }
    }

    /// Those of a deployment.
    pub(super) fn of_deployment(out: &'o mut String, family: &'static str, deployment: &str) -> Samples<'o> {
        let mut labels = String::with_capacity(deployment.len() + 16);
        push_label(&mut labels, "deployment", deployment);
        Samples { out, family, labels }
    }

    /// The one sample that there is.
    pub(super) fn put(&mut self, number: impl Into<Number>) {
        self.write("", &[], number.into());
    }

    /// One of several, told apart by a label.
    pub(super) fn put_with(&mut self, label: &str, value: &str, number: impl Into<Number>) {
        self.write("", &[(label, value)], number.into());
    }

    /// One of several, told apart by several labels.
    pub(super) fn put_labelled(&mut self, labels: &[(&str, &str)], number: impl Into<Number>) {
        self.write("", labels, number.into());
    }

    pub(super) fn put_histogram(&mut self, histogram: &Histogram) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|(bound, _)| *bound).chain(["+Inf"]);
        for (bound, bucket) in bounds.zip(histogram.buckets()) {
            count += bucket;
            self.write("_bucket", &[("le", bound)], count.into());
        }
        self.write("_sum", &[], (histogram.nanoseconds() as f64 / 1e9).into());
        self.write("_count", &[], count.into());
    }

    fn write(&mut self, suffix: &str, more: &[(&str, &str)], number: Number) {
        let out = &mut *self.out;
        out.push_str(self.family);
        out.push_str(suffix);
        if !self.labels.is_empty() || !more.is_empty() {
            out.push('{');
            out.push_str(&self.labels);
            for (at, (label, value)) in more.iter().enumerate() {
                if at > 0 || !self.labels.is_empty() {
                    out.push(',');
                }
                push_label(out, label, value);
            }
            out.push('}');
        }
        // As above.
        let _ = writeln!(out, " {number}");
    }
}

fn push_label(out: &mut String, label: &str, value: &str) {
    out.push_str(label);
    out.push_str("=\"");
    for char in value.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            char => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn samples_are_written_as_the_format_wants_them() {
        let mut out = String::new();
        write_head(&mut out, "micro_things", Kind::Gauge, "Things.");
        Samples::of_host(&mut out, "micro_things").put(3_u64);
        Samples::of_host(&mut out, "micro_things").put_with("kind", "a", 0.5);
        Samples::of_deployment(&mut out, "micro_things", "a\"b\\\n").put_with("code", "404", 1_u32);
        let expected = "# HELP micro_things Things.\n# TYPE micro_things gauge\nmicro_things 3\n\
                        micro_things{kind=\"a\"} 0.5\n\
                        micro_things{deployment=\"a\\\"b\\\\\\n\",code=\"404\"} 1\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn the_buckets_of_a_histogram_count_those_below_them_in() {
        let (mut out, histogram) = (String::new(), Histogram::default());
        histogram.record(Duration::from_micros(20));
        histogram.record(Duration::from_secs(90));
        Samples::of_deployment(&mut out, "micro_call_duration_seconds", "echo").put_histogram(&histogram);
        for line in [
            "micro_call_duration_seconds_bucket{deployment=\"echo\",le=\"0.00001\"} 0\n",
            "micro_call_duration_seconds_bucket{deployment=\"echo\",le=\"0.000025\"} 1\n",
            "micro_call_duration_seconds_bucket{deployment=\"echo\",le=\"60\"} 1\n",
            "micro_call_duration_seconds_bucket{deployment=\"echo\",le=\"+Inf\"} 2\n",
            "micro_call_duration_seconds_sum{deployment=\"echo\"} 90.00002\n",
            "micro_call_duration_seconds_count{deployment=\"echo\"} 2\n",
        ] {
            assert!(out.contains(line), "{line} in {out}");
        }
    }
}
