//! What happens to messages: `bench-messages survive` loses none of a million while the host is killed, and
//! `bench-messages speed` measures how fast they come from a guest to a guest. `scripts/messages` says what the figures
//! mean.

mod host;
mod speed;
mod survive;

use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::PathBuf;

/// What a run is asked for.
struct Settings {
    micro: PathBuf,
    /// The folder with the guests' components, each with its manifest.
    guests: PathBuf,
    /// Options of `micro server`, such as `--broker=memory`.
    options: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let usage = "usage: bench-messages survive|speed PROGRAM GUESTS NUMBER [OPTIONS OF THE HOST]";
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().context(usage)?;
    let micro = arguments.next().context(usage)?.into();
    let guests = arguments.next().context(usage)?.into();
    let number = arguments.next().context(usage)?.parse().context("how many messages")?;
    let settings = Settings { micro, guests, options: arguments.collect() };
    match mode.as_str() {
        "survive" => survive::run(&settings, number).await,
        "speed" => speed::run(&settings, number).await,
        _ => bail!(usage),
    }
}

fn say(line: String) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "messages: {line}")?)
}
