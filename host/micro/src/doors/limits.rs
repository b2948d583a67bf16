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
    /// Bytes of bodies that are gathered before their calls begin, over all requests. Small ones do not count: the number
    /// of requests bounds them.
    pub max_body_bytes: u64,
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
            max_body_bytes: 1024 * 1024 * 1024,
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
    body_bytes: AtomicU64,
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
    /// Bytes of bodies that are held for calls now.
    pub(crate) body_bytes: u64,
    pub(crate) max_body_bytes: u64,
    /// Requests that were answered 503 because there were too many, or too many bytes of their bodies.
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
            body_bytes: AtomicU64::new(0),
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
            body_bytes: self.body_bytes.load(Ordering::Relaxed),
            max_body_bytes: self.limits.max_body_bytes,
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

    /// Room for the body of one more request; none of it is taken yet.
    pub(crate) fn body_room(self: &Arc<Doors>) -> BodyRoom {
        BodyRoom { doors: self.clone(), bytes: 0 }
    }

    pub(crate) fn max_body_bytes(&self) -> u64 {
        self.limits.max_body_bytes
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

/// What a body takes of the room for all bodies, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct BodyRoom {
    doors: Arc<Doors>,
    bytes: u64,
}

impl BodyRoom {
    /// Takes what is missing for a body of so many bytes; false when there is no room for it.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.doors.body_bytes.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) <= self.doors.limits.max_body_bytes {
            self.bytes += more;
            return true;
        }
        self.doors.body_bytes.fetch_sub(more, Ordering::Relaxed);
        self.doors.shed.fetch_add(1, Ordering::Relaxed);
        false
    }
}

impl Drop for BodyRoom {
    fn drop(&mut self) {
        self.doors.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
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
    #[test]
    fn bodies_have_room_together_and_give_it_back() {
        let doors = Doors::new(DoorLimits { max_body_bytes: 100, ..DoorLimits::default() });
        let (mut first, mut second) = (doors.body_room(), doors.body_room());
        assert!(first.grow_to(40) && first.grow_to(60) && first.grow_to(10));
        assert!(second.grow_to(40) && !second.grow_to(41) && !second.grow_to(u64::MAX));
        assert_eq!(doors.report().body_bytes, 100);
        drop(first);
        assert!(second.grow_to(100));
        drop(second);
        assert_eq!((doors.report().body_bytes, doors.report().shed), (0, 2));
    }
}
