//! What the system tells of this process. Where it tells nothing, there are no samples.

use std::sync::LazyLock;

/// The process as the kernel sees it now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) threads: u64,
    /// Seconds since 1970.
    pub(super) started_at: f64,
    pub(super) open_files: u64,
    /// None where they are not limited.
    pub(super) max_open_files: Option<u64>,
}

impl Process {
    /// Reads `/proc`; none on systems that have none.
    pub(super) fn read() -> Option<Process> {
        static BOOTED_AT: LazyLock<Option<f64>> = LazyLock::new(booted_at);
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let mut process = parse(&stat, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64)?;
        process.started_at += (*BOOTED_AT)?;
        // The folder that is read is open itself meanwhile.
        process.open_files = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64;
        process.max_open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Some(process)
    }
}

/// Reads a line of `/proc/PID/stat`, by proc(5): fields are counted from 1, and the second one is the name in
/// parentheses, which may hold anything. The start is in seconds since the system's.
fn parse(stat: &str, ticks_per_second: u64, page: u64) -> Option<Process> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second.max(1) as f64;
    Some(Process {
        cpu_seconds: seconds(field(14)? + field(15)?),
        threads: field(20)?,
        started_at: seconds(field(22)?),
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page,
        open_files: 0,
        max_open_files: None,
    })
}

/// When the system started, in seconds since 1970.
fn booted_at() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let stat = "7 (a ) (b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 4200 1000000 25 18446744073709551615";
        let process = parse(stat, 100, 4096).unwrap();
        assert_eq!((process.cpu_seconds, process.threads, process.started_at), (3.0, 9, 42.0));
        assert_eq!((process.virtual_bytes, process.resident_bytes), (1_000_000, 25 * 4096));
        assert!(parse("7 (cut) S 1", 100, 4096).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_read() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 0 && process.open_files > 0 && process.threads > 0);
        assert!(process.started_at > 1_500_000_000.0);
    }
}
