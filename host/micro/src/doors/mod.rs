//! The doors: where connections are let in, watched, and let out.
//!
//! Strangers connect to a host. Whatever they do with a connection, it costs a bounded part of the host for a bounded
//! time:
//!
//! | what they do | what they get | where |
//! |---|---|---|
//! | one connection more than there is room for | 503 when its request comes, or soon | [`refuse`] |
//! | one request more than there is room for | 503 with `Retry-After` | [`request`] |
//! | a head that does not end, or nothing at all | the connection ends | [`watch`] |
//! | a head that is too large, or not HTTP | 431 or 400 | hyper, bounded in [`connection`] |
//! | a body that does not go on | 408 | [`body`] |
//! | bodies, more bytes of them than there is room for | 503 with `Retry-After` | [`limits`], the gateway |
//! | a reply that is not read | the connection ends, or the stream of HTTP/2 | [`socket`], [`streams`] |
//! | streams of HTTP/2, opened and reset | the connection ends | h2, bounded in [`connection`] |
//! | silence: the other machine is gone | the connection ends | TCP's keep-alive, [`socket`] |

mod body;
mod connection;
mod files;
mod limits;
mod listener;
mod refuse;
mod request;
mod socket;
mod streams;
mod upgrade;
mod watch;

pub(crate) use body::{allow_leisure, is_slow};
pub(crate) use files::allow as allow_files;
pub use limits::DoorLimits;
pub(crate) use limits::{BodyRoom, DoorName, Doors};
pub(crate) use listener::serve;
pub(crate) use upgrade::Upgrade;
