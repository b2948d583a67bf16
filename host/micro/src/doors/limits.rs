//! How much the doors let in, and how much they have let in.

use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Requests that the sidecar may have beyond the host's limit: a host whose gateway is full must still be told to kill
/// what fills it.
const SIDECAR_RESERVE: usize = 64;

/// What a host takes from those who connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorLimits {
    /// Connections of each door. A connection that does nothing takes some 10 KB.
    pub max_connections: usize,
    /// Requests that are served at once, over all doors; one counts until the last byte of its reply is handed on.
    pub max_requests: usize,
    /// From the first byte of a request's head, or from the start of a connection, to the end of that head.
    pub head: Duration,
    /// How long a connection may stay without a request. Longer than the 60 seconds that proxies keep theirs, so that it
    /// is the proxy who closes, and no request is lost on the way.
    pub idle: Duration,
    /// How long a request's body may make no progress.
    pub body: Duration,
    /// How long a reply that is there may be left unread.
    pub reader: Duration,
}

impl Default for DoorLimits {
    fn default() -> DoorLimits {
        DoorLimits {
            max_connections: 4096,
            max_requests: 8192,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(20),
            reader: Duration::from_secs(30),
        }
    }
}

/// Which door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoorName {
    Gateway,
    Sidecar,
}

impl DoorName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            DoorName::Gateway => "gateway",
            DoorName::Sidecar => "sidecar",
        }
    }
}

/// All doors of a host: their limits, and what is in them now.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(super) limits: DoorLimits,
    /// Changed twice with every request, so what others read lies elsewhere.
    requests: Alone<AtomicUsize>,
    gateway: Entrance,
    sidecar: Entrance,
    shed: AtomicU64,
    slow: AtomicU64,
}

/// A value with a line of the processor's cache for itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Alone<T>(T);

#[derive(Debug, Default)]
struct Entrance {
    connections: AtomicUsize,
    refused: AtomicU64,
}

/// What the doors say of themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) gateway: EntranceReport,
    pub(crate) sidecar: EntranceReport,
    /// Of each door.
    pub(crate) max_connections: usize,
    /// Requests that are served now.
    pub(crate) requests: usize,
    pub(crate) max_requests: usize,
    /// Requests that were answered 503 because there were too many.
    pub(crate) shed: u64,
    /// Connections and requests that were ended because the caller was too slow.
    pub(crate) slow: u64,
}

/// What one door says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct EntranceReport {
    /// Connections that are open now.
    pub(crate) connections: usize,
    /// Connections that were turned away because there were too many.
    pub(crate) refused: u64,
}

impl Doors {
    pub(crate) fn new(limits: DoorLimits) -> Arc<Doors> {
        Arc::new(Doors {
            limits,
            requests: Alone::default(),
            gateway: Entrance::default(),
            sidecar: Entrance::default(),
            shed: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        })
    }

    /// What is in the doors now, and what they turned away since the start.
    pub(crate) fn report(&self) -> Report {
        let entrance = |entrance: &Entrance| EntranceReport {
            connections: entrance.connections.load(Ordering::Relaxed),
            refused: entrance.refused.load(Ordering::Relaxed),
        };
        Report {
            gateway: entrance(&self.gateway),
            sidecar: entrance(&self.sidecar),
            max_connections: self.limits.max_connections,
            requests: self.requests.0.load(Ordering::Relaxed),
            max_requests: self.limits.max_requests,
            shed: self.shed.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
        }
    }

    fn entrance(&self, door: DoorName) -> &Entrance {
        match door {
            DoorName::Gateway => &self.gateway,
            DoorName::Sidecar => &self.sidecar,
        }
    }

    /// Room for one more connection, if there is any.
    pub(super) fn admit(self: &Arc<Doors>, door: DoorName) -> Option<Place> {
        let entrance = self.entrance(door);
        // Only the door's own loop adds to the number, so nobody comes between the question and the answer.
        if entrance.connections.load(Ordering::Relaxed) >= self.limits.max_connections {
            entrance.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        entrance.connections.fetch_add(1, Ordering::Relaxed);
        Some(Place { doors: self.clone(), door })
    }

    /// Counts one more request; false when there are too many.
    pub(super) fn begin_request(&self, door: DoorName) -> bool {
        let reserve = if door == DoorName::Sidecar { SIDECAR_RESERVE } else { 0 };
        let before = self.requests.0.fetch_add(1, Ordering::Relaxed);
        if before < self.limits.max_requests.saturating_add(reserve) {
            return true;
        }
        self.end_request();
        self.shed.fetch_add(1, Ordering::Relaxed);
        false
    }

    pub(super) fn end_request(&self) {
        self.requests.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a caller who was too slow.
    pub(super) fn count_slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }
}

/// The place of a connection, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    doors: Arc<Doors>,
    door: DoorName,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.doors.entrance(self.door).connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let doors = Doors::new(DoorLimits { max_connections: 1, ..DoorLimits::default() });
        let place = doors.admit(DoorName::Gateway);
        assert!(place.is_some());
        assert!(doors.admit(DoorName::Gateway).is_none(), "there is one place");
        assert!(doors.admit(DoorName::Sidecar).is_some(), "each door has its own");
        assert_eq!(doors.report().gateway, EntranceReport { connections: 1, refused: 1 });
        drop(place);
        assert!(doors.admit(DoorName::Gateway).is_some());
    }

    #[test]
    fn the_sidecar_still_takes_requests_when_the_gateway_does_not() {
        let doors = Doors::new(DoorLimits { max_requests: 2, ..DoorLimits::default() });
        assert!(doors.begin_request(DoorName::Gateway) && doors.begin_request(DoorName::Gateway));
        assert!(!doors.begin_request(DoorName::Gateway));
        assert!(doors.begin_request(DoorName::Sidecar));
        assert_eq!((doors.report().requests, doors.report().shed), (3, 1));
        for _ in 0..3 {
            doors.end_request();
        }
        assert_eq!(doors.report().requests, 0);
    }
}
