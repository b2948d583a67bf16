use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::broker::contract::{next, publish, subscribe};
use crate::broker::servers::{RabbitServer, free_port};
use crate::broker::{Group, OpenOptions, open};

/// A certificate for 127.0.0.1 until the year 2120 that no authority gave.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----
MIIBXTCCAQOgAwIBAgIBATAKBggqhkjOPQQDAjAWMRQwEgYDVQQDDAttaWNybyB0
ZXN0czAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFjEUMBIGA1UE
AwwLbWljcm8gdGVzdHMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATYfDgeylNe
1cMTEd+1GcrRA8qKgVsOdzBbCGAPUmxcd0J3PujJxSYuRhuYl57glnoVh6CAS/JV
icqBSyHDcXv5o0AwPjAPBgNVHREECDAGhwR/AAABMAwGA1UdEwEB/wQCMAAwHQYD
VR0OBBYEFJP+BG/X58naU6bj+pZssxhA1VHGMAoGCCqGSM49BAMCA0gAMEUCIQD9
CbCtjwhAExysIBphWKQPP4GrEnLRs/1B2zFpF6FoEAIgPFh7Mr1yewQOz3iULr/e
Uqy7+VTatdwXXvhXLLGouoo=
-----END CERTIFICATE-----";

const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgSlRTqYd/DlH+lPI1
z90rd8s4G9RLG9iTUCTop4Q4DI6hRANCAATYfDgeylNe1cMTEd+1GcrRA8qKgVsO
dzBbCGAPUmxcd0J3PujJxSYuRhuYl57glnoVh6CAS/JVicqBSyHDcXv5
-----END PRIVATE KEY-----";

/// Takes TLS off what comes in, and passes it on to a port; gives the address to reach it at.
async fn listen(port: u16) -> String {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("amqps://guest:guest@{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((accepted, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let (Ok(mut from), Ok(mut to)) =
                    (acceptor.accept(accepted).await, TcpStream::connect(("127.0.0.1", port)).await)
                else {
                    return;
                };
                drop(copy_bidirectional(&mut from, &mut to).await);
            });
        }
    });
    address
}

pub async fn messages_pass_through_tls(server: &RabbitServer) {
    let uri = listen(server.port()).await.parse().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE).unwrap()).unwrap();
    let tls = Tls::new("127.0.0.1", roots).unwrap();
    let broker = RabbitMq::connect(uri, Some(tls), Clock::default()).await.unwrap();
    let mut group = subscribe(&broker, "tls", Some(Group::durable("g")), 8).await;
    for body in [Vec::new(), vec![7; 1_000_000], b"text".to_vec()] {
        publish(&broker, "tls", Message::new(body.clone())).await;
        let delivery = next(&mut group).await;
        assert!(delivery.message.body == body, "{} bytes come as they went", body.len());
        delivery.ack();
    }
    broker.close().await.unwrap();
}

async fn refusal(address: String) -> String {
    let error = open(NAME, OpenOptions { address: Some(address), ..OpenOptions::default() }).await.err().unwrap();
    let BrokerError::Unavailable(text) = error else { panic!("{error:?}") };
    text
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_trusts_is_refused() {
    let text = refusal(listen(free_port()).await).await;
    assert!(text.contains("certificate") && text.contains("SSL_CERT_FILE") && !text.contains("guest"), "{text}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_the_address_asks_for_it() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("amqps://user:secret@{}", plain.local_addr().unwrap());
    let server = async {
        let (mut accepted, _) = plain.accept().await.unwrap();
        // What a server of RabbitMQ answers to what is none of its protocol.
        tokio::io::AsyncWriteExt::write_all(&mut accepted, b"AMQP\x00\x00\x09\x01").await.unwrap();
        accepted
    };
    let (text, _accepted) = tokio::join!(refusal(address), server);
    assert!(text.contains("TLS") && !text.contains("secret"), "{text}");
}
