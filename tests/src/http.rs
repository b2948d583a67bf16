//! HTTP piece by piece, where a test sees what a client hides: bodies that are still on their way, trailers, connections
//! that break.

use bytes::Bytes;
use futures::channel::mpsc;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Pieces of a body that wait to be sent.
const PIECES: usize = 256;

type Body = StreamBody<mpsc::Receiver<Result<Frame<Bytes>, Infallible>>>;

/// One connection. Dropped, it is closed.
pub struct Connection {
    sender: Sender,
    authority: String,
    tasks: Tasks,
}

/// What drives a connection. HTTP/2 spawns some of it by itself.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let task = tokio::spawn(task).abort_handle();
        self.0.lock().expect("nobody panicked").push(task);
    }
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A request's body, piece by piece. Dropped, it is at its end.
pub struct Upload(mpsc::Sender<Result<Frame<Bytes>, Infallible>>);

/// A response with what is left of it.
pub struct Parts {
    /// Its head.
    pub head: hyper::http::response::Parts,
    body: Incoming,
}

impl Connection {
    /// Connects by HTTP/1.1 to `http://127.0.0.1:…`.
    pub async fn http1(url: &str) -> Connection {
        let (authority, stream) = connect(url).await;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        let tasks = Tasks::default();
        tasks.execute(driver);
        Connection { sender: Sender::Http1(sender), authority, tasks }
    }

    /// Connects by HTTP/2.
    pub async fn http2(url: &str) -> Connection {
        let (authority, stream) = connect(url).await;
        let tasks = Tasks::default();
        let handshake = http2::handshake(tasks.clone(), TokioIo::new(stream)).await;
        let (sender, driver) = handshake.expect("a connection");
        tasks.execute(driver);
        Connection { sender: Sender::Http2(sender), authority, tasks }
    }

    /// Sends a request whose body follows by what this gives.
    pub async fn begin(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> (Upload, Parts) {
        let (upload, response) = self.send(method, path, headers);
        (upload, response.await)
    }

    /// Sends a request, whose response is waited for later.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (Upload, impl Future<Output = Parts> + Send + use<>) {
        let (upload, frames) = mpsc::channel(PIECES);
        let target = match &self.sender {
            Sender::Http1(_) => path.to_string(),
            Sender::Http2(_) => format!("http://{}{path}", self.authority),
        };
        let mut request = Request::builder().method(method).uri(target);
        if matches!(self.sender, Sender::Http1(_)) && !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.authority);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(StreamBody::new(frames)).expect("a request");
        let response = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).boxed_response(),
            Sender::Http2(sender) => sender.send_request(request).boxed_response(),
        };
        (Upload(upload), async move {
            let (head, body) = response.await.expect("the host answers").into_parts();
            Parts { head, body }
        })
    }

    /// Breaks the connection, whatever is on it.
    pub fn cut(self) {
        drop(self);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.0.lock().expect("nobody panicked").iter().for_each(AbortHandle::abort);
    }
}

async fn connect(url: &str) -> (String, TcpStream) {
    let authority = url.strip_prefix("http://").expect("a URL").to_string();
    let stream = TcpStream::connect(&authority).await.expect("the host listens");
    (authority, stream)
}

/// Two types of futures as one.
trait Boxed {
    fn boxed_response(self) -> futures::future::BoxFuture<'static, hyper::Result<Response<Incoming>>>;
}

impl<F: Future<Output = hyper::Result<Response<Incoming>>> + Send + 'static> Boxed for F {
    fn boxed_response(self) -> futures::future::BoxFuture<'static, hyper::Result<Response<Incoming>>> {
        Box::pin(self)
    }
}

impl Upload {
    /// Sends a piece of the body.
    pub fn data(&self, piece: impl Into<Bytes>) {
        self.put(Frame::data(piece.into()));
    }

    /// Whether the host takes no more of it.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn put(&self, frame: Frame<Bytes>) {
        if let Err(error) = self.0.clone().try_send(Ok(frame)) {
            // A host that takes no more says so by its response.
            assert!(!error.is_full(), "a test sends at most {PIECES} pieces at once");
        }
    }

    /// Sends the trailers, and with them the end.
    pub fn trailers(self, trailers: &[(&'static str, &str)]) {
        let trailers = trailers.iter().map(|(name, value)| {
            (hyper::header::HeaderName::from_static(name), value.parse().expect("the value of a trailer"))
        });
        self.put(Frame::trailers(trailers.collect::<HeaderMap>()));
    }
}

impl Parts {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// A header as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).map_or("", |value| value.to_str().expect("headers are text"))
    }

    /// The next piece of the body; none at its end, an error where it breaks off.
    pub async fn next(&mut self) -> Option<hyper::Result<Bytes>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Some(Ok(data)),
                    Err(_) => return None,
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// What is left of the body, and the trailers; an error where it breaks off.
    pub async fn rest(self) -> hyper::Result<(Bytes, HeaderMap)> {
        let collected = self.body.collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok((collected.to_bytes(), trailers))
    }

    /// The whole body as text.
    pub async fn text(self) -> String {
        let (body, _) = self.rest().await.expect("the response is whole");
        String::from_utf8(body.to_vec()).expect("the body is text")
    }
}
