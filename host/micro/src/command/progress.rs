//! The sign of life for work that may take over a second: on standard error, and only when that is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the sign moves.
const TICK: Duration = Duration::from_millis(100);

/// A spinner that goes away when it is dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    title: String,
}

impl Progress {
    /// Starts to turn, with `title` beside it.
    pub fn start(title: impl Into<String>) -> Progress {
        let title = title.into();
        if !std::io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden(), title };
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(title.clone());
        bar.enable_steady_tick(TICK);
        Progress { bar, title }
    }

    /// Says what is being done at the moment.
    pub fn now(&self, step: &str) {
        self.bar.set_message(format!("{}: {}", self.title, step.trim()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
