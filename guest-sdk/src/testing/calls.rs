//! Replies of other services, as a test writes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;

use serde_json::Value;

use crate::client::{JSON, Options, Reply};
use crate::types::Error;

type Answer = dyn Fn(&str, &str, &[u8], &Options) -> Result<Reply, Error>;
type Stream = dyn Fn(&str, &str, Value, Vec<Value>) -> Result<Vec<Value>, Error>;

thread_local! {
    static CALLS: RefCell<Option<Box<Answer>>> = const { RefCell::new(None) };
    static STREAMS: RefCell<Option<Box<Stream>>> = const { RefCell::new(None) };
}

/// While this lives, calls of this thread are answered by the mock.
#[derive(Debug)]
#[must_use = "the mock is gone when this is dropped: let _calls = …"]
pub struct MockedCalls(PhantomData<*const ()>);

impl Drop for MockedCalls {
    fn drop(&mut self) {
        CALLS.set(None);
    }
}

/// While this lives, streaming calls of this thread are answered by the mock.
#[derive(Debug)]
#[must_use = "the mock is gone when this is dropped: let _streams = …"]
pub struct MockedStreams(PhantomData<*const ()>);

impl Drop for MockedStreams {
    fn drop(&mut self) {
        STREAMS.set(None);
    }
}

/// Answers this thread's calls: service, endpoint and request in, reply out, both as JSON.
pub fn mock_call(answer: impl Fn(&str, &str, Value) -> Result<Value, Error> + 'static) -> MockedCalls {
    mock_bytes(move |service, endpoint, body, _| {
        let request = serde_json::from_slice(body)
            .map_err(|error| Error::bad_request(format!("mock_call reads JSON, use mock_bytes: {error}")))?;
        let body = answer(service, endpoint, request)?.to_string().into_bytes();
        Ok(Reply { content_type: JSON.to_owned(), header: Vec::new(), body })
    })
}

/// Answers this thread's calls, with everything that goes with them.
pub fn mock_bytes(answer: impl Fn(&str, &str, &[u8], &Options) -> Result<Reply, Error> + 'static) -> MockedCalls {
    CALLS.set(Some(Box::new(answer)));
    MockedCalls(PhantomData)
}

/// Answers this thread's streaming calls: service, endpoint, request, and what was sent before the first message of the
/// reply was asked for, in; the messages of the reply out.
pub fn mock_stream(
    answer: impl Fn(&str, &str, Value, Vec<Value>) -> Result<Vec<Value>, Error> + 'static,
) -> MockedStreams {
    STREAMS.set(Some(Box::new(answer)));
    MockedStreams(PhantomData)
}

pub(crate) fn call(service: &str, endpoint: &str, body: &[u8], options: &Options) -> Result<Reply, Error> {
    CALLS.with_borrow(|answer| match answer {
        Some(answer) => answer(service, endpoint, body, options),
        None => Err(missing(service, endpoint, "mock_call(|service, endpoint, body| Ok(…))")),
    })
}

pub(crate) fn open(service: &str, endpoint: &str, body: &[u8], _: &Options) -> Result<Exchange, Error> {
    if STREAMS.with_borrow(Option::is_none) {
        return Err(missing(service, endpoint, "mock_stream(|service, endpoint, body, sent| Ok(vec![…]))"));
    }
    Ok(Exchange {
        service: service.to_owned(),
        endpoint: endpoint.to_owned(),
        request: value(body)?,
        state: RefCell::new(State::Sending(Vec::new())),
        is_finished: Cell::new(false),
    })
}

/// A streaming call to a mock.
pub(crate) struct Exchange {
    service: String,
    endpoint: String,
    request: Value,
    state: RefCell<State>,
    is_finished: Cell<bool>,
}

enum State {
    Sending(Vec<Value>),
    Replying(VecDeque<Value>),
}

impl Exchange {
    pub(crate) fn send(&self, item: &[u8]) -> Result<(), Error> {
        if self.is_finished.get() {
            return Err(Error::conflict("this stream is finished already"));
        }
        match &mut *self.state.borrow_mut() {
            State::Sending(sent) => sent.push(value(item)?),
            // The mock has said all it will say.
            State::Replying(_) => {}
        }
        Ok(())
    }

    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.is_finished.replace(true) {
            return Err(Error::conflict("this stream is finished already"));
        }
        Ok(())
    }

    pub(crate) fn next(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut state = self.state.borrow_mut();
        if let State::Sending(sent) = &mut *state {
            let sent = std::mem::take(sent);
            let items = STREAMS.with_borrow(|answer| match answer {
                Some(answer) => answer(&self.service, &self.endpoint, self.request.clone(), sent),
                None => Err(Error::unavailable("the mock of this stream is gone")),
            })?;
            *state = State::Replying(items.into());
        }
        let State::Replying(items) = &mut *state else { return Ok(None) };
        Ok(items.pop_front().map(|item| item.to_string().into_bytes()))
    }
}

fn value(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|error| Error::bad_request(format!("mocks read JSON: {error}")))
}

fn missing(service: &str, endpoint: &str, mock: &str) -> Error {
    Error::unavailable(format!(
        "{endpoint} of {service} was called outside of a host: say what it replies with \
         `let _calls = micro::testing::{mock};`"
    ))
}
