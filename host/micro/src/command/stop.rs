//! The signals that end a command.

use super::print;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a command in good order, a terminal that closes among them: a host of its own would stay.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// None where it is ignored, as for what `nohup` started: that stays so.
    hang_up: Option<Signal>,
    /// How many have come.
    asked: u32,
}

impl Stop {
    /// Listens from now on.
    pub(super) fn listen() -> std::io::Result<Stop> {
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: if is_ignored(SignalKind::hangup()) { None } else { Some(signal(SignalKind::hangup())?) },
            asked: 0,
        })
    }

    /// Returns once the command was asked to end.
    pub(super) async fn wait(&mut self) {
        if self.asked == 0 {
            self.next().await;
        }
    }

    /// Returns once it was asked for the second time: what must not be interrupted takes too long.
    pub(super) async fn insist(&mut self) {
        if self.asked == 0 {
            self.next().await;
            print::remark("waiting for the host; ctrl-C again leaves at once");
        }
        if self.asked == 1 {
            self.next().await;
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
            _ = async { self.hang_up.as_mut()?.recv().await }, if self.hang_up.is_some() => (),
        }
        self.asked += 1;
    }
}

/// Whether whoever started this process had a signal ignored, as the kernel tells: a mask in hexadecimal digits. Where
/// it tells nothing, no signal is.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}
