//! `micro completions`

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::print;

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "  micro completions bash > /etc/bash_completion.d/micro")]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints. They are made in memory first, because writing them straight out cannot fail in good order.
pub fn run(arguments: Arguments) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "micro", &mut text);
    print::text(String::from_utf8_lossy(&text).trim_end())?;
    Ok(())
}
