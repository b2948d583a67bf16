//! Reading all logs as if they were one, ordered by time.

use super::Shared;
use super::filter::Query;
use super::reader::{Progress, Reader, Seen};
use super::reading::{Piece, show};
use super::record::Shown;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// What the last lines of all logs may take together, in bytes: they are held in memory to be put in order. Of more, the
/// oldest are left out.
const LAST: usize = 16 * 1024 * 1024;
/// What is put in order at once of lines that follow, in bytes.
const ROUND: usize = 4 * 1024 * 1024;
/// What leaves at once, in bytes.
const PIECE: usize = 256 * 1024;

/// The times of files come from a clock that goes in steps and lags behind the one that lines are dated by.
const FILE_CLOCK: Duration = Duration::from_secs(1);

/// How far all logs are read.
pub(super) struct Merged {
    shared: Arc<Shared>,
    query: Query,
    readers: Vec<Reader>,
    names: HashSet<Arc<str>>,
    /// How many logs there had been when they were looked at last.
    made: u64,
    /// What was there at the beginning, and was not given yet.
    last: VecDeque<Box<[u8]>>,
}

/// A line after its time and its number.
type Dated = (u64, u64, Box<[u8]>);

/// The latest lines, as many as are wanted and fit.
struct Latest {
    lines: BinaryHeap<Reverse<Dated>>,
    most: usize,
    bytes: usize,
    left_out: u64,
}

impl Merged {
    /// Finds the last lines of all logs.
    pub(super) fn begin(shared: Arc<Shared>, query: Query) -> io::Result<Merged> {
        let made = shared.made.load(Ordering::Relaxed);
        let mut logs = Vec::new();
        for log in shared.all()? {
            let folder = log.folder();
            let mut ring = log.ring();
            ring.list(&folder)?;
            let written_at = ring.written_at().unwrap_or(SystemTime::UNIX_EPOCH);
            drop(ring);
            logs.push((Reverse(written_at), log));
        }
        // Those that were written to last may make it needless to read the others.
        logs.sort_by_key(|(written_at, _)| *written_at);
        let mut latest = Latest::new(query.lines);
        let mut merged =
            Merged { shared, query, readers: Vec::new(), names: HashSet::new(), made, last: VecDeque::new() };
        for (Reverse(written_at), log) in logs {
            let is_beyond = latest.is_beyond(super::record::micros(written_at + FILE_CLOCK));
            if is_beyond && !merged.query.follow {
                break;
            }
            let reader = Reader::at_end(log)?;
            if !is_beyond {
                latest.look(&reader, &merged.query)?;
            }
            merged.names.insert(reader.log.deployment().clone());
            merged.readers.push(reader);
        }
        merged.last = latest.pieces(&merged.query);
        Ok(merged)
    }

    /// The next piece.
    pub(super) fn read(&mut self) -> io::Result<Piece> {
        if let Some(bytes) = self.last.pop_front() {
            return Ok(Piece { bytes: bytes.into(), is_at_end: false });
        }
        if !self.query.follow {
            return Ok(Piece { bytes: Vec::new(), is_at_end: true });
        }
        self.find_new()?;
        let (mut lines, mut bytes, mut is_at_end) = (Vec::new(), 0, true);
        for reader in &mut self.readers {
            if !reader.has_news() {
                continue;
            }
            if bytes > ROUND {
                is_at_end = false;
                break;
            }
            let log = reader.log.clone();
            let mut time = super::record::now();
            let progress = reader.read(u64::MAX, &self.query.filter, |seen| {
                let mut line = Vec::new();
                show(&log, &seen, &mut line);
                if let Seen::Line(_, record) = seen {
                    time = record.time;
                }
                bytes += line.len();
                lines.push((time, line));
            })?;
            is_at_end &= progress == Progress::IsAtEnd || !reader.has_news();
        }
        // Lines of one time stay in the order of their log.
        lines.sort_by_key(|(time, _)| *time);
        Ok(Piece { bytes: lines.into_iter().flat_map(|(_, line)| line).collect(), is_at_end })
    }

    /// Whether there is anything to read.
    pub(super) fn has_news(&self) -> bool {
        self.shared.made.load(Ordering::Relaxed) != self.made || self.readers.iter().any(Reader::has_news)
    }

    /// Takes logs in that came after the beginning: all their lines did.
    fn find_new(&mut self) -> io::Result<()> {
        let made = self.shared.made.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.made, made) == made {
            return Ok(());
        }
        let all: Vec<_> = self.shared.logs().values().cloned().collect();
        for log in all {
            if self.names.insert(log.deployment().clone()) {
                self.readers.push(Reader::of_last(log, usize::MAX, &self.query.filter)?);
            }
        }
        Ok(())
    }
}

impl Latest {
    fn new(most: usize) -> Latest {
        Latest { lines: BinaryHeap::new(), most, bytes: 0, left_out: 0 }
    }

    /// Whether lines up to this time come before all that are wanted.
    fn is_beyond(&self, time: u64) -> bool {
        let is_full = self.lines.len() >= self.most;
        is_full && self.lines.peek().is_none_or(|Reverse((oldest, ..))| time < *oldest)
    }

    /// Looks through a log, from its end to its beginning, for as long as lines of it are wanted.
    fn look(&mut self, reader: &Reader, query: &Query) -> io::Result<()> {
        let mut end = reader.next();
        for segment in reader.segments().into_iter().rev() {
            let mut earliest = u64::MAX;
            reader.each_of(segment, end, &query.filter, |seen| {
                // Of what is damaged, it is not known when it was written.
                let Seen::Line(number, record) = seen else { return };
                earliest = earliest.min(record.time);
                if !self.is_beyond(record.time) {
                    let mut line = Vec::new();
                    Shown::new(reader.log.deployment(), record).write(&mut line);
                    self.add(record.time, number, line.into());
                }
            })?;
            end = segment.first;
            if self.is_beyond(earliest) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn add(&mut self, time: u64, number: u64, line: Box<[u8]>) {
        self.bytes += line.len();
        self.lines.push(Reverse((time, number, line)));
        while self.lines.len() > self.most || self.bytes > LAST {
            let Some(Reverse((.., oldest))) = self.lines.pop() else { return };
            self.bytes -= oldest.len();
            self.left_out += u64::from(self.lines.len() < self.most);
        }
    }

    /// In order, and in pieces.
    fn pieces(self, query: &Query) -> VecDeque<Box<[u8]>> {
        let mut pieces = VecDeque::new();
        let mut piece = Vec::new();
        if self.left_out > 0 && query.lines == usize::MAX {
            let words = format!("… {} older lines are left out: ask for one deployment, or less", self.left_out);
            Shown::remark("", 0, words).write(&mut piece);
        }
        // Reversed, the greatest comes first.
        for Reverse((.., line)) in self.lines.into_sorted_vec().into_iter().rev() {
            piece.extend_from_slice(&line);
            if piece.len() >= PIECE {
                pieces.push_back(std::mem::take(&mut piece).into());
            }
        }
        if !piece.is_empty() {
            pieces.push_back(piece.into());
        }
        pieces
    }
}
