//! How a command ends when it does not succeed: which text, on which stream, with which exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::admin::HostError;

/// The command failed.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// Nobody listens at the host's address.
pub const NO_HOST: u8 = 3;

/// An end that is not just an error text on standard error.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    text: String,
    code: u8,
    is_on_stdout: bool,
}

impl Failure {
    /// Exit status 1.
    pub fn plain(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), code: FAILED, is_on_stdout: false }
    }

    /// Exit status 2: the words after the command make no sense.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), code: USAGE, is_on_stdout: false }
    }

    /// On standard output, where go-micro's `list`, `get` and `call` print their errors and scripts look for them.
    pub fn on_stdout(self) -> Failure {
        Failure { is_on_stdout: true, ..self }
    }
}

/// Tells the user, and gives the process its exit status.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_reader_gone(error) {
        return ExitCode::SUCCESS;
    }
    let failure = error.downcast_ref::<Failure>();
    let text = format!("{error:#}");
    // Nobody is left to be told that nobody reads.
    let _ = match failure {
        Some(failure) if failure.is_on_stdout => writeln!(io::stdout(), "{text}"),
        _ => writeln!(io::stderr(), "{text}"),
    };
    let code = match (failure, error.downcast_ref::<HostError>()) {
        (Some(failure), _) => failure.code,
        (None, Some(HostError::NotReachable { .. })) => NO_HOST,
        (None, Some(HostError::BadAddress(_))) => USAGE,
        (None, _) => FAILED,
    };
    ExitCode::from(code)
}

/// `micro logs | head` is not an error.
fn is_reader_gone(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
