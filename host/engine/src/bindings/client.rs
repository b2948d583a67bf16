//! `micro:function/client`: calls to services that are named at run time.

use super::contract::client::{Host, HostExchange, Options, Reply};
use super::contract::types;
use super::{ID, State, origin};
use bytes::Bytes;
use micro_mesh::{Call, Client, Error, HeaderMap, HeaderName, HeaderValue, Payload};
use std::borrow::Cow;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::Resource;

/// A streaming call that the guest holds.
pub struct Exchange(micro_mesh::Exchange);

type Answer<T> = std::result::Result<T, types::Error>;

impl types::Host for State {}

impl Host for State {
    async fn call(
        &mut self,
        service: String,
        endpoint: String,
        body: Vec<u8>,
        options: Options,
    ) -> Result<Answer<Reply>> {
        Ok(match self.named_call(&service, endpoint, body, options) {
            Ok((client, call)) => origin::make(&client, call).await.and_then(reply).map_err(for_guest),
            Err(error) => Err(for_guest(error)),
        })
    }

    async fn open(
        &mut self,
        service: String,
        endpoint: String,
        body: Vec<u8>,
        options: Options,
    ) -> Result<Answer<Resource<Exchange>>> {
        let opened = match self.named_call(&service, endpoint, body, options) {
            Ok((client, call)) => client.open(call).await,
            Err(error) => Err(error),
        };
        Ok(match opened {
            Ok(exchange) => Ok(self.table.push(Exchange(exchange))?),
            Err(error) => Err(for_guest(error)),
        })
    }
}

impl HostExchange for State {
    async fn send(&mut self, exchange: Resource<Exchange>, item: Vec<u8>) -> Result<Answer<()>> {
        let exchange = &mut self.table.get_mut(&exchange)?.0;
        Ok(exchange.send(Payload::json(item)).await.map_err(for_guest))
    }

    async fn finish(&mut self, exchange: Resource<Exchange>) -> Result<Answer<()>> {
        self.table.get_mut(&exchange)?.0.finish();
        Ok(Ok(()))
    }

    async fn next(&mut self, exchange: Resource<Exchange>) -> Result<Answer<Option<Vec<u8>>>> {
        let exchange = &mut self.table.get_mut(&exchange)?.0;
        Ok(match exchange.next().await {
            Some(Ok(Payload::Bytes { body, .. })) => Ok(Some(body.into())),
            Some(Ok(_)) => Err(for_guest(Error::internal(ID, "a message that is no bytes"))),
            Some(Err(error)) => Err(for_guest(error)),
            None => Ok(None),
        })
    }

    async fn drop(&mut self, exchange: Resource<Exchange>) -> Result<()> {
        self.table.delete(exchange)?;
        Ok(())
    }
}

impl State {
    fn named_call(
        &self,
        service: &str,
        endpoint: String,
        body: Vec<u8>,
        options: Options,
    ) -> std::result::Result<(Client, Call), Error> {
        let access = &self.origin.access;
        if !access.allow.may_call(service) {
            access.count_denied();
            let own = &access.service;
            let detail =
                format!("{own} may not call {service}: its micro.toml does not name it in `call` below [allow]");
            return Err(Error::forbidden(ID, detail));
        }
        let Some(client) = &access.client else { return Err(Error::unavailable(ID, "there is nobody to call")) };
        let content_type = match options.content_type.is_empty() {
            true => Cow::Borrowed(micro_mesh::call::JSON),
            false => Cow::Owned(options.content_type),
        };
        let payload = Payload::Bytes { content_type, body: Bytes::from(body) };
        let mut call = self.origin.call(service.into(), endpoint.into(), payload)?;
        if let Some(milliseconds) = options.timeout {
            call = call.within(Duration::from_millis(milliseconds.into()));
        }
        call.version = options.version.map(Into::into);
        for (name, value) in options.header {
            let unfit = |_| Error::bad_request(ID, format!("header {name:?} is not one that HTTP can carry"));
            let value = HeaderValue::try_from(value).map_err(|error| unfit(error.to_string()))?;
            let name = HeaderName::try_from(name.as_str()).map_err(|error| unfit(error.to_string()))?;
            call.header.append(name, value);
        }
        Ok((client.clone(), call))
    }
}

fn reply(reply: micro_mesh::Reply) -> std::result::Result<Reply, Error> {
    let (content_type, body) = match reply.payload {
        Payload::Bytes { content_type, body } => (content_type, body),
        Payload::Stream(_) => return Err(Error::bad_request(ID, "the endpoint streams: open it")),
        Payload::Value(_) => return Err(Error::internal(ID, "a reply that is no bytes")),
    };
    Ok(Reply { content_type: content_type.into_owned(), header: metadata(&reply.header), body: body.into() })
}

fn metadata(header: &HeaderMap) -> types::Metadata {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    header.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// An error as the contract with guests writes it.
pub(super) fn for_guest(error: Error) -> types::Error {
    types::Error { id: error.id, code: error.code, detail: error.detail, status: error.status }
}
