//! Connections that there is no room for.
//!
//! They are taken and answered, not left in the system's queue: a caller who is told at once can go elsewhere, and so
//! does the machine in front that spreads the load, while a caller in the queue sees a host that hangs. An answer costs
//! little, and only so many are given with patience at the same time.

use super::limits::Doors;
use crate::gateway::error_response;
use micro_mesh::Error;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Connections of one door that are refused at the same time with some patience; those beyond them get what can be had
/// without waiting.
pub(super) const AT_ONCE: usize = 256;

/// How long a request may take to come, and its caller to read the refusal.
const REQUEST: Duration = Duration::from_millis(100);
const TIME: Duration = Duration::from_secs(1);

/// What of a request is read and thrown away, in bytes: a connection that is closed with unread bytes in it is reset,
/// and the refusal is lost with it.
const READ: usize = 64 * 1024;

pub(super) struct Refusals {
    places: Arc<Semaphore>,
    reply: Arc<str>,
}

impl Refusals {
    pub(super) fn new(doors: &Doors) -> Refusals {
        Refusals { places: Arc::new(Semaphore::new(AT_ONCE)), reply: reply(doors.limits.max_connections).into() }
    }

    /// Answers 503 and closes.
    pub(super) fn refuse(&self, stream: TcpStream) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return say_at_once(stream, &self.reply) };
        let reply = self.reply.clone();
        tokio::spawn(async move {
            // A caller who does not listen is told nothing.
            let _ = tokio::time::timeout(TIME, say(stream, &reply)).await;
            drop(place);
        });
    }
}

async fn say(mut stream: TcpStream, reply: &str) {
    // Some clients do not take an answer for one that comes before they have asked.
    let _ = tokio::time::timeout(REQUEST, stream.readable()).await;
    if stream.write_all(reply.as_bytes()).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    // Until the caller closes, or nobody waits any longer.
    let _ = tokio::io::copy(&mut stream.take(READ as u64), &mut tokio::io::sink()).await;
}

/// Says it to a caller who has asked already, and to the others if they listen.
fn say_at_once(stream: TcpStream, reply: &str) {
    let Ok(mut stream) = stream.into_std() else { return };
    let mut asked = [0; 4 * 1024];
    let mut all = 0;
    while let Ok(read @ 1..) = stream.read(&mut asked) {
        all += read;
        if all > READ {
            return;
        }
    }
    // An error means that the caller has gone.
    let _ = stream.write_all(reply.as_bytes());
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
