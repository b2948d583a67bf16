//! TLS below lapin, as the brokers for NATS and Redis have it: rustls with ring, and the authorities that the system trusts.
//! lapin's own would bring thirty-five packages for keys in old forms.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_compat::{Compat, CompatExt};
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures::Stream;
use futures::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::link::CONNECT_TIME;

/// Makes connections to one server, and asks for its certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    tokio: Tokio,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// To a server that has a certificate of one of these authorities.
    pub fn new(host: &str, roots: RootCertStore) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { tokio: Tokio::current(), config, name })
    }

    /// To a server that has a certificate of an authority that the system trusts.
    pub async fn of_system(host: &str) -> io::Result<Self> {
        // The system's certificates are more than a hundred files.
        let found = spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(io::Error::other)?;
        for error in &found.errors {
            tracing::warn!("an authority's certificate cannot be read: {error}");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        Self::new(host, roots)
    }

    /// What lapin connects and runs with.
    pub fn runtime(&self) -> Runtime<RuntimeParts<Tokio, Self>> {
        Runtime::new(RuntimeParts::new(self.tokio.clone(), self.clone()))
    }
}

impl Reactor for Tls {
    type TcpStream = Compat<TlsStream<TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// What lapin does not ask for.
    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.tokio.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.tokio.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connected = self.tokio.tcp_connect_addr(address);
        let (connector, name) = (TlsConnector::from(self.config.clone()), self.name.clone());
        async move {
            // lapin has a thread for each connection, which must not wait for ever when nobody waits for it any more.
            let secured = timeout(CONNECT_TIME, async { connector.connect(name, connected.await?.into_inner()).await });
            Ok(secured.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.compat())
        }
    }
}
