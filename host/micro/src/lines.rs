//! Messages that come one on each line, in pieces of any size.

use bytes::{Bytes, BytesMut};

/// Cuts pieces into lines. Blank lines are none.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: BytesMut,
    /// Up to where there is no end of a line: a long one may come in as many pieces as it has bytes.
    searched: usize,
}

impl Lines {
    /// Takes what came.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The bytes of the line that has no end yet, and of those that nobody took.
    pub fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// What is left when no more comes.
    pub fn rest(self) -> Option<Bytes> {
        text(&self.bytes.freeze())
    }
}

impl Iterator for Lines {
    type Item = Bytes;

    /// The next line that has its end; there may be more when more came.
    fn next(&mut self) -> Option<Bytes> {
        loop {
            let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
            let Some(offset) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.bytes.len();
                return None;
            };
            let line = self.bytes.split_to(self.searched + offset + 1).freeze();
            self.searched = 0;
            if let Some(line) = text(&line) {
                return Some(line);
            }
        }
    }
}

/// A line without the space around it, if there is something else. A copy: what is kept of a line must not keep the rest.
fn text(line: &Bytes) -> Option<Bytes> {
    let text = line.trim_ascii();
    (!text.is_empty()).then(|| Bytes::copy_from_slice(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let text = b"{\"a\":1}\r\n\n  {\"b\":2} \n\nlast";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines.push(piece);
                found.extend(lines.by_ref());
            }
            found.extend(lines.rest());
            assert_eq!(found, ["{\"a\":1}", "{\"b\":2}", "last"], "pieces of {size}");
        }
    }

    #[test]
    fn a_long_line_in_many_pieces_is_searched_once() {
        let mut lines = Lines::default();
        for _ in 0..1024 * 1024 {
            lines.push(b"x");
            assert_eq!(lines.next(), None);
            assert_eq!(lines.searched, lines.waiting(), "what was searched is not searched again");
        }
        assert_eq!(lines.waiting(), 1024 * 1024);
    }
}
