//! Signals to processes, without the program `kill`, which not every machine has.

use rustix::process::{Pid, Signal, kill_process};

/// The process with this id, as the system's calls take it: to them none is the one that calls.
pub(crate) fn process(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("{id} is no process"))
}

/// Sends a signal to the process with this id, which must be there.
pub fn signal(id: u32, signal: Signal) {
    let sent = kill_process(process(id), signal);
    sent.unwrap_or_else(|error| panic!("process {id} gets no {signal:?}: {error}"));
}
