//! Lines for the deployment's log, each with its level in front.
//!
//! ```
//! # use micro_sdk as micro;
//! micro::log::info!("greeting {}", "John");
//! micro::log::warn!("nobody is called {}", "Jane");
//! ```
//!
//! They go to standard error, which the host keeps line by line: `micro logs greeter`.

/// Writes one line. Text with line breaks in it stays together by an indent.
#[doc(hidden)]
pub fn write(level: &str, text: std::fmt::Arguments) {
    use std::io::Write;
    let text = text.to_string().replace('\n', "\n      ");
    // A host that takes no output still gets the reply.
    let _ = writeln!(std::io::stderr(), "{level:<5} {text}");
}

/// Something failed that somebody has to look at.
pub use crate::__micro_log_error as error;

/// Something is not as it should be, and went on.
pub use crate::__micro_log_warn as warn;

/// Something happened that is worth a line.
pub use crate::__micro_log_info as info;

/// For whoever looks for a mistake.
pub use crate::__micro_log_debug as debug;

#[doc(hidden)]
#[macro_export]
macro_rules! __micro_log_error {
    ($($text:tt)*) => { $crate::log::write("ERROR", ::core::format_args!($($text)*)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __micro_log_warn {
    ($($text:tt)*) => { $crate::log::write("WARN", ::core::format_args!($($text)*)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __micro_log_info {
    ($($text:tt)*) => { $crate::log::write("INFO", ::core::format_args!($($text)*)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __micro_log_debug {
    ($($text:tt)*) => { $crate::log::write("DEBUG", ::core::format_args!($($text)*)) };
}
