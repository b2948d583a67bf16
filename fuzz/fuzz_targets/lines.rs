//! Messages, one on each line, that come in pieces: the first byte is the size of the pieces. However they come, they
//! are the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro::lines::Lines;

fuzz_target!(|input: &[u8]| {
    let Some((size, text)) = input.split_first() else { return };
    let mut lines = Lines::default();
    let mut found = Vec::new();
    for piece in text.chunks(usize::from(*size).max(1)) {
        lines.push(piece);
        found.extend(lines.by_ref());
        assert!(lines.waiting() <= text.len());
    }
    found.extend(lines.rest());
    let expected: Vec<&[u8]> = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    let expected = expected.into_iter().filter(|line| !line.is_empty());
    assert!(found.iter().map(|line| &line[..]).eq(expected), "{found:?}");
});
