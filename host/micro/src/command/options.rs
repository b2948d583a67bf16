//! What every command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::admin::{Address, Answer, Host, HostError};

use super::print;

/// Apart from the options of the one command.
const HEADING: &str = "Options of every command";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The sidecar of the host to talk to, host:port [default: the host of the data directory, else 127.0.0.1:8081]
    #[arg(long, alias = "proxy_address", env = "MICRO_PROXY_ADDRESS", global = true)]
    #[arg(value_name = "ADDRESS", hide_env = true, help_heading = HEADING)]
    proxy_address: Option<String>,

    /// Where the host keeps its state and its token [default: ~/.micro]
    #[arg(long, alias = "data_dir", env = "MICRO_DATA_DIR", global = true)]
    #[arg(value_name = "DIR", hide_env = true, help_heading = HEADING)]
    data_dir: Option<PathBuf>,

    /// How to print
    #[arg(long, env = "MICRO_OUTPUT", global = true, value_enum, default_value_t = Output::Text)]
    #[arg(value_name = "FORM", hide_env = true, help_heading = HEADING)]
    pub output: Output,
}

/// The two forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Options {
    /// The host to talk to; nothing is sent to it yet.
    pub fn host(&self) -> Result<Host, HostError> {
        let data_dir = self.data_dir();
        // A variable that is set to nothing is as good as not set.
        let given = self.proxy_address.as_deref().filter(|given| !given.is_empty());
        Host::new(Address::find(given, &data_dir)?, &data_dir)
    }

    /// The data directory: the given one, else `.micro` in the home directory.
    pub fn data_dir(&self) -> PathBuf {
        match (&self.data_dir, std::env::home_dir()) {
            (Some(given), _) => given.clone(),
            (None, Some(home)) => home.join(".micro"),
            (None, None) => PathBuf::from(".micro"),
        }
    }

    /// Prints a reply: as the host sent it, or in the layout that `text` makes of it.
    pub fn print<T>(&self, answer: &Answer<T>, text: impl FnOnce(&T) -> String) -> std::io::Result<()> {
        match self.output {
            Output::Json => print::line(&answer.json),
            Output::Text => print::text(&text(&answer.value)),
        }
    }
}
