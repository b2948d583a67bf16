//! When a schedule is due: a cron expression in a time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The zone of a schedule that names none.
pub(super) const UTC: &str = "UTC";

/// The longest cron expression, in bytes; every minute of an hour by its number takes some 170.
const MAX_CRON: usize = 256;

/// Runs of one span of time are counted up to so many: each takes a search, and all schedules wait meanwhile.
const MAX_COUNTED: u64 = 100;

/// The fields of an expression from its end: the first of six is the second.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of the month", "month", "day of the week"];

/// The times of one schedule. All times are milliseconds since 1970.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

/// The runs that were due in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// How many, or [`MAX_COUNTED`] if there were more.
    pub count: u64,
    /// The last one, whether it was counted or not.
    pub latest: i64,
}

impl Timetable {
    /// Reads an expression of five fields, or of six with seconds. The error says what is wrong and what is right.
    ///
    /// Where a clock is put forward, a fixed time that it leaves out comes at the first moment after; where it is put
    /// back, a fixed time comes once, and what repeats goes on repeating. That is Vixie cron's rule.
    pub fn parse(cron: &str, zone: Option<&str>) -> Result<Timetable, String> {
        if cron.len() > MAX_CRON {
            return Err(format!("the expression is longer than {MAX_CRON} bytes"));
        }
        // The parser takes a field of nothing but commas, and then looks for a time that never comes, for minutes.
        if let Some(field) = cron.split_whitespace().find(|field| field.split(',').any(str::is_empty)) {
            return Err(format!("{field:?} has a comma with nothing beside it"));
        }
        let cron = parser().parse(cron).map_err(|_| explain(cron))?;
        let zone = find_zone(zone.unwrap_or(UTC))?;
        Ok(Timetable { cron, zone })
    }

    /// The first time after this one; none, if it never comes.
    pub fn next(&self, after: i64) -> Option<i64> {
        let after = Timestamp::from_millisecond(after).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp().as_millisecond())
    }

    /// What was due after the one time and up to the other.
    pub fn due(&self, after: i64, until: i64) -> Option<Due> {
        let mut due: Option<Due> = None;
        let mut at = after;
        while let Some(next) = self.next(at).filter(|next| *next <= until) {
            let count = due.map_or(0, |due| due.count);
            if count == MAX_COUNTED {
                let latest = self.last(until).filter(|last| (next..=until).contains(last)).unwrap_or(next);
                return Some(Due { count, latest });
            }
            due = Some(Due { count: count + 1, latest: next });
            at = next;
        }
        due
    }

    /// The last time up to this one.
    fn last(&self, until: i64) -> Option<i64> {
        let until = Timestamp::from_millisecond(until).ok()?.to_zoned(self.zone.clone());
        let last = self.cron.find_previous_occurrence(&until, true).ok()?;
        Some(last.timestamp().as_millisecond())
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

/// What is wrong with an expression, by its field.
fn explain(cron: &str) -> String {
    let fields: Vec<&str> = cron.split_whitespace().collect();
    if !(5..=6).contains(&fields.len()) {
        return format!(
            "expected five fields (minute, hour, day of the month, month, day of the week), or six with the second \
             first, got {}",
            fields.len()
        );
    }
    let names = FIELDS.iter().skip(FIELDS.len() - fields.len());
    for (place, (field, name)) in fields.iter().zip(names).enumerate() {
        let mut alone = vec!["*"; fields.len()];
        alone[place] = field;
        if let Err(error) = parser().parse(&alone.join(" ")) {
            // The library's words begin with its name for the kind of error.
            let text = error.to_string();
            let reason = text.split_once(": ").map_or(&*text, |(_, reason)| reason);
            return format!("{field:?} is no {name}: {}", reason.trim_end_matches('.').to_lowercase());
        }
    }
    "the fields do not go together".into()
}

fn find_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        let known: Vec<String> = jiff::tz::db().available().map(|known| known.to_string()).collect();
        match micro_engine::name::nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("there is no time zone {name:?}; did you mean {near}?"),
            None => format!("there is no time zone {name:?}; zones are named like Europe/Berlin"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// The next times in Berlin, as the clocks there show them.
    fn times(cron: &str, after: &str, count: usize) -> Vec<String> {
        let timetable = Timetable::parse(cron, Some("Europe/Berlin")).unwrap();
        let mut at = millis(after);
        let next = std::iter::from_fn(|| {
            at = timetable.next(at)?;
            let zoned = Timestamp::from_millisecond(at).unwrap().to_zoned(timetable.zone.clone());
            Some(zoned.strftime("%d %H:%M %:z").to_string())
        });
        next.take(count).collect()
    }

    #[test]
    fn a_time_that_the_spring_leaves_out_comes_right_after() {
        assert_eq!(times("30 2 * * *", "2026-03-28T12:00:00Z", 2), ["29 03:00 +02:00", "30 02:30 +02:00"]);
        assert_eq!(times("0 1 * * *", "2026-03-28T12:00:00Z", 2), ["29 01:00 +01:00", "30 01:00 +02:00"]);
        let halves = ["29 01:30 +01:00", "29 03:00 +02:00", "29 03:30 +02:00"];
        assert_eq!(times("*/30 * * * *", "2026-03-29T00:20:00Z", 3), halves);
    }

    #[test]
    fn a_time_that_the_autumn_repeats_comes_once_and_what_repeats_goes_on() {
        assert_eq!(times("30 2 * * *", "2026-10-24T12:00:00Z", 2), ["25 02:30 +02:00", "26 02:30 +01:00"]);
        let halves = ["25 02:00 +02:00", "25 02:30 +02:00", "25 02:00 +01:00", "25 02:30 +01:00", "25 03:00 +01:00"];
        assert_eq!(times("*/30 * * * *", "2026-10-24T23:50:00Z", 5), halves);
    }

    #[test]
    fn six_fields_begin_with_the_second_and_five_with_the_minute() {
        let at = |cron: &str| Timetable::parse(cron, None).unwrap().next(millis("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(at("* * * * * *"), millis("2026-01-01T00:00:01Z"));
        assert_eq!(at("* * * * *"), millis("2026-01-01T00:01:00Z"));
        assert_eq!(at("@daily"), millis("2026-01-02T00:00:00Z"));
        assert_eq!(at("0 9 * * MON-FRI"), millis("2026-01-01T09:00:00Z"));
    }

    #[test]
    fn runs_that_were_due_are_counted_up_to_a_limit() {
        let minutely = Timetable::parse("* * * * *", None).unwrap();
        let (from, until) = (millis("2026-01-01T00:00:00Z"), millis("2026-01-01T00:05:00Z"));
        assert_eq!(minutely.due(from, until), Some(Due { count: 5, latest: until }));
        assert_eq!(minutely.due(from, from + 59_999), None);
        let years_later = millis("2036-01-01T00:00:00Z");
        assert_eq!(minutely.due(from, years_later), Some(Due { count: MAX_COUNTED, latest: years_later }));
        assert_eq!(minutely.due(from, years_later + 59_999), Some(Due { count: MAX_COUNTED, latest: years_later }));
        assert_eq!(Timetable::parse("0 0 30 2 *", None).unwrap().next(from), None);
    }

    #[test]
    fn the_last_time_is_the_one_that_a_search_from_before_comes_to() {
        let hours = |from: &'static str| (0..80).map(move |quarter| millis(from) + quarter * 15 * 60_000 + 1);
        for cron in ["30 2 * * *", "0 3 * * *", "*/30 * * * *", "*/7 1-4 * * *"] {
            let timetable = Timetable::parse(cron, Some("Europe/Berlin")).unwrap();
            for until in hours("2026-03-28T18:00:00Z").chain(hours("2026-10-24T18:00:00Z")) {
                let mut last = millis("2026-03-26T00:00:00Z").max(until - 48 * 60 * 60_000);
                while let Some(next) = timetable.next(last).filter(|next| *next <= until) {
                    last = next;
                }
                assert_eq!(timetable.last(until), Some(last), "{cron} at {until}");
            }
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_field() {
        let cron = |cron: &str| Timetable::parse(cron, None).unwrap_err();
        assert_eq!(cron("61 * * * *"), "\"61\" is no minute: number out of bounds");
        assert_eq!(cron("0 0 0 * 13 *"), "\"13\" is no month: number out of bounds");
        assert!(cron("0 0 x * *").starts_with("\"x\" is no day of the month: "), "{}", cron("0 0 x * *"));
        assert!(cron("*/0 * * * *").starts_with("\"*/0\" is no minute: step"), "{}", cron("*/0 * * * *"));
        assert_eq!(cron(", * * * *"), "\",\" has a comma with nothing beside it");
        assert_eq!(cron("0 0 1, * *"), "\"1,\" has a comma with nothing beside it");
        for wrong in ["", "often", "* * * *", "* * * * * * 2026"] {
            assert!(cron(wrong).starts_with("expected five fields "), "{wrong}");
        }
        assert!(cron(&"1,".repeat(200)).contains("longer than 256"));
        let zone = |zone| Timetable::parse("* * * * *", Some(zone)).unwrap_err();
        assert_eq!(zone("Europe/Berlni"), "there is no time zone \"Europe/Berlni\"; did you mean Europe/Berlin?");
        assert!(zone("../etc/passwd").contains("there is no time zone"));
    }
}
