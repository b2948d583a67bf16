//! What a host tells of itself while it runs, on standard error.

use std::io::{self, IsTerminal as _};

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use super::failure::Failure;

/// The variable that says how much is told.
const VARIABLE: &str = "MICRO_LOG";

/// How much is told when the variable says nothing.
#[derive(Debug, Clone, Copy)]
pub enum Level {
    /// By a host alone: what happens to deployments, and what goes wrong.
    Host,
    /// By a host beside a command that tells itself what it does: what goes wrong.
    Beside,
}

impl Level {
    fn filter(self) -> &'static str {
        match self {
            // lapin tells as an error what it is told in answer to a question.
            Level::Host => "warn,lapin=off,micro=info",
            Level::Beside => "warn",
        }
    }

    /// The variable for a host in another process: what it is here, else this level.
    pub fn variable(self) -> (&'static str, String) {
        (VARIABLE, given().unwrap_or_else(|| self.filter().to_owned()))
    }
}

/// From here on, what the host says goes to standard error.
pub fn start(level: Level) -> Result<()> {
    let filter = filter(&given().unwrap_or_else(|| level.filter().to_owned()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
        // It would be told with a macro that panics when nobody reads standard error.
        .log_internal_errors(false)
        .try_init()
        .map_err(anyhow::Error::from_boxed)
}

/// A variable that is set to nothing is as good as not set.
fn given() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|given| !given.is_empty())
}

fn filter(text: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::builder().parse(text).map_err(|error| {
        Failure::usage(format!(
            "{VARIABLE}={text}: {error}; expected a level, info, or levels by part, warn,micro=debug"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_chosen_by_a_level_or_by_parts() {
        for text in [Level::Host.filter(), Level::Beside.filter(), "debug", "off", "warn,micro_engine=trace"] {
            assert!(filter(text).is_ok(), "{text}");
        }
        let refused = filter("micro=loud").unwrap_err().to_string();
        assert!(refused.starts_with("MICRO_LOG=micro=loud: ") && refused.contains("warn,micro=debug"), "{refused}");
    }
}
