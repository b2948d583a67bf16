//! Connections that there is no room for.
//!
//! They are taken and answered, not left in the system's queue: a caller who is told at once can go elsewhere, and so
//! does the machine in front that spreads the load, while a caller in the queue sees a host that hangs. An answer costs
//! little, and only so many are given at the same time.

use super::limits::Doors;
use crate::gateway::error_response;
use micro_mesh::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Connections that are told why at the same time; any beyond them are closed without a word.
const AT_ONCE: usize = 64;

/// How long a caller may take to read the refusal.
const TIME: Duration = Duration::from_secs(1);

/// What of a request is read and thrown away, in bytes: a connection that is closed with unread bytes in it is reset,
/// and the refusal is lost with it.
const READ: u64 = 64 * 1024;

pub(super) struct Refusals {
    places: Arc<Semaphore>,
    max_connections: usize,
}

impl Refusals {
    pub(super) fn new(doors: &Doors) -> Refusals {
        Refusals { places: Arc::new(Semaphore::new(AT_ONCE)), max_connections: doors.limits.max_connections }
    }

    /// Answers 503 and closes.
    pub(super) fn refuse(&self, stream: TcpStream) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let limit = self.max_connections;
        tokio::spawn(async move {
            // A caller who does not listen is told nothing.
            let _ = tokio::time::timeout(TIME, say(stream, limit)).await;
            drop(place);
        });
    }
}

async fn say(mut stream: TcpStream, limit: usize) {
    if stream.write_all(reply(limit).as_bytes()).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    // Until the caller closes, or nobody waits any longer.
    let _ = tokio::io::copy(&mut stream.take(READ), &mut tokio::io::sink()).await;
}

/// The refusal in HTTP/1.1. Who speaks HTTP/2 sees a connection that ends.
fn reply(limit: usize) -> String {
    let detail = format!("the host has as many connections as it may, {limit}: try again later");
    let error = Error::unavailable("go.micro.api", detail);
    let body = error.to_string();
    let response = error_response(error);
    let mut text = format!("HTTP/1.1 {}\r\n", response.status());
    for (name, value) in response.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    text + &format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
