use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::{Mutex, Weak};

use async_trait::async_trait;

use super::*;
use crate::call::Payload;
use crate::record::Metadata;
use crate::registry::memory::Memory;
use crate::registry::{RegisterOptions, Registry};

/// Notes which node each call went to.
struct Recording {
    name: &'static str,
    reached: Mutex<Vec<String>>,
}

impl Recording {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, reached: Mutex::default() })
    }

    fn reached(&self) -> Vec<String> {
        std::mem::take(&mut self.reached.lock().unwrap())
    }
}

#[async_trait]
impl Transport for Recording {
    fn name(&self) -> &str {
        self.name
    }

    async fn call(&self, node: &Node, call: Call) -> Result<Reply, Error> {
        self.reached.lock().unwrap().push(node.id.clone());
        match &*call.endpoint {
            "Say.Fail" => Err(Error::conflict("demo.greeter", "already greeted")),
            _ => Ok(Reply::new(call.payload)),
        }
    }
}

/// A client over nodes given as version, id and transport.
async fn client(nodes: &[(&str, &str, &str)]) -> Client {
    let registry = Memory::new();
    for (version, id, transport) in nodes {
        let mut service = Service::new("demo.greeter", *version);
        let metadata = match *transport {
            "" => Metadata::new(),
            name => BTreeMap::from([("transport".to_owned(), name.to_owned())]),
        };
        service.nodes = vec![Node { id: (*id).into(), address: String::new(), metadata }];
        registry.register(&service, RegisterOptions::default()).await.unwrap();
    }
    Client::new(Arc::new(Cache::open(Arc::new(registry)).await))
}

fn hello() -> Call {
    Call::new("demo.greeter", "Say.Hello", Payload::json("{}"))
}

#[tokio::test]
async fn calls_the_only_node() {
    let client = client(&[("1", "n1", "local")]).await;
    let local = Recording::new("local");
    client.attach(local.clone());
    let reply = client.call(hello()).await.unwrap();
    assert_eq!(reply.payload.bytes().unwrap(), "{}");
    assert_eq!(local.reached(), ["n1"]);
}

#[tokio::test]
async fn the_callees_error_comes_back_unchanged() {
    let client = client(&[("1", "n1", "local")]).await;
    client.attach(Recording::new("local"));
    let call = Call::new("demo.greeter", "Say.Fail", Payload::json("{}"));
    let error = client.call(call).await.unwrap_err();
    assert_eq!(error, Error::conflict("demo.greeter", "already greeted"));
}

#[tokio::test]
async fn an_unknown_service_is_not_found() {
    let client = client(&[]).await;
    let call = Call::new("demo.nobody", "Say.Hello", Payload::json("{}"));
    let error = client.call(call).await.unwrap_err();
    assert_eq!(error, Error::not_found("go.micro.client", "service demo.nobody: not found").again_soon());
}

#[tokio::test]
async fn nodes_that_no_transport_reaches_are_not_available() {
    let client = client(&[("1", "n1", "grpc"), ("1", "n2", "")]).await;
    client.attach(Recording::new("local"));
    let error = client.call(hello()).await.unwrap_err();
    let detail = "error selecting demo.greeter node: none available";
    assert_eq!(error, Error::unavailable("go.micro.client", detail).again_soon());
}

#[tokio::test]
async fn picks_among_the_nodes_of_all_versions_by_their_transport() {
    let client =
        client(&[("1", "n1", "local"), ("1", "n2", "grpc"), ("2", "n3", "local"), ("2", "n4", "carrier-pigeon")]).await;
    let (local, grpc) = (Recording::new("local"), Recording::new("grpc"));
    client.attach(local.clone());
    client.clone().attach(grpc.clone());
    for _ in 0..200 {
        client.call(hello()).await.unwrap();
    }
    let (local, grpc) = (local.reached(), grpc.reached());
    assert_eq!(local.len() + grpc.len(), 200);
    assert!(grpc.len() > 20, "about a third: {}", grpc.len());
    assert_eq!(HashSet::from_iter(local), HashSet::from(["n1".to_owned(), "n3".to_owned()]));
    assert_eq!(HashSet::from_iter(grpc), HashSet::from(["n2".to_owned()]));
}

#[tokio::test]
async fn a_transport_of_the_same_name_is_replaced() {
    let client = client(&[("1", "n1", "local")]).await;
    let (first, second) = (Recording::new("local"), Recording::new("local"));
    client.attach(first.clone());
    client.attach(second.clone());
    client.call(hello()).await.unwrap();
    assert_eq!((first.reached().len(), second.reached().len()), (0, 1));
}

/// Calls on through the client it is attached to, as a function that calls another one does.
struct Forwarding {
    client: Mutex<Option<Client>>,
    last: Weak<Recording>,
}

#[async_trait]
impl Transport for Forwarding {
    fn name(&self) -> &str {
        "local"
    }

    async fn call(&self, node: &Node, call: Call) -> Result<Reply, Error> {
        let client = self.client.lock().unwrap().take();
        match client {
            Some(client) => client.call(call).await,
            None => self.last.upgrade().unwrap().call(node, call).await,
        }
    }
}

#[tokio::test]
async fn a_transport_may_call_through_its_own_client() {
    let client = client(&[("1", "n1", "local")]).await;
    let last = Recording::new("last");
    client.attach(Arc::new(Forwarding { client: Mutex::new(Some(client.clone())), last: Arc::downgrade(&last) }));
    client.call(hello()).await.unwrap();
    assert_eq!(last.reached(), ["n1"]);
}
