//! Calls to other services, named at run time.
//!
//! ```no_run
//! # use micro_sdk as micro;
//! use micro::client::Call;
//! use std::time::Duration;
//!
//! #[derive(serde::Serialize)]
//! struct Request {
//!     name: String,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Response {
//!     msg: String,
//! }
//!
//! # fn main() -> Result<(), micro::Error> {
//! let response: Response = micro::call("greeter", "Say.Hello", &Request { name: "John".to_owned() })?;
//!
//! let patient: Response = Call::new("greeter", "Say.Hello")
//!     .timeout(Duration::from_secs(30))
//!     .header("accept-language", "de")
//!     .json(&micro::json!({ "name": "John" }))?;
//! # Ok(())
//! # }
//! ```
//!
//! The manifest has to allow it: `call = ["greeter"]` below `[allow]`. Outside of WebAssembly, which is where `cargo
//! test` runs, calls go to the mocks of [`testing`](crate::testing).

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::Error;

pub use crate::bindings::micro::function::client::{Options, Reply};

/// What a message is unless the caller says otherwise.
pub(crate) const JSON: &str = "application/json";

/// Calls an endpoint with a message in JSON and reads its reply.
///
/// The request is what serialises to the endpoint's message: a struct with the fields of its one record, or with a field
/// for each of its parameters. A reply that is no record comes as `{"result": …}`; `R` is what stands for the dots.
pub fn call<R: DeserializeOwned>(
    service: &str,
    endpoint: &str,
    request: &(impl Serialize + ?Sized),
) -> Result<R, Error> {
    Call::new(service, endpoint).json(request)
}

/// A call about to be made.
#[derive(Debug, Clone)]
pub struct Call {
    service: String,
    endpoint: String,
    options: Options,
}

impl Call {
    /// A call of an endpoint such as `Say.Hello`.
    pub fn new(service: impl Into<String>, endpoint: impl Into<String>) -> Call {
        let options = Options { content_type: JSON.to_owned(), timeout: None, version: None, header: Vec::new() };
        Call { service: service.into(), endpoint: endpoint.into(), options }
    }

    /// How long to wait. The caller's own deadline, where it is nearer, goes before it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Call {
        self.options.timeout = Some(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// The version of the service that must answer.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Call {
        self.options.version = Some(version.into());
        self
    }

    /// A header for the callee.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Call {
        self.options.header.push((name.into(), value.into()));
        self
    }

    /// Calls with a message in JSON and reads the reply.
    pub fn json<R: DeserializeOwned>(self, request: &(impl Serialize + ?Sized)) -> Result<R, Error> {
        let body = encode(request)?;
        let reply = backend::call(&self.service, &self.endpoint, &body, &self.options)?;
        decode(&reply.body).map_err(|error| self.unreadable(&error))
    }

    /// Calls with a message of any type, such as `application/protobuf`, and gives the reply as it came.
    pub fn bytes(mut self, content_type: &str, body: &[u8]) -> Result<Reply, Error> {
        content_type.clone_into(&mut self.options.content_type);
        backend::call(&self.service, &self.endpoint, body, &self.options)
    }

    /// Opens a call of a streaming endpoint.
    pub fn open(self, request: &(impl Serialize + ?Sized)) -> Result<Conversation, Error> {
        let body = encode(request)?;
        let exchange = backend::open(&self.service, &self.endpoint, &body, &self.options)?;
        Ok(Conversation { exchange, call: self })
    }

    fn unreadable(&self, error: &serde_json::Error) -> Error {
        Error::internal(format!(
            "{} of {} replied with something else than expected: {error}",
            self.endpoint, self.service
        ))
    }
}

/// A call whose request, reply or both are many messages. Dropping it ends the call, and the callee is told.
pub struct Conversation {
    exchange: backend::Exchange,
    call: Call,
}

impl Conversation {
    /// Sends one message. Waits while the callee is not ready for more.
    pub fn send(&mut self, item: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.exchange.send(&encode(item)?)
    }

    /// Says that there are no more messages to send.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.exchange.finish()
    }

    /// The next message of the reply; none at its end.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some(item) = self.exchange.next()? else { return Ok(None) };
        decode(&item).map(Some).map_err(|error| self.call.unreadable(&error))
    }

    /// All messages of the reply.
    pub fn items<T: DeserializeOwned>(mut self) -> impl Iterator<Item = Result<T, Error>> {
        std::iter::from_fn(move || self.receive().transpose())
    }
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Conversation").field("call", &self.call).finish_non_exhaustive()
    }
}

fn encode(message: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(message).map_err(|error| Error::internal(format!("the request does not go into JSON: {error}")))
}

/// Reads a reply. That of an endpoint which returns no record lies in `{"result": …}`, that of one which returns nothing
/// is `{}`. What takes any object would take the one around the result, too, so that is taken off first.
fn decode<R: DeserializeOwned>(body: &[u8]) -> Result<R, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, bound(deserialize = "R: Deserialize<'de>"))]
    struct Wrapped<R> {
        // By name, or an option would do without the field.
        #[serde(deserialize_with = "R::deserialize")]
        result: R,
    }
    if let Ok(wrapped) = serde_json::from_slice::<Wrapped<R>>(body) {
        return Ok(wrapped.result);
    }
    serde_json::from_slice(body).or_else(|error| match body.trim_ascii() {
        b"" | b"{}" => serde_json::from_str("null").map_err(|_| error),
        _ => Err(error),
    })
}

#[cfg(target_arch = "wasm32")]
mod backend {
    pub(super) use crate::bindings::micro::function::client::{Exchange, call, open};
}

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::calls as backend;

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
