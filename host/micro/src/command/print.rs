//! Writing to the terminal. The standard macros panic when nobody reads any more; these do not.

use std::fmt::Display;
use std::io::{self, Write};

/// One line, or several, on standard output.
pub fn line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// A layout on standard output, with a line end unless there is nothing to print.
pub fn text(text: &str) -> io::Result<()> {
    if text.is_empty() { Ok(()) } else { line(text) }
}

/// A remark on standard error, for people. That nobody reads it changes nothing.
pub fn remark(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
