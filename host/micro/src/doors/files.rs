//! How many files this process may have open: each connection is one.

use super::limits::DoorLimits;
use super::refuse::AT_ONCE;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Files that the host needs for all else: databases, components, listeners, connections of its own.
const OTHERS: u64 = 256;

/// Takes as many as the system gives; it begins with few, for programs of old. A host that still cannot have all its
/// connections says so: the doors stay shut for as long as there are no more files to be had.
pub(crate) fn allow(limits: &DoorLimits) {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    // Where that is not allowed there are as many as before.
    let _ = setrlimit(Resource::Nofile, files);
    let Some(allowed) = getrlimit(Resource::Nofile).current else { return };
    let doors = (limits.max_connections as u64).saturating_add(AT_ONCE as u64).saturating_mul(2);
    if allowed < doors.saturating_add(OTHERS) {
        tracing::warn!(
            "the system allows {allowed} open files, which is not enough for {} connections at each of two doors: raise \
             it (ulimit -n), or give fewer --max-connections",
            limits.max_connections
        );
    }
}
