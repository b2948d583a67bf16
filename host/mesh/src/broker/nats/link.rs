//! The connection to a NATS server, which comes back by itself, and what is to be known of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ClientError, ConnectOptions, Event, ServerAddr};
use percent_encoding::percent_decode_str;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::ADDRESS;
use crate::broker::closing::{Held, Open};
use crate::broker::{BrokerError, closed};

/// How long a connection may take to come about, and an answer to come.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long closing waits for what is under way.
const CLOSING: Duration = Duration::from_secs(5);

/// How often a lost server is tried again.
const RECONNECT: Duration = Duration::from_millis(250);

/// Messages that may wait in this process for each subscription; what comes then is lost, and told.
const WAITING_MESSAGES: usize = 4_096;

/// The span in which lost messages are told once.
const SLOW_SPAN: Duration = Duration::from_secs(10);

/// A connection.
pub(super) struct Link {
    pub(super) client: Client,
    /// Its name and its servers, for people; without passwords.
    pub(super) shown: String,
    seen: watch::Receiver<Seen>,
    /// Held by each task, and by whoever asks for something.
    open: Open,
}

/// What happened to the connection.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// How often it came about.
    connected: u64,
    /// How often it was lost.
    lost: u64,
    is_over: bool,
}

/// What a task needs to know of the connection.
pub(super) struct Watch {
    seen: watch::Receiver<Seen>,
    open: Held,
    connected: u64,
}

/// Tells of each time that the connection is lost.
pub(super) struct Losses {
    seen: watch::Receiver<Seen>,
    lost: u64,
}

impl Link {
    /// Connects to the first server of an address that answers.
    pub(super) async fn connect(name: &str, address: Option<&str>) -> Result<Self, BrokerError> {
        let servers = parse(name, address.unwrap_or(ADDRESS))?;
        let hosts: Vec<_> = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        let shown = format!("{name} at {}", hosts.join(", "));
        let (sees, seen) = watch::channel(Seen::default());
        let slow = Arc::new(Mutex::new((Instant::now(), 0_u64, false)));
        let told = shown.clone();
        let mut options = ConnectOptions::new()
            .name("micro")
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .subscription_capacity(WAITING_MESSAGES)
            .reconnect_delay_callback(|_| RECONNECT)
            .event_callback(move |event| {
                match &event {
                    Event::Connected => sees.send_modify(|seen| seen.connected += 1),
                    Event::Disconnected => sees.send_modify(|seen| seen.lost += 1),
                    Event::Closed => sees.send_modify(|seen| seen.is_over = true),
                    _ => {}
                }
                tell(&told, &event, &slow);
                std::future::ready(())
            });
        // One account for all servers of the address, the first that is named.
        if let Some(server) = servers.iter().find(|server| server.has_user_pass()) {
            let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let user = decode(server.username().unwrap_or_default());
            options = match server.password() {
                Some(password) => options.user_and_password(user, decode(password)),
                None => options.token(user),
            };
        }
        let client = options.connect(servers).await.map_err(|error| {
            BrokerError::Unavailable(format!(
                "broker {shown} cannot be reached: {error}; start a NATS server there, or say where one is"
            ))
        })?;
        // Told in a moment; tasks that begin now are not to take it for a new connection.
        let mut first = seen.clone();
        let _ = timeout(ANSWER, first.wait_for(|seen| seen.connected > 0)).await;
        Ok(Self { client, shown, seen, open: Open::new() })
    }

    /// What closing waits for while it is held, or that it was closed.
    pub(super) fn hold(&self) -> Result<Held, BrokerError> {
        self.open.hold()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for as long as this for a server to be there, or until the broker is closed.
    pub(super) async fn connected(&self, patience: Duration) -> Result<(), BrokerError> {
        if self.is_connected() {
            return Ok(());
        }
        let (open, mut watch) = (self.hold()?, self.watch()?);
        let wait = async {
            while !self.is_connected() {
                // Told late at worst: what the client tells can be lost where much happens.
                let _ = timeout(RECONNECT, watch.changed()).await;
            }
        };
        let is_there = tokio::select! {
            biased;
            () = open.over() => return Err(closed()),
            is_there = timeout(patience, wait) => is_there.is_ok(),
        };
        if is_there { Ok(()) } else { Err(self.lost("the connection is lost, and is being tried again")) }
    }

    /// What is said when the server did not do something in time.
    pub(super) fn lost(&self, cause: &str) -> BrokerError {
        BrokerError::Unavailable(format!("broker {}: {cause}; publish again when its server is back", self.shown))
    }

    /// Does something that the server answers on this connection. What was asked for on a lost one is answered by nobody.
    pub(super) async fn answered<T>(
        &self,
        patience: Duration,
        what: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        let mut seen = self.seen.clone();
        let before = seen.borrow().lost;
        tokio::select! {
            biased;
            outcome = timeout(patience, what) => {
                outcome.unwrap_or_else(|_| Err(self.lost("the server answers nothing, and may yet take what it was sent")))
            }
            _ = seen.wait_for(|seen| seen.lost != before) => {
                Err(self.lost("the connection was lost before the server answered; it may have taken what it was sent"))
            }
        }
    }

    /// What tells of the connection's losses from now on.
    pub(super) fn losses(&self) -> Losses {
        let seen = self.seen.clone();
        let lost = seen.borrow().lost;
        Losses { seen, lost }
    }

    /// What a task of this connection holds for as long as it goes on.
    pub(super) fn watch(&self) -> Result<Watch, BrokerError> {
        let open = self.hold()?;
        let seen = self.seen.clone();
        let connected = seen.borrow().connected;
        Ok(Watch { seen, open, connected })
    }

    /// Refuses what comes from now on, lets the tasks end, and says goodbye to the server.
    pub(super) async fn close(&self) {
        let deadline = Instant::now() + CLOSING;
        self.open.close(CLOSING).await;
        if self.is_connected() {
            let _ = timeout_at(deadline, self.client.flush()).await;
        }
        let mut seen = self.seen.clone();
        if timeout_at(deadline, self.client.drain()).await.is_ok_and(|drained| drained.is_ok()) {
            let _ = timeout_at(deadline, seen.wait_for(|seen| seen.is_over)).await;
        }
    }
}

impl Losses {
    /// Waits until the connection is lost once more. May be cancelled.
    pub(super) async fn next(&mut self) {
        let known = self.lost;
        let lost = self.seen.wait_for(|seen| seen.lost != known).await.map(|seen| seen.lost);
        match lost {
            Ok(lost) => self.lost = lost,
            // The client is gone, and what it was asked for ends by itself.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Watch {
    /// Waits until the broker is closed or gone.
    pub(super) async fn closed(&self) {
        self.open.over().await;
    }

    /// Waits until there is another connection than the one that is known, and knows that one.
    pub(super) async fn changed(&mut self) {
        self.connected = self.other().await;
    }

    /// Waits until there is another connection, where what was asked for on the known one is forgotten.
    pub(super) async fn other(&self) -> u64 {
        let mut seen = self.seen.clone();
        let found = seen.wait_for(|seen| seen.connected != self.connected).await.map(|seen| seen.connected);
        match found {
            Ok(connected) => connected,
            // The client is gone, and nothing comes any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes a connection for the known one.
    pub(super) fn know(&mut self, connected: u64) {
        self.connected = connected;
    }
}

/// The servers of an address, which are named with commas between them.
fn parse(name: &str, address: &str) -> Result<Vec<ServerAddr>, BrokerError> {
    let parts = address.split(',').map(str::trim).filter(|part| !part.is_empty());
    let servers: Result<Vec<ServerAddr>, _> = parts.map(str::parse).collect();
    // The address itself is not repeated: it may have a password.
    let wrong = |cause: &str| {
        let way = "write nats://host:port or tls://host:port, several with commas between them";
        BrokerError::Setting(format!("the address of broker {name} is none: {cause}; {way}"))
    };
    let servers = servers.map_err(|error| wrong(&error.to_string()))?;
    if servers.is_empty() {
        return Err(wrong("it is empty"));
    }
    if servers.iter().any(ServerAddr::is_websocket) {
        return Err(wrong("WebSockets are not offered"));
    }
    Ok(servers)
}

/// Says what happened to people.
fn tell(shown: &str, event: &Event, slow: &Mutex<(Instant, u64, bool)>) {
    match event {
        Event::Disconnected => warn!("broker {shown}: connection lost, trying again"),
        Event::Connected | Event::Closed | Event::Draining => info!("broker {shown}: {event}"),
        Event::LameDuckMode => info!("broker {shown}: the server is about to stop"),
        Event::SlowConsumer(_) => {
            let mut slow = slow.lock().unwrap_or_else(PoisonError::into_inner);
            let (since, lost, was_told) = &mut *slow;
            *lost += 1;
            if !*was_told || since.elapsed() >= SLOW_SPAN {
                warn!("broker {shown}: subscribers are too slow, {lost} messages lost since this was last said");
                *slow = (Instant::now(), 0, true);
            }
        }
        Event::ServerError(error) => warn!("broker {shown}: {error}"),
        // An attempt to connect again that failed, of which there are several in a second.
        Event::ClientError(ClientError::Other(cause)) => debug!("broker {shown}: still not there: {cause}"),
        Event::ClientError(error) => warn!("broker {shown}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_servers() {
        let servers = parse("nats", "localhost, nats://me:a%40b@host:5222,tls://other").unwrap();
        let named: Vec<_> =
            servers.iter().map(|server| (server.host(), server.port(), server.tls_required())).collect();
        assert_eq!(named, [("localhost", 4222, false), ("host", 5222, false), ("other", 4222, true)]);
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for address in ["", "http://me:secret@host", "ws://me:secret@host", "nats://me:secret@host:port"] {
            let error = parse("nats", address).unwrap_err().to_string();
            assert!(error.contains("nats://host:port") && !error.contains("secret"), "{error}");
        }
    }
}
