//! Signals to processes, without the program `kill`, which not every machine has.

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to the process with this id, which must be there.
pub fn signal(id: u32, signal: Signal) {
    let process = i32::try_from(id).ok().and_then(Pid::from_raw);
    let sent = kill_process(process.unwrap_or_else(|| panic!("{id} is no process")), signal);
    sent.unwrap_or_else(|error| panic!("process {id} gets no {signal:?}: {error}"));
}
