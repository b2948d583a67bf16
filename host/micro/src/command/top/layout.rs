//! A sample as a table that fits eighty columns.

use super::Column;
use super::rates::{Row, Sample};
use std::cmp::Ordering;

/// Headings, and how wide the columns behind the name are.
const COLUMNS: [(&str, usize); 9] = [
    ("CALLS/S", 8),
    ("ERR/S", 6),
    ("P50", 6),
    ("P99", 6),
    ("RUN", 5),
    ("WAIT", 5),
    ("INST", 5),
    ("MEMORY", 7),
    ("CPU%", 6),
];

/// Of the widest terminal that nothing is cut off on.
const WIDTH: usize = 80;

/// The name's column, at least.
const NAME: usize = 16;

/// The lines above the rows.
pub(super) const HEAD: usize = 2;

/// What is not measured.
const NONE: &str = "-";

/// The whole table, for eighty columns.
pub(super) fn page(sample: &Sample, sort: Column) -> String {
    lines(sample, sort, WIDTH).join("\n")
}

/// The table: what the host does, the headings, and the rows in order.
pub(super) fn lines(sample: &Sample, sort: Column, width: usize) -> Vec<String> {
    let behind: usize = COLUMNS.iter().map(|(_, width)| width + 1).sum();
    let name = width.saturating_sub(behind).max(NAME);
    let mut rows: Vec<&Row> = sample.deployments.iter().collect();
    rows.sort_by(|a, b| order(a, b, sort).then_with(|| a.name.cmp(&b.name)));
    let mut lines = vec![summary(sample), line(name, "NAME", &COLUMNS.map(|(heading, _)| heading.to_owned()))];
    lines.extend(rows.into_iter().map(|row| line(name, &row.name, &cells(row))));
    lines
}

fn summary(sample: &Sample) -> String {
    let sum = |of: fn(&Row) -> f64| sample.deployments.iter().map(of).sum();
    let cpu = sample.cpu_percent.map_or(NONE.into(), percent);
    let memory = sample.resident_bytes.map_or(NONE.into(), bytes);
    let (calls, errors) = (rate(sum(|row| row.calls_per_second)), rate(sum(|row| row.errors_per_second)));
    format!("host: {calls} calls/s, {errors} errors/s, {cpu} % CPU, {memory} memory")
}

/// What is most comes first, names in their own order.
fn order(a: &Row, b: &Row, sort: Column) -> Ordering {
    let most = |of: fn(&Row) -> f64| of(b).total_cmp(&of(a));
    match sort {
        Column::Name => Ordering::Equal,
        Column::Calls => most(|row| row.calls_per_second),
        Column::Errors => most(|row| row.errors_per_second),
        Column::P99 => most(|row| row.p99_seconds.unwrap_or(-1.0)),
        Column::Running => most(|row| row.in_flight as f64),
        Column::Waiting => most(|row| row.queued as f64),
        Column::Memory => most(|row| row.memory_bytes.map_or(-1.0, |bytes| bytes as f64)),
        Column::Cpu => most(|row| row.cpu_percent.unwrap_or(-1.0)),
    }
}

fn cells(row: &Row) -> [String; COLUMNS.len()] {
    let none = || NONE.to_owned();
    [
        rate(row.calls_per_second),
        rate(row.errors_per_second),
        row.p50_seconds.map_or_else(none, time),
        row.p99_seconds.map_or_else(none, time),
        row.in_flight.to_string(),
        row.queued.to_string(),
        row.instances.to_string(),
        row.memory_bytes.map_or_else(none, bytes),
        row.cpu_percent.map_or_else(none, percent),
    ]
}

fn line(name_width: usize, name: &str, cells: &[String; COLUMNS.len()]) -> String {
    let mut text = shortened(name, name_width);
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        text.push_str(&format!(" {cell:>width$}"));
    }
    text
}

/// The text in exactly so many columns.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".into(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate if rate < 100_000.0 => format!("{rate:.0}"),
        rate => format!("{:.0}k", rate / 1e3),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1e-3 => format!("{:.0}µs", seconds * 1e6),
        seconds if seconds < 0.1 => format!("{:.1}ms", seconds * 1e3),
        seconds if seconds < 1.0 => format!("{:.0}ms", seconds * 1e3),
        seconds => format!("{seconds:.1}s"),
    }
}

fn percent(percent: f64) -> String {
    if percent < 10.0 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

fn bytes(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "K", "M", "G"] {
        if amount < 1000.0 {
            return if amount < 10.0 && unit != "B" {
                format!("{amount:.1}{unit}")
            } else {
                format!("{amount:.0}{unit}")
            };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1}T")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        let row = |name: &str, calls_per_second, p99| Row {
            name: name.into(),
            calls_per_second,
            p50_seconds: Some(0.000_012),
            p99_seconds: Some(p99),
            ..Row::default()
        };
        let busy = Row {
            errors_per_second: 0.4,
            in_flight: 4096,
            queued: 10_000,
            instances: 4096,
            memory_bytes: Some(1_234_567_890),
            cpu_percent: Some(187.4),
            ..row("a-name-that-is-longer-than-its-column", 61_234.5, 0.001_25)
        };
        let (cpu_percent, resident_bytes) = (Some(3.21), Some(52_428_800));
        Sample { interval_seconds: 1.0, cpu_percent, resident_bytes, deployments: vec![row("slow", 2.0, 12.5), busy] }
    }

    #[test]
    fn the_table_fits_eighty_columns() {
        assert_eq!(
            page(&sample(), Column::Calls),
            "host: 61236 calls/s, 0.4 errors/s, 3.2 % CPU, 50M memory
NAME               CALLS/S  ERR/S    P50    P99   RUN  WAIT  INST  MEMORY   CPU%
a-name-that-is-l…    61234    0.4   12µs  1.2ms  4096 10000  4096    1.1G    187
slow                   2.0      0   12µs  12.5s     0     0     0       -      -"
        );
        for line in page(&sample(), Column::Calls).lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        let wide = lines(&sample(), Column::Calls, 120);
        assert!(wide.iter().any(|line| line.starts_with("a-name-that-is-longer-than-its-column ")));
    }

    #[test]
    fn rows_are_sorted_by_what_is_asked_for() {
        let first = |sort| lines(&sample(), sort, WIDTH)[HEAD].chars().take(4).collect::<String>();
        assert_eq!(
            (first(Column::Name), first(Column::P99), first(Column::Cpu)),
            ("a-na".into(), "slow".into(), "a-na".into())
        );
    }
}
