//! A cron expression, and on the second line a time zone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro::runtime::schedule::timetable::Timetable;

/// 2026-01-01, in milliseconds.
const NOW: i64 = 1_767_225_600_000;

fuzz_target!(|text: &str| {
    let (cron, zone) = text.split_once('\n').map_or((text, None), |(cron, zone)| (cron, Some(zone)));
    match Timetable::parse(cron, zone) {
        Ok(timetable) => {
            let mut at = NOW;
            for _ in 0..4 {
                let Some(next) = timetable.next(at) else { break };
                assert!(next > at, "time goes on: {next} after {at}");
                at = next;
            }
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
});
