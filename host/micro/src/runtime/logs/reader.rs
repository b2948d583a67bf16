//! Reading one log from disk, a piece at a time.

use super::DeploymentLog;
use super::block::{self, Found};
use super::filter::Filter;
use super::record::Record;
use super::ring::{Ring, Segment, path};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is read at once, in bytes; more where a block is larger.
const PIECE: usize = 256 * 1024;

/// How far somebody has read a log. It holds no file.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) log: Arc<DeploymentLog>,
    /// The number of the next line.
    next: u64,
    /// The segment that holds it, and how much of that is read.
    place: Option<(u64, u64)>,
}

/// What a reader comes upon.
#[derive(Debug)]
pub(super) enum Seen<'r> {
    /// A line that fits, with its number.
    Line(u64, &'r Record<'r>),
    /// So many lines that were there and cannot be read any more.
    Missing(u64),
}

/// How far a piece brought a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be more.
    Goes,
    /// There is nothing more for now.
    IsAtEnd,
}

impl Reader {
    /// A reader of what comes after all that is written.
    pub(super) fn at_end(log: Arc<DeploymentLog>) -> io::Result<Reader> {
        let next = {
            let mut ring = log.ring();
            ring.open(&log.folder())?;
            ring.next()
        };
        Ok(Reader { log, next, place: None })
    }

    /// A reader of the last `lines` lines that fit, and of what comes after.
    pub(super) fn of_last(log: Arc<DeploymentLog>, lines: usize, filter: &Filter) -> io::Result<Reader> {
        let mut reader = Reader::at_end(log)?;
        let (end, segments) = (reader.next, reader.segments());
        let oldest = segments.first().map_or(end, |segment| segment.first);
        let count = u64::try_from(lines).unwrap_or(u64::MAX);
        if filter.is_none() || lines == usize::MAX || lines == 0 {
            reader.next = end.saturating_sub(count).max(oldest);
            return Ok(reader);
        }
        let (mut wanted, mut until) = (lines, end);
        reader.next = oldest;
        for segment in segments.iter().rev() {
            let fitting = reader.numbers(*segment, until, filter)?;
            if let Some(at) = fitting.len().checked_sub(wanted) {
                reader.next = fitting.get(at).copied().unwrap_or(until);
                break;
            }
            (wanted, until) = (wanted - fitting.len(), segment.first);
        }
        Ok(reader)
    }

    /// The number of the next line.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether lines were written that are not read yet.
    pub(super) fn has_news(&self) -> bool {
        self.log.end.load(Ordering::Acquire) > self.next
    }

    /// The segments that there are, oldest first.
    pub(super) fn segments(&self) -> Vec<Segment> {
        self.log.ring().segments().collect()
    }

    /// The numbers of the lines of a segment that fit.
    fn numbers(&self, segment: Segment, end: u64, filter: &Filter) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        self.each_of(segment, end, filter, |seen| {
            if let Seen::Line(number, _) = seen {
                numbers.push(number);
            }
        })?;
        Ok(numbers)
    }

    /// Looks at the lines of a segment that fit.
    pub(super) fn each_of(
        &self,
        segment: Segment,
        end: u64,
        filter: &Filter,
        mut each: impl FnMut(Seen<'_>),
    ) -> io::Result<()> {
        let mut reader = Reader { log: self.log.clone(), next: segment.first, place: Some((segment.first, 0)) };
        while reader.read(end, filter, &mut each)? == Progress::Goes {}
        Ok(())
    }

    /// Reads on, a piece at most and no further than the line `end`, and gives what it sees.
    pub(super) fn read(&mut self, end: u64, filter: &Filter, mut each: impl FnMut(Seen<'_>)) -> io::Result<Progress> {
        let folder = self.log.folder();
        let (segment, offset) = {
            let mut ring = self.log.ring();
            ring.open(&folder)?;
            if self.next >= end.min(ring.next()) {
                return Ok(Progress::IsAtEnd);
            }
            match self.place_in(&ring) {
                Some(place) => place,
                None => {
                    // What should be there is damaged or removed.
                    each(Seen::Missing(ring.next() - self.next));
                    self.next = ring.next();
                    return Ok(Progress::IsAtEnd);
                }
            }
        };
        let piece = match piece(&folder, segment, offset) {
            Ok(piece) => piece,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // It was pushed out in this moment, or somebody removed it: the next one is looked for.
                self.place = Some((segment.first, segment.bytes));
                return Ok(Progress::Goes);
            }
            Err(error) => return Err(error),
        };
        let mut at = 0;
        let is_last = offset + piece.len() as u64 == segment.bytes;
        loop {
            match block::next(&piece[at..], |head| head.end() <= self.next) {
                Found::Block(skipped, head) => {
                    let block = &piece[at + skipped..at + skipped + head.size];
                    at += skipped + head.size;
                    if head.end() <= self.next {
                        continue;
                    }
                    let begin = head.first.min(end);
                    if begin > self.next {
                        each(Seen::Missing(begin - self.next));
                    }
                    let is_wanted = |number: u64| number >= self.next && number < end;
                    if filter.may_fit(&head) {
                        let records = block::records(&head, block).filter(|(number, _)| is_wanted(*number));
                        let fitting = records.filter(|(_, record)| filter.fits(record));
                        fitting.for_each(|(number, record)| each(Seen::Line(number, &record)));
                    }
                    self.next = head.end();
                }
                // The rest of it is in the next piece; where nothing comes any more, it is none.
                Found::Part(skipped, _) if !is_last && at + skipped > 0 => {
                    at += skipped;
                    break;
                }
                Found::Part(skipped, _) => at += skipped + 1,
                Found::Nothing(length) => {
                    at = if is_last { piece.len() } else { at + length };
                    break;
                }
            }
        }
        self.place = Some((segment.first, offset + at as u64));
        Ok(Progress::Goes)
    }

    /// Where to read on: a segment and an offset. None where nothing is left of what is to be read.
    fn place_in(&self, ring: &Ring) -> Option<(Segment, u64)> {
        let known = self.place.and_then(|(first, offset)| {
            let segment = ring.segments().find(|segment| segment.first == first)?;
            Some((segment, offset.min(segment.bytes)))
        });
        let (segment, offset) = known.or_else(|| Some((ring.segment_of(self.next)?, 0)))?;
        if offset < segment.bytes {
            return Some((segment, offset));
        }
        ring.segment_after(segment.first).filter(|segment| segment.bytes > 0).map(|segment| (segment, 0))
    }
}

/// Reads from there on, a piece or a whole block.
fn piece(folder: &Path, segment: Segment, offset: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path(folder, segment.first))?;
    let left = usize::try_from(segment.bytes - offset).unwrap_or(usize::MAX);
    let mut piece = vec![0; left.min(PIECE)];
    file.read_exact_at(&mut piece, offset)?;
    if let Found::Part(0, size) = block::next(&piece, |_| true)
        && size <= left
        && size > piece.len()
    {
        let known = piece.len();
        piece.resize(size, 0);
        file.read_exact_at(&mut piece[known..], offset + known as u64)?;
    }
    Ok(piece)
}
