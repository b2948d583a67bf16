//! Sends the HTTP requests of guests, over connections that are kept for the next one.

use super::connect::{CONNECT_TIMEOUT, ConnectError, Connector, target};
use super::{Denial, Egress};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// A connection that nobody used for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections to one host that wait to be used again.
const MAX_IDLE_PER_HOST: usize = 8;

/// The longest that a guest waits for the head of a response or for more of its body. Less where it says so, and never
/// longer than its own deadline.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Of the head of a response: bytes, of which as many again may be read before they are counted, and lines.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;

pub(super) type Client = legacy::Client<Connector, WasiBody>;

/// Why there is no response.
#[derive(Debug)]
pub enum SendError {
    /// It was not let out.
    Denied(Denial),
    /// Anything else, as the guest is told.
    Failed(Error),
}

impl From<Error> for SendError {
    fn from(error: Error) -> SendError {
        SendError::Failed(error)
    }
}

impl Egress {
    /// Sends a request and waits for the head of its response, until `deadline` at most.
    pub(crate) async fn send(
        &self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        deadline: Option<Instant>,
    ) -> Result<Response<WasiBody>, SendError> {
        let (_, target) = target(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        // Behind a CONNECT lies a connection to somebody else, whom nobody has checked.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid.into());
        }
        if !self.rules.names(&target) {
            return Err(SendError::Denied(Denial { target, address: None }));
        }
        let options = options.unwrap_or_default();
        let until = |time: Option<Duration>, default: Duration| {
            let at = Instant::now() + time.unwrap_or(default).min(MAX_TIMEOUT);
            deadline.map_or(at, |deadline| at.min(deadline))
        };
        let mut connection = capture_connection(&mut request);
        let mut response = self.client().request(request);
        let connected = tokio::time::timeout_at(until(options.connect_timeout, CONNECT_TIMEOUT), async {
            tokio::select! {
                biased;
                response = &mut response => Some(response),
                _ = connection.wait_for_connection_metadata() => None,
            }
        });
        let response = match connected.await.map_err(|_| Error::ConnectionTimeout)? {
            Some(response) => response,
            None => {
                let head = tokio::time::timeout_at(until(options.first_byte_timeout, MAX_TIMEOUT), response);
                head.await.map_err(|_| Error::HttpResponseTimeout)?
            }
        };
        let pause = options.between_bytes_timeout.unwrap_or(MAX_TIMEOUT).min(MAX_TIMEOUT);
        Ok(response.map_err(failed)?.map(|body| Timed::new(body, pause).boxed_unsync()))
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let mut builder = legacy::Client::builder(TokioExecutor::new());
            builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
            builder.pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(MAX_IDLE_PER_HOST);
            builder.http1_max_buf_size(MAX_HEAD).http1_max_headers(MAX_HEADERS);
            builder.http2_max_header_list_size(MAX_HEAD as u32);
            builder.build(Connector(self.rules.clone()))
        })
    }
}

fn failed(error: legacy::Error) -> SendError {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return not_connected(error);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return not_answered(error).into();
        }
        cause = error.source();
    }
    Error::InternalError(Some(error.to_string())).into()
}

fn not_connected(error: &ConnectError) -> SendError {
    use std::io::ErrorKind;
    let error = match error {
        ConnectError::Denied(denial) => return SendError::Denied(denial.clone()),
        ConnectError::BadAddress => Error::HttpRequestUriInvalid,
        ConnectError::NoRoom => Error::ConnectionLimitReached,
        ConnectError::Timeout => Error::ConnectionTimeout,
        ConnectError::Name(_) => Error::DnsError { rcode: Some("address not available".into()), info_code: None },
        ConnectError::Connect(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            ErrorKind::TimedOut => Error::ConnectionTimeout,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
            _ => Error::DestinationUnavailable,
        },
        ConnectError::Tls(error) => match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
            _ => Error::TlsProtocolError,
        },
    };
    error.into()
}

fn not_answered(error: &hyper::Error) -> Error {
    let own = error.source().and_then(|cause| cause.downcast_ref::<Error>());
    match own {
        Some(Error::HttpRequestBodySize(size)) => Error::HttpRequestBodySize(*size),
        // The guest let go of its body before the end.
        Some(_) => Error::ConnectionTerminated,
        None if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(Some(MAX_HEAD as u32)),
        None if error.is_timeout() => Error::HttpResponseTimeout,
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            Error::ConnectionTerminated
        }
        None => Error::HttpProtocolError,
    }
}

/// The body of a response, whose pauses have an end.
struct Timed {
    body: Incoming,
    pause: Duration,
    /// Made at the first pause.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn new(body: Incoming, pause: Duration) -> Timed {
        Timed { body, pause, timer: None }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| not_answered(&error))));
        }
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
