//! The ring of one deployment on disk: a folder of segments, each named by the number of its first record. The oldest
//! segment goes when the ring is full.

use super::block::{self, Found};
use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A ring is this many segments, so much of it goes at once.
const SEGMENTS: u64 = 8;

/// What a file takes on disk is a multiple of this, in bytes.
const DISK_PAGE: u64 = 4096;

/// Segments that are held open to be written to. Ten thousand deployments may log; the host has fewer handles.
const OPEN_FILES: usize = 64;

/// A file of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first record.
    pub(super) first: u64,
    /// Its length; a reader goes no further, so it never sees half a block.
    pub(super) bytes: u64,
}

/// What is known of a deployment's ring. Nothing is, until somebody asks.
#[derive(Debug, Default)]
pub(super) struct Ring {
    knows: Knows,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The number that the next record gets.
    next: u64,
    /// The last segment ends in bytes that are no block: the next block goes into another.
    is_damaged: bool,
    /// When the last block was written.
    written_at: Option<SystemTime>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Knows {
    #[default]
    Nothing,
    /// Which segments there are.
    Segments,
    /// What the last one holds, too.
    All,
}

impl Ring {
    /// Learns which segments there are.
    pub(super) fn list(&mut self, folder: &Path) -> io::Result<()> {
        if self.knows != Knows::Nothing {
            return Ok(());
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.knows = Knows::All;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut segments = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Some(first) = first_record(&entry.path()) else { continue };
            let metadata = entry.metadata()?;
            self.written_at = self.written_at.max(metadata.modified().ok());
            segments.push(Segment { first, bytes: metadata.len() });
        }
        segments.sort_unstable_by_key(|segment| segment.first);
        self.segments = segments.into();
        self.knows = Knows::Segments;
        Ok(())
    }

    /// Learns what the last segment holds, and where it ends in something that is no block.
    pub(super) fn open(&mut self, folder: &Path) -> io::Result<()> {
        self.list(folder)?;
        while self.knows != Knows::All {
            let Some(last) = self.segments.back().copied() else { break };
            let bytes = match fs::read(path(folder, last.first)) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            let (next, end) = end_of(&bytes);
            let Some(next) = next else {
                // Not one block of it is whole. Its name is free for the next one.
                self.next = self.next.max(last.first);
                remove(folder, last.first);
                self.segments.pop_back();
                continue;
            };
            self.next = self.next.max(next);
            self.is_damaged = end < bytes.len();
            break;
        }
        self.knows = Knows::All;
        Ok(())
    }

    /// The segments, oldest first.
    pub(super) fn segments(&self) -> impl DoubleEndedIterator<Item = Segment> + use<'_> {
        self.segments.iter().copied()
    }

    /// The segment that holds a record, or the first one after it. None is written yet otherwise.
    pub(super) fn segment_of(&self, number: u64) -> Option<Segment> {
        let after = self.segments.partition_point(|segment| segment.first <= number);
        self.segments.get(after.saturating_sub(1)).copied()
    }

    /// The segment that was begun after this one.
    pub(super) fn segment_after(&self, first: u64) -> Option<Segment> {
        let after = self.segments.partition_point(|segment| segment.first <= first);
        self.segments.get(after).copied()
    }

    /// The number that the next record gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// When the last block was written.
    pub(super) fn written_at(&self) -> Option<SystemTime> {
        self.written_at
    }

    /// The room that it takes on disk, in bytes.
    pub(super) fn space(&self) -> u64 {
        self.segments.iter().map(|segment| on_disk(segment.bytes)).sum()
    }

    /// Writes a block with so many records. What cannot be written in full is taken back.
    pub(super) fn append(
        &mut self,
        (id, folder): (usize, &Path),
        files: &mut OpenFiles,
        (count, block): (u32, &[u8]),
        bound: u64,
    ) -> io::Result<()> {
        let size = block.len() as u64;
        let is_full = self.segments.back().is_none_or(|last| last.bytes + size > bound / SEGMENTS && last.bytes > 0);
        if is_full || self.is_damaged {
            self.begin_segment((id, folder), files)?;
        }
        while self.segments.len() > 1 && self.bytes() + size > bound {
            self.remove_oldest((id, folder), files);
        }
        let newest = self.segments.back().map_or(self.next, |last| last.first);
        if let Some(error) = files.get(id, &path(folder, newest)).err() {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            // Somebody removed it.
            self.begin_segment((id, folder), files)?;
        }
        let Some(last) = self.segments.back_mut() else { return Err(ErrorKind::NotFound.into()) };
        let file = files.get(id, &path(folder, last.first))?;
        if let Err(error) = file.write_all_at(block, last.bytes) {
            // Should even this fail, half a block lies where the next one is written, or at an end that is recognised.
            let _ = file.set_len(last.bytes);
            return Err(error);
        }
        last.bytes += size;
        self.next += u64::from(count);
        self.written_at = Some(SystemTime::now());
        Ok(())
    }

    fn begin_segment(&mut self, (id, folder): (usize, &Path), files: &mut OpenFiles) -> io::Result<()> {
        files.close(id);
        if let Some(empty) = self.segments.pop_back_if(|last| last.bytes == 0) {
            remove(folder, empty.first);
        }
        files.create(id, &path(folder, self.next))?;
        self.segments.push_back(Segment { first: self.next, bytes: 0 });
        self.is_damaged = false;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Removes the oldest segment.
    pub(super) fn remove_oldest(&mut self, (id, folder): (usize, &Path), files: &mut OpenFiles) {
        let Some(oldest) = self.segments.pop_front() else { return };
        if self.segments.is_empty() {
            files.close(id);
            // Where nobody has looked inside, this is all that is known of its records.
            self.next = self.next.max(oldest.first);
        }
        remove(folder, oldest.first);
    }

    /// Removes all of it.
    pub(super) fn remove(&mut self, (id, folder): (usize, &Path), files: &mut OpenFiles) {
        while !self.segments.is_empty() {
            self.remove_oldest((id, folder), files);
        }
        // There may be files in it that are not ours; then it stays.
        let _ = fs::remove_dir(folder);
    }
}

/// What a file of this length takes on disk.
fn on_disk(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(DISK_PAGE)
}

/// The file of the segment with this first record.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

fn first_record(path: &Path) -> Option<u64> {
    let is_segment = path.extension().is_some_and(|extension| extension == "log");
    let stem = path.file_stem()?.to_str().filter(|stem| is_segment && stem.len() == 20)?;
    stem.parse().ok()
}

fn remove(folder: &Path, first: u64) {
    let path = path(folder, first);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!("{} is not needed and cannot be removed: {error}", path.display());
    }
}

/// The number after the last record, if there is one, and where the last block ends.
fn end_of(bytes: &[u8]) -> (Option<u64>, usize) {
    let (mut at, mut end, mut next) = (0, 0, None);
    loop {
        match block::next(&bytes[at..], |_| false) {
            Found::Block(offset, head) => {
                at += offset + head.size;
                (end, next) = (at, Some(head.end()));
            }
            // It says to be longer than the file. What comes after may not be.
            Found::Part(offset, _) => at += offset + 1,
            Found::Nothing(_) => return (next, end),
        }
    }
}

/// The segments that were written to last, open.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    /// Each with the ring it belongs to; the one that was used last is at the end.
    files: VecDeque<(usize, File)>,
}

impl OpenFiles {
    fn get(&mut self, id: usize, path: &Path) -> io::Result<&File> {
        match self.files.iter().rposition(|(other, _)| *other == id) {
            Some(at) => {
                if let Some(found) = self.files.remove(at) {
                    self.files.push_back(found);
                }
            }
            None => self.keep(id, OpenOptions::new().write(true).open(path)?),
        }
        self.files.back().map(|(_, file)| file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn create(&mut self, id: usize, path: &Path) -> io::Result<()> {
        // What functions write is for the owner's eyes.
        let create = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let created = match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(Path::new("."));
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                create()
            }
            created => created,
        };
        self.keep(id, created?);
        Ok(())
    }

    fn keep(&mut self, id: usize, file: File) {
        if self.files.len() >= OPEN_FILES {
            self.files.pop_front();
        }
        self.files.push_back((id, file));
    }

    /// Closes the file of a ring, if it is open.
    pub(super) fn close(&mut self, id: usize) {
        self.files.retain(|(other, _)| *other != id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }
}
