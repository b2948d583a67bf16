//! A connection that is made again when it is gone, and what is declared over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::tls::Tls;
use super::{ANSWER_TIME, EXCHANGE};

/// How long to wait for a connection.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// A moment; and how often to look whether the server takes messages still. lapin tells its events to one listener only,
/// and its state to whoever looks.
const LOOK: Duration = Duration::from_millis(50);

/// How often the server has to be heard of, in seconds, where the address does not say.
const HEARTBEAT: u16 = 10;

/// How many publishers may leave before they are answered until another channel takes the place of theirs: lapin keeps what
/// such a one waited for as long as the channel is there.
pub const MAX_CUTS: usize = 256;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Server(#[from] lapin::Error),
    #[error("no answer in {0:?}")]
    Late(Duration),
    #[error("the server refuses the message")]
    Refused,
    #[error("the server takes no messages for want of memory or disk")]
    Blocked,
}

impl LinkError {
    /// Whether the server says so with this code.
    pub fn is(&self, code: &AMQPSoftError) -> bool {
        let Self::Server(error) = self else { return false };
        let ErrorKind::ProtocolError(error) = error.kind() else { return false };
        matches!(error.kind(), AMQPErrorKind::Soft(soft) if soft == code)
    }

    /// Whether the server has no certificate that is believed, or speaks no TLS.
    pub fn is_mistrust(&self) -> bool {
        let Self::Server(error) = self else { return false };
        let ErrorKind::IOError(error) = error.kind() else { return false };
        matches!(error.get_ref(), Some(error) if error.is::<tokio_rustls::rustls::Error>())
    }
}

/// A connection that is made when it is needed.
pub struct Link {
    uri: AMQPUri,
    tls: Option<Tls>,
    connection: Mutex<Option<Connection>>,
    /// Where messages are published.
    publisher: Mutex<Option<Publisher>>,
}

/// A channel to publish over.
#[derive(Clone)]
pub struct Publisher {
    pub channel: Channel,
    /// Counts the publishers that left before they were answered; tells the channel from others too, as its id does not, which
    /// begins anew with each connection.
    cuts: Arc<AtomicUsize>,
}

/// Counts a publisher that leaves before it is answered.
pub struct Attempt {
    cuts: Arc<AtomicUsize>,
    is_answered: bool,
}

impl Publisher {
    /// Begins to publish a message.
    pub fn attempt(&self) -> Attempt {
        Attempt { cuts: self.cuts.clone(), is_answered: false }
    }
}

impl Attempt {
    /// It was answered.
    pub fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_answered {
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Link {
    pub fn new(mut uri: AMQPUri, tls: Option<Tls>) -> Self {
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        // Where there is TLS, it is below lapin.
        uri.scheme = AMQPScheme::AMQP;
        Self { uri, tls, connection: Mutex::new(None), publisher: Mutex::new(None) }
    }

    /// `host:port`, which is what may be shown of an address.
    pub fn place(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// A new channel, over a new connection if need be. Where others make one already, the wait for that has an end too.
    pub async fn channel(&self) -> Result<Channel, LinkError> {
        let kept = timeout(ANSWER_TIME, self.connection.lock()).await;
        let mut kept = kept.map_err(|_| LinkError::Late(ANSWER_TIME))?;
        if let Some(connection) = kept.as_ref().filter(|connection| connection.status().connected()) {
            return within(ANSWER_TIME, connection.create_channel()).await;
        }
        *kept = None;
        let properties = ConnectionProperties::default().with_connection_name("micro".into());
        let uri = self.uri.clone();
        let made = match &self.tls {
            Some(tls) => {
                within(CONNECT_TIME, Connection::connect_uri_with_runtime(uri, properties, tls.runtime())).await?
            }
            None => within(CONNECT_TIME, Connection::connect_uri(uri, properties)).await?,
        };
        let connection = kept.insert(made);
        within(ANSWER_TIME, connection.create_channel()).await
    }

    /// The channel to publish over, which has the exchange, and whether it was there before. Where somebody else makes it
    /// already, the wait for that counts too.
    pub async fn publisher(&self) -> Result<(Publisher, bool), LinkError> {
        let is_good =
            |kept: &&Publisher| kept.channel.status().connected() && kept.cuts.load(Ordering::Relaxed) < MAX_CUTS;
        let made = timeout(ANSWER_TIME, async {
            let mut kept = self.publisher.lock().await;
            if let Some(publisher) = kept.as_ref().filter(is_good) {
                return Ok((publisher.clone(), true));
            }
            let channel = self.with_exchange().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let publisher = kept.insert(Publisher { channel, cuts: Arc::default() });
            Ok((publisher.clone(), false))
        });
        made.await.unwrap_or(Err(LinkError::Late(ANSWER_TIME)))
    }

    /// Publishes over another channel than this one from now on: it was not answered over, and may be stuck.
    pub async fn forget_publisher(&self, stuck: &Publisher) {
        // Whoever keeps it longer than a moment makes another one already.
        if let Ok(mut kept) = timeout(LOOK, self.publisher.lock()).await {
            kept.take_if(|kept| Arc::ptr_eq(&kept.cuts, &stuck.cuts));
        }
    }

    /// A new channel on a server that has the exchange: whatever it is like if it is there, else a durable one.
    pub async fn with_exchange(&self) -> Result<Channel, LinkError> {
        let declare = async |channel: &Channel, passive| {
            let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
            let declared =
                channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, options, FieldTable::default());
            within(ANSWER_TIME, declared).await
        };
        let channel = self.channel().await?;
        match declare(&channel, true).await {
            Ok(()) => Ok(channel),
            // The server closes a channel over which it refused something.
            Err(error) if error.is(&AMQPSoftError::NOTFOUND) => {
                let channel = self.channel().await?;
                declare(&channel, false).await?;
                Ok(channel)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until the server takes no messages for want of memory or disk, which it says when one comes.
    pub async fn blocked(&self) {
        while !self.is_blocked().await {
            sleep(LOOK).await;
        }
    }

    async fn is_blocked(&self) -> bool {
        let kept = self.connection.lock().await;
        kept.as_ref().is_some_and(|open| open.status().connected() && open.status().blocked())
    }

    /// Closes the connection, if there is one.
    pub async fn close(&self) {
        let close = async {
            *self.publisher.lock().await = None;
            let kept = self.connection.lock().await.take();
            // Over one that is blocked nothing can be said.
            if let Some(connection) = kept.filter(|open| open.status().connected() && !open.status().blocked()) {
                // One that fails is as closed as any.
                drop(connection.close(200, "closed".into()).await);
            }
        };
        drop(timeout(ANSWER_TIME, close).await);
    }
}

/// Waits for an answer, but not for ever.
pub async fn within<T>(time: Duration, answer: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, LinkError> {
    match timeout(time, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LinkError::Late(time)),
    }
}
