//! What functions reach beyond their host, and what they are kept from.

mod given;
mod http;
mod keyvalue;
mod tcp;

use async_trait::async_trait;
use micro::server::Permits;
use micro_engine::egress::Resolver;
use micro_tests::{Host, Value, guest, with_manifest};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Knows every name, and says that it is on this machine; counts how often it is asked.
#[derive(Debug, Default)]
struct AllAtHome(AtomicUsize);

#[async_trait]
impl Resolver for AllAtHome {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        match name.ends_with(".test") {
            true => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
            false => Err(io::Error::other("not here")),
        }
    }
}

/// A host for whose functions all names under `.test` lead to this machine.
async fn host() -> Host {
    Host::start_with_permits(Permits { resolver: Some(Arc::new(AllAtHome::default())), ..Permits::default() }).await
}

/// Deploys a guest with these lines below `[allow]`.
async fn deploy(host: &Host, name: &str, allow: &str) -> Value {
    let manifest = format!("name = \"{name}\"\n[allow]\n{allow}\n");
    host.deploy_as(name, with_manifest(&guest(name), &manifest)).await.ok()
}

/// The lines that the host wrote into a deployment's log.
async fn host_lines(host: &Host, name: &str) -> Vec<String> {
    let all = host.logs(name).await;
    let own = all.iter().filter(|line| line["stream"] == "host");
    own.map(|line| line["message"].as_str().expect("a message").to_string()).collect()
}
