//! How a call gets to a node.

use async_trait::async_trait;

use crate::call::{Call, Reply};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::record::Node;

/// The name of the transport that stays in this process.
pub const LOCAL: &str = "local";

/// Carries calls to nodes whose metadata `transport` has its name.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The name nodes use for it, such as [`LOCAL`] or `grpc`.
    fn name(&self) -> &str;

    /// Hands the call to the node and waits for the answer, no longer than the call's deadline.
    ///
    /// # Errors
    /// The callee's own error unchanged, or an error with id `go.micro.client` when the node was not reached.
    async fn call(&self, node: &Node, call: Call) -> Result<Reply, Error>;

    /// Opens a call of a streaming endpoint; the call's payload is its request.
    ///
    /// # Errors
    /// As for [`Transport::call`]; what goes wrong later comes through the exchange.
    async fn open(&self, node: &Node, call: Call) -> Result<Exchange, Error> {
        let _ = call;
        let detail = format!("the transport {} of node {} carries no streams", self.name(), node.id);
        Err(Error::new("go.micro.client", 501, detail))
    }
}
