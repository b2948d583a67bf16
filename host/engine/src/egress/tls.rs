//! Whose certificates are believed: those that the system believes, and those of a file.

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The protocols that are spoken inside of TLS, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Whose certificates are believed.
#[derive(Debug, Default)]
pub struct Trust {
    more: Vec<CertificateDer<'static>>,
    /// Made for the first connection: the system's certificates are more than a hundred.
    config: OnceCell<Arc<ClientConfig>>,
}

impl Trust {
    /// The system's authorities, and those whose certificates are in this file, as PEM.
    pub fn with_file(path: &Path) -> io::Result<Trust> {
        let unreadable = |error: rustls::pki_types::pem::Error| io::Error::other(error.to_string());
        let more = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
        let more: Vec<_> = more.collect::<Result<_, _>>().map_err(unreadable)?;
        match more.is_empty() {
            true => Err(io::Error::other("no certificate is in it: expected PEM")),
            false => Ok(Trust { more, config: OnceCell::new() }),
        }
    }

    pub(super) async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let make = || async {
            let more = self.more.clone();
            tokio::task::spawn_blocking(move || make(more)).await.map_err(io::Error::other)?
        };
        self.config.get_or_try_init(make).await.cloned()
    }
}

fn make(more: Vec<CertificateDer<'static>>) -> io::Result<Arc<ClientConfig>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("an authority's certificate cannot be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    for certificate in more {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        tracing::warn!("this system believes no authority: requests of functions by https will fail");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
