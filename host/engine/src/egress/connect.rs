//! Makes a connection: resolves, checks, connects to what was checked, and speaks TLS where that is due.

use super::{Denial, Rules, Target, plain, resolve};
use crate::manifest::Scheme;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

/// How long a connection may take to come about, from the name to the end of the TLS handshake.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Denied(Denial),
    #[error("the address is none")]
    BadAddress,
    #[error("all connections are in use")]
    NoRoom,
    #[error("no connection in time")]
    Timeout,
    #[error("the name is not resolved: {0}")]
    Name(io::Error),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no TLS: {0}")]
    Tls(io::Error),
}

/// Connects for one revision.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<Rules>);

/// A connection that holds its place among those of the revision.
pub(super) struct Stream {
    kind: Kind,
    _place: OwnedSemaphorePermit,
}

enum Kind {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a request to this address wants to reach.
pub(super) fn target(uri: &Uri) -> Option<(Scheme, Target)> {
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return None,
    };
    let authority = uri.authority()?;
    // Names of users belong into a header, and port 0 is none.
    if authority.as_str().contains('@') || authority.port_u16() == Some(0) || authority.host().is_empty() {
        return None;
    }
    let port = authority.port_u16().unwrap_or(scheme.port());
    Some((scheme, Target { scheme: Some(scheme), host: plain(authority.host()), port: Some(port) }))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let rules = self.0.clone();
        Box::pin(async move {
            // A place comes first: look-ups take threads.
            let place = tokio::time::timeout(CONNECT_TIMEOUT, rules.room.clone().acquire_owned()).await;
            let Ok(Ok(place)) = place else { return Err(ConnectError::NoRoom) };
            let kind = tokio::time::timeout(CONNECT_TIMEOUT, connect(&rules, &uri)).await;
            let kind = kind.map_err(|_| ConnectError::Timeout)??;
            Ok(TokioIo::new(Stream { kind, _place: place }))
        })
    }
}

async fn connect(rules: &Rules, uri: &Uri) -> Result<Kind, ConnectError> {
    let (scheme, target) = target(uri).ok_or(ConnectError::BadAddress)?;
    let port = target.port.unwrap_or(scheme.port());
    let found = resolve::addresses(&*rules.outside.resolver, &target.host).await.map_err(ConnectError::Name)?;
    let mut refused = None;
    let mut permitted = Vec::with_capacity(found.len());
    for ip in found {
        match rules.check_address(&target, ip) {
            Ok(()) => permitted.push(ip),
            Err(denial) => refused = Some(denial),
        }
    }
    if let (true, Some(denial)) = (permitted.is_empty(), refused) {
        return Err(ConnectError::Denied(denial));
    }
    let stream = first_that_answers(&permitted, port).await?;
    // Small requests leave at once. That it cannot be set costs nothing but time.
    let _ = stream.set_nodelay(true);
    if scheme == Scheme::Http {
        return Ok(Kind::Plain(stream));
    }
    let name = ServerName::try_from(target.host).map_err(|_| ConnectError::BadAddress)?;
    let config = rules.outside.trust.config().await.map_err(ConnectError::Tls)?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(ConnectError::Tls)?;
    Ok(Kind::Tls(Box::new(stream)))
}

/// Tries the addresses in turn; none may use up the time of those behind it.
async fn first_that_answers(addresses: &[IpAddr], port: u16) -> Result<TcpStream, ConnectError> {
    let share = CONNECT_TIMEOUT / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = ConnectError::Name(io::Error::other("it has no address"));
    for ip in addresses {
        last = match tokio::time::timeout(share, TcpStream::connect(SocketAddr::new(*ip, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => ConnectError::Connect(error),
            Err(_) => ConnectError::Timeout,
        };
    }
    Err(last)
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match &self.kind {
            Kind::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Kind::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
