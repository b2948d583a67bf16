//! The secret that lets a caller change things.

use crate::whole_file::{self, Readers};
use std::fs;
use std::io;
use std::path::Path;

/// Random bytes in a token, before they are written in hex.
const BYTES: usize = 32;

/// The admin token: made at the first start, in a file that only its owner reads.
pub(crate) struct Token(blake3::Hash);

impl Token {
    /// Reads the token in `path`, or makes one there.
    pub(crate) fn open(path: &Path) -> io::Result<Token> {
        match fs::read_to_string(path) {
            Ok(text) if !text.trim().is_empty() => Ok(Token(blake3::hash(text.trim().as_bytes()))),
            Ok(_) => make(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
            Err(error) => Err(error),
        }
    }

    /// Whether `text` is the token. Hashes are compared, in constant time.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0 == blake3::hash(text.as_bytes())
    }
}

fn make(path: &Path) -> io::Result<Token> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    whole_file::write(path, text.as_bytes(), Readers::Owner)?;
    Ok(Token(blake3::hash(text.as_bytes())))
}
