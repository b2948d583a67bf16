//! What the functions of a service's life may return.

use std::fmt::Display;

/// What a function that is marked `start`, `stop`, `health`, `save` or `restore` returns: its value, or a `Result` of it
/// with any error that can be shown.
pub trait Outcome<T> {
    /// As the contract has it.
    fn outcome(self) -> Result<T, String>;
}

impl Outcome<()> for () {
    fn outcome(self) -> Result<(), String> {
        Ok(())
    }
}

impl Outcome<Vec<u8>> for Vec<u8> {
    fn outcome(self) -> Result<Vec<u8>, String> {
        Ok(self)
    }
}

impl<T, E: Display> Outcome<T> for Result<T, E> {
    fn outcome(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Nobody takes the error of an instance that ends, so it goes to the log.
#[doc(hidden)]
pub fn stopped(outcome: Result<(), String>) {
    if let Err(error) = outcome {
        crate::log::error!("stop: {error}");
    }
}
