//! Both backends against a real server.

mod server;

use std::sync::Arc;

use crate::broker::{Broker, OpenOptions, contract, nats, open};
use server::Server;

async fn broker(kind: &str, server: &Server) -> Arc<dyn Broker> {
    open(kind, OpenOptions { address: Some(server.address()), ..OpenOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn nats_keeps_the_contract() {
    let server = Server::start().await;
    contract::all(async || broker(nats::NAME, &server).await).await;
}

#[tokio::test]
async fn jetstream_keeps_the_contract() {
    let server = Server::start().await;
    contract::all(async || broker(nats::JETSTREAM, &server).await).await;
}
