//! Lines as they lie on disk: in blocks, each of which was written at once and can be checked by itself.
//!
//! A block is a head of 44 bytes, numbers in little endian, and its records one after the other:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | [`MAGIC`] |
//! | 8 | the first bytes of the BLAKE3 hash of all that follows |
//! | 4 | length of the records |
//! | 4 | how many records |
//! | 8 | the number of the first one in its log; those that follow count up |
//! | 8, 8 | the earliest and the latest time of a record, in microseconds since 1970 |

use super::record::Record;

/// Text never holds the first of these bytes, so a guest cannot write what looks like a block.
const MAGIC: [u8; 4] = *b"\xffLOG";
const CHECKED_FROM: usize = 12;
pub(super) const HEAD: usize = 44;

/// Whatever says to be a larger block is none.
pub(super) const MAX_BLOCK: usize = 8 * 1024 * 1024;

/// What the head of a block says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Of head and records, in bytes.
    pub(super) size: usize,
    pub(super) count: u32,
    /// The number of the first record in its log.
    pub(super) first: u64,
    /// The earliest time of a record.
    pub(super) from: u64,
    /// The latest.
    pub(super) until: u64,
}

impl Head {
    /// The number of the record after the last one.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Writes the head in the room that `block` has for it before its records.
    pub(super) fn seal(count: u32, first: u64, (from, until): (u64, u64), block: &mut [u8]) {
        let Some((head, records)) = block.split_first_chunk_mut::<HEAD>() else { return };
        let length = u32::try_from(records.len()).unwrap_or(u32::MAX);
        head[..4].copy_from_slice(&MAGIC);
        head[12..16].copy_from_slice(&length.to_le_bytes());
        head[16..20].copy_from_slice(&count.to_le_bytes());
        for (at, number) in [(20, first), (28, from), (36, until)] {
            head[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = checksum(&block[CHECKED_FROM..]);
        block[4..CHECKED_FROM].copy_from_slice(&checksum);
    }

    /// What the head at the start of `bytes` says, if there is one. It is not checked: it says how much to check.
    pub(super) fn read(bytes: &[u8]) -> Option<Head> {
        let head = bytes.first_chunk::<HEAD>()?;
        let number = |at: usize| head[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let long = |at: usize| head[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let size = HEAD + number(12)? as usize;
        let is_one = head[..4] == MAGIC && size <= MAX_BLOCK;
        is_one.then_some(Head { size, count: number(16)?, first: long(20)?, from: long(28)?, until: long(36)? })
    }

    /// Whether `block` is the whole block, as it was written.
    pub(super) fn is_whole(&self, block: &[u8]) -> bool {
        block.len() == self.size && block[4..CHECKED_FROM] == checksum(&block[CHECKED_FROM..])
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKED_FROM - 4] {
    let mut short = [0; CHECKED_FROM - 4];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKED_FROM - 4]);
    short
}

/// The records of a block with their numbers.
pub(super) fn records<'b>(head: &Head, block: &'b [u8]) -> impl Iterator<Item = (u64, Record<'b>)> + use<'b> {
    let mut rest = block.get(HEAD..).unwrap_or_default();
    let numbers = head.first..head.end();
    numbers.map_while(move |number| Some((number, Record::read(&mut rest)?)))
}

/// What [`next`] found at the start of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A block, so many bytes further on: what is before it is damaged.
    Block(usize, Head),
    /// The start of a block, so many bytes further on, that needs this many bytes from there to be whole.
    Part(usize, usize),
    /// Nothing in so many bytes; what follows may be the start of a block.
    Nothing(usize),
}

/// Looks for the next block. One that `is_skipped` is not checked.
pub(super) fn next(bytes: &[u8], is_skipped: impl Fn(&Head) -> bool) -> Found {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(offset) = rest.windows(MAGIC.len()).position(|window| window == MAGIC) else {
            return Found::Nothing(bytes.len().saturating_sub(MAGIC.len() - 1).max(at));
        };
        at += offset;
        let rest = &bytes[at..];
        if rest.len() < HEAD {
            return Found::Part(at, HEAD);
        }
        match Head::read(rest) {
            Some(head) if rest.len() < head.size => return Found::Part(at, head.size),
            Some(head) if is_skipped(&head) || head.is_whole(&rest[..head.size]) => return Found::Block(at, head),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Line;
    use super::*;

    fn block(first: u64, texts: &[&str]) -> Vec<u8> {
        let mut block = vec![0; HEAD];
        texts.iter().for_each(|text| Line::of_host(text).write(first, 1, &mut block));
        Head::seal(texts.len() as u32, first, (first, first), &mut block);
        block
    }

    fn texts(head: &Head, block: &[u8]) -> Vec<(u64, String)> {
        records(head, block).map(|(number, record)| (number, record.text().into_owned())).collect()
    }

    #[test]
    fn a_block_is_found_and_read() {
        let bytes = block(5, &["a", "b"]);
        let Found::Block(0, head) = next(&bytes, |_| false) else { panic!("no block") };
        assert_eq!((head.size, head.count, head.end()), (bytes.len(), 2, 7));
        assert_eq!(texts(&head, &bytes), [(5, "a".to_string()), (6, "b".to_string())]);
    }

    #[test]
    fn a_block_that_was_cut_or_changed_anywhere_is_not_taken_for_one() {
        let bytes = block(0, &["a"]);
        for length in 0..bytes.len() {
            assert!(!matches!(next(&bytes[..length], |_| false), Found::Block(..)), "cut at {length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(!matches!(next(&changed, |_| false), Found::Block(..)), "changed at {at}");
        }
    }

    #[test]
    fn the_block_after_a_damaged_one_is_found() {
        let (mut bytes, second) = (block(0, &["a"]), block(1, &["b"]));
        bytes[HEAD + 3] ^= 1;
        let damaged = bytes.len();
        bytes.extend_from_slice(&second);
        let Found::Block(at, head) = next(&bytes, |_| false) else { panic!("no block") };
        assert_eq!((at, head.first), (damaged, 1));
        // The same where the head says that more is to come than is there.
        bytes[12] = 0xff;
        assert!(matches!(next(&bytes, |_| false), Found::Part(0, size) if size > bytes.len()));
        assert!(matches!(next(&bytes[1..], |_| false), Found::Block(at, _) if at == damaged - 1));
    }
}
