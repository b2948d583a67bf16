//! The lines of one deployment that are not written yet, and the bucket that bounds how many come.

use super::block;
use super::queue::Queue;
use super::record::{self, Line};
use micro_engine::log::Stream;

/// The memory that one deployment's lines may take until they are written, in bytes.
const MEMORY: usize = 4 * 1024 * 1024;
/// What the first line of a batch takes at least.
const FIRST_MEMORY: usize = 512;

/// The bucket is counted in millionths of a byte, so that a microsecond of any rate counts and nothing is divided.
const MICROS: u64 = 1_000_000;

/// Where lines of one deployment wait.
#[derive(Debug, Default)]
pub(super) struct Room {
    batch: Batch,
    drops: Drops,
    /// Memory that the queue counts for this room.
    memory: usize,
    /// The queue knows that there is something here.
    is_known: bool,
    /// Text that may come at once, in millionths of a byte. The host's own lines may overdraw it.
    allowance: i64,
    filled_at: u64,
    /// What the batch before took. The next one will take as much.
    last: usize,
}

/// A block in the making.
#[derive(Debug)]
pub(super) struct Batch {
    /// Room for the head, and the records. Empty without any.
    pub(super) block: Vec<u8>,
    pub(super) count: u32,
    /// The earliest and the latest time of a record.
    pub(super) times: (u64, u64),
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { block: Vec::new(), count: 0, times: (u64::MAX, 0) }
    }
}

/// Lines that were dropped, and not told of yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drops {
    /// The deployment may not write so much.
    pub(super) over_rate: u64,
    /// They came faster than they could be written.
    pub(super) over_memory: u64,
    /// The disk did not take them.
    pub(super) unwritten: u64,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) is_dropped: bool,
    /// The queue has to be told of this room.
    pub(super) is_news: bool,
    /// The writer had better come soon.
    pub(super) is_urgent: bool,
}

impl Room {
    /// Takes a line, or counts it as dropped.
    pub(super) fn take(&mut self, line: &Line<'_>, revision: u64, rate: u64, queue: &Queue) -> Taken {
        let time = record::now();
        let before = self.batch.block.len();
        let is_dropped = if !self.may_write(line, time, rate) {
            self.drops.over_rate += 1;
            true
        } else if !self.make_room(line.size(), queue) {
            self.drops.over_memory += 1;
            true
        } else {
            self.batch.add(line, time, revision);
            false
        };
        let is_news = !std::mem::replace(&mut self.is_known, true);
        let is_urgent = before < MEMORY / 2 && self.batch.block.len() >= MEMORY / 2;
        Taken { is_dropped, is_news, is_urgent }
    }

    /// A bucket that fills with `rate` bytes a second and holds as much.
    fn may_write(&mut self, line: &Line<'_>, time: u64, rate: u64) -> bool {
        // More than a second fills no more, and a clock that was set back fills nothing.
        let passed = time.saturating_sub(self.filled_at).min(MICROS);
        self.filled_at = time;
        let [most, size, filled] = [(rate, MICROS), (line.text.len() as u64, MICROS), (rate, passed)]
            .map(|(bytes, micros)| i64::try_from(bytes.saturating_mul(micros)).unwrap_or(i64::MAX));
        // What another revision may have left there, which may write more than this one, stays.
        self.allowance = self.allowance.max(self.allowance.saturating_add(filled).min(most));
        // What the host has to say must not be lost because the guest says much, and is bound as well.
        let least = if line.stream == Stream::Host { -most.max(size) } else { 0 };
        // A line that is longer than all that may come at once is let through by a full bucket.
        let may = self.allowance.saturating_sub(size) >= least || self.allowance >= most;
        if may {
            self.allowance = self.allowance.saturating_sub(size);
        }
        may
    }

    fn make_room(&mut self, size: usize, queue: &Queue) -> bool {
        let length = self.batch.block.len().max(block::HEAD);
        let needed = length + size;
        if needed <= self.memory {
            return true;
        }
        if needed > MEMORY {
            return false;
        }
        let wanted = needed.max(self.memory * 2).max(self.last).clamp(FIRST_MEMORY, MEMORY);
        if !queue.take_memory(wanted - self.memory) {
            return false;
        }
        self.batch.block.reserve_exact(wanted - self.batch.block.len());
        self.memory = wanted;
        true
    }

    /// What came since this was asked last.
    pub(super) fn empty(&mut self, queue: &Queue) -> (Batch, Drops) {
        queue.give_back_memory(std::mem::take(&mut self.memory));
        self.is_known = false;
        // A little more, so that a busy log's room need not grow.
        self.last = self.batch.block.len() / 8 * 9;
        (std::mem::take(&mut self.batch), std::mem::take(&mut self.drops))
    }
}

impl Batch {
    pub(super) fn add(&mut self, line: &Line<'_>, time: u64, revision: u64) {
        if self.block.is_empty() {
            self.block.resize(block::HEAD, 0);
        }
        line.write(time, revision, &mut self.block);
        self.count += 1;
        self.times = (self.times.0.min(time), self.times.1.max(time));
    }
}

impl Drops {
    pub(super) fn total(&self) -> u64 {
        self.over_rate + self.over_memory + self.unwritten
    }

    pub(super) fn add(&mut self, more: Drops) {
        self.over_rate += more.over_rate;
        self.over_memory += more.over_memory;
        self.unwritten += more.unwritten;
    }

    /// As the log itself says it.
    pub(super) fn tell(&self, rate: u64) -> String {
        let rate = bytesize::ByteSize::b(rate).display().iec().to_string();
        let reasons = [
            (self.over_rate, format!("it may write {rate} a second (limits.log)")),
            (self.over_memory, "they came faster than the host could write them".to_string()),
            (self.unwritten, "the disk did not take them".to_string()),
        ];
        let reasons = reasons.iter().filter(|(count, _)| *count > 0);
        let reasons: Vec<String> = reasons.map(|(count, reason)| format!("{count} lines dropped: {reason}")).collect();
        format!("… {}", reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line<'_> {
        Line { stream: Stream::Stdout, ..Line::of_host(text) }
    }

    /// How many of the lines are let through at that time.
    fn let_through(room: &mut Room, time: u64, text: &str, lines: usize) -> usize {
        (0..lines).filter(|_| room.may_write(&line(text), time, 1000)).count()
    }

    #[test]
    fn a_second_of_text_may_come_at_once_and_no_more_than_that_per_second() {
        let mut room = Room::default();
        let text = "x".repeat(100);
        assert_eq!(let_through(&mut room, 50 * MICROS, &text, 30), 10);
        assert_eq!(let_through(&mut room, 50 * MICROS + MICROS / 2, &text, 30), 5);
        // A clock that goes back gives nothing, and takes nothing for ever.
        assert_eq!(let_through(&mut room, 10 * MICROS, &text, 30), 0);
        assert_eq!(let_through(&mut room, 11 * MICROS, &text, 30), 10);
        assert_eq!(
            let_through(&mut room, 99 * MICROS, &"x".repeat(5000), 2),
            1,
            "one that is too long for it, when full"
        );
    }

    #[test]
    fn a_rate_below_a_byte_in_a_microsecond_fills_as_well() {
        let mut room = Room::default();
        let times = (0..4_000_000).step_by(10).map(|micros| 50 * MICROS + micros);
        let lines = times.filter(|time| room.may_write(&line("0123456789"), *time, 1000)).count();
        assert_eq!(lines, 100 + 400 - 1, "what fits at once, and ten bytes in ten milliseconds");
    }

    #[test]
    fn a_revision_that_may_write_little_takes_nothing_from_one_that_may_write_much() {
        let mut room = Room::default();
        let text = "x".repeat(100);
        assert!(room.may_write(&line(&text), 50 * MICROS, 1000));
        assert!(room.may_write(&line(&text), 50 * MICROS, 10));
        assert_eq!(let_through(&mut room, 50 * MICROS, &text, 30), 8);
    }

    #[test]
    fn the_host_may_speak_where_the_guest_has_said_too_much() {
        let mut room = Room::default();
        let text = "x".repeat(1000);
        assert_eq!(let_through(&mut room, MICROS, &text, 2), 1);
        assert!(room.may_write(&Line::of_host(&text), MICROS, 1000));
        assert!(!room.may_write(&Line::of_host(&text), MICROS, 1000));
    }

    #[test]
    fn what_is_not_written_is_bounded() {
        let (queue, mut room) = (Queue::default(), Room::default());
        let text = "x".repeat(1000);
        let taken = room.take(&line(&text), 1, u64::MAX, &queue);
        assert_eq!(taken, Taken { is_dropped: false, is_news: true, is_urgent: false });
        let all: Vec<Taken> = (0..5000).map(|_| room.take(&line(&text), 1, u64::MAX, &queue)).collect();
        assert_eq!(all.iter().filter(|taken| taken.is_urgent).count(), 1);
        assert!(all.iter().all(|taken| !taken.is_news));
        let dropped = all.iter().filter(|taken| taken.is_dropped).count() as u64;
        let (batch, drops) = room.empty(&queue);
        assert_eq!(u64::from(batch.count) + drops.over_memory, 5001);
        assert_eq!(drops, Drops { over_memory: dropped, ..Drops::default() });
        assert!(batch.block.len() <= MEMORY && batch.block.len() > MEMORY - 2000);
        // Another may use the memory now.
        assert!(room.take(&line(&text), 1, u64::MAX, &queue).is_news);
        assert!(queue.take_memory(27 * 1024 * 1024));
    }

    #[test]
    fn what_was_dropped_is_said_with_its_reason() {
        let drops = Drops { over_rate: 123, unwritten: 4, ..Drops::default() };
        assert_eq!(
            drops.tell(1024 * 1024),
            "… 123 lines dropped: it may write 1.0 MiB a second (limits.log); 4 lines dropped: the disk did not take them"
        );
    }
}
