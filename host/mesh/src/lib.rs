//! Names, finds and reaches services.
//!
//! A [`Call`] names a service and one of its endpoints. The [`Client`] looks the name up in a [`Cache`] of the
//! [`Registry`], picks one of the [`Node`]s found there and hands the call to the [`Transport`] that reaches it.
//! Whatever goes wrong on the way comes back as one [`Error`]. What guests keep beyond a call is in a [`Store`],
//! and what they tell everybody goes over a [`Broker`], by way of the [`Outbox`] where both are one step.

#![deny(missing_docs)]

pub mod error;

pub mod record;

pub mod call;

pub mod trace;

mod sqlite;

pub mod broker;

pub mod registry;

pub mod exchange;

pub mod store;

pub mod outbox;

pub mod transport;

pub mod client;

pub use broker::{Broker, BrokerError};
pub use call::{Call, Payload, Reply, RequestId};
pub use client::Client;
pub use error::Error;
pub use exchange::Exchange;
pub use http::{HeaderMap, HeaderName, HeaderValue};
pub use outbox::Outbox;
pub use record::{Endpoint, Metadata, Node, Service, Value};
pub use registry::{Cache, Registry, RegistryError};
pub use store::{Store, StoreError};
pub use trace::Trace;
pub use transport::Transport;
