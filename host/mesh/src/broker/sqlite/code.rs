//! How headers and cursors are written into a column: numbers of 7 bits a byte, the lowest first, and texts behind their
//! lengths.

use super::super::{Header, MAX_HEADER_NAMES};

/// The names and values of a header, in their order.
pub(super) fn header(header: &Header) -> Vec<u8> {
    let mut out = Vec::with_capacity(if header.is_empty() { 0 } else { header.size() + 8 * 4 });
    for (name, value) in header.iter() {
        for text in [name, value] {
            number(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// The header that was written so. What cannot be read of it is left out, and what are more names than there may be.
pub(super) fn read_header(mut bytes: &[u8]) -> Header {
    let pairs = std::iter::from_fn(|| Some((text(&mut bytes)?, text(&mut bytes)?)));
    pairs.take(MAX_HEADER_NAMES).collect()
}

/// Numbers that rise, as runs of neighbours: how many are left out, and how many follow each other.
pub(super) fn runs(numbers: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut end = 0;
    let mut run: Option<(u64, u64)> = None;
    for next in numbers {
        match &mut run {
            Some((_, last)) if *last + 1 == next => *last = next,
            _ => {
                if let Some(run) = run {
                    put_run(&mut out, &mut end, run);
                }
                run = Some((next, next));
            }
        }
    }
    if let Some(run) = run {
        put_run(&mut out, &mut end, run);
    }
    out
}

fn put_run(out: &mut Vec<u8>, end: &mut u64, (first, last): (u64, u64)) {
    number(out, first.saturating_sub(*end));
    number(out, last.saturating_sub(first) + 1);
    *end = last + 1;
}

/// The numbers that were written so.
pub(super) fn read_runs(mut bytes: &[u8]) -> impl Iterator<Item = u64> {
    let mut end = 0_u64;
    std::iter::from_fn(move || {
        let first = end.checked_add(read_number(&mut bytes)?)?;
        end = first.checked_add(read_number(&mut bytes)?)?;
        Some(first..end)
    })
    .flatten()
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(read_number(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let long = "x".repeat(300);
        let given: Header = [("a", "1"), ("Content-Type", "ä"), ("empty", ""), ("long", &*long)].into_iter().collect();
        let written = header(&given);
        assert_eq!(read_header(&written), given);
        assert!(header(&Header::default()).is_empty());
        for end in 0..written.len() {
            read_header(&written[..end]);
        }
    }

    #[test]
    fn no_more_names_are_read_than_a_header_may_have() {
        let many: Header = (0..300).map(|number| (number.to_string(), "")).collect();
        let read = read_header(&header(&many));
        assert_eq!((read.len(), read.get("255"), read.get("256")), (MAX_HEADER_NAMES, Some(""), None));
    }

    #[test]
    fn runs_come_back_as_they_were() {
        for numbers in [vec![], vec![1], vec![1, 2, 3], vec![0, 2, 3, 900, 901, 70_000], vec![5, 7, 9]] {
            assert_eq!(read_runs(&runs(numbers.iter().copied())).collect::<Vec<_>>(), numbers);
        }
        assert_eq!(runs(1_000_000..2_000_000).len(), 6, "neighbours cost nothing");
        assert_eq!(read_runs(&[0xff; 20]).next(), None);
    }
}
