//! One request: let in, handed to who is behind the door, counted until its reply is out.

use super::body::{ReplyBody, RequestBody};
use super::connection::{Connection, Running};
use super::streams::{Step, note};
use super::upgrade::Upgrade;
use crate::gateway::error_response;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HOST, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Version};
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use micro_mesh::Error;
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::watch;
use tower_service::Service;

/// Headers of a request: as many as hyper takes by HTTP/1. By HTTP/2 there are as many as there is room for.
const MAX_HEADERS: usize = 100;

/// What a connection hands its requests to.
pub(super) struct Requests<S> {
    door: S,
    connection: Arc<Connection>,
    stopped: watch::Receiver<bool>,
    each: watch::Receiver<()>,
}

impl<S> Requests<S> {
    pub(super) fn new(
        door: S,
        connection: Arc<Connection>,
        stopped: watch::Receiver<bool>,
        each: watch::Receiver<()>,
    ) -> Requests<S> {
        Requests { door, connection, stopped, each }
    }
}

impl<S> Requests<S>
where
    S: Service<Request>,
{
    fn refuse(&self, error: Error) -> Answering<S, S::Future> {
        let refusal = Some(Box::new(error_response(error)));
        Answering { state: State::Refused { refusal }, connection: self.connection.clone(), upgrade: None }
    }
}

impl<S> hyper::service::Service<hyper::Request<Incoming>> for Requests<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = hyper::Response<ReplyBody>;
    type Error = Infallible;
    type Future = Answering<S, S::Future>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let connection = &self.connection;
        if request.version() == Version::HTTP_2 {
            connection.set_http2();
        }
        let Some(running) = connection.begin_request() else {
            let limit = connection.limits().max_requests;
            let detail = format!("the host serves as many requests as it may, {limit}: try again later");
            return self.refuse(Error::unavailable("go.micro.api", detail));
        };
        let (mut parts, body) = request.into_parts();
        if parts.headers.len() > MAX_HEADERS {
            let detail = format!("the request has more than {MAX_HEADERS} headers");
            return self.refuse(Error::new("go.micro.api", 431, detail));
        }
        if !is_host_clear(&parts) {
            return self.refuse(Error::bad_request(
                "go.micro.api",
                "expected one header `Host`, and no other host in the target",
            ));
        }
        let body = match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(RequestBody::new(body, &mut parts, connection.clone())),
        };
        let upgrade = parts.headers.contains_key(UPGRADE).then(|| {
            let upgrade = Upgrade::new(self.stopped.clone(), self.each.clone());
            parts.extensions.insert(upgrade.clone());
            Box::new(upgrade)
        });
        let request = Request::from_parts(parts, body);
        let mut door = self.door.clone();
        // Requests that come one behind the other do not begin while the replies before them are not read: they would
        // all be made and kept.
        let state = match connection.is_stuck() && !connection.is_http2() {
            true => State::Held { held: Some(Box::new((door, request))), running: Some(running) },
            false => State::Runs { answer: door.call(request), running: Some(running) },
        };
        Answering { state, connection: connection.clone(), upgrade }
    }
}

/// Whether it is said in one way for which host the request is (RFC 9112, section 3.2; RFC 9113, section 8.3.1). Where
/// it is said in two, a proxy in front may have read the other one.
fn is_host_clear(head: &Parts) -> bool {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let is_as_in_target = match (host, head.uri.authority()) {
        (Some(host), Some(target)) => host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()),
        _ => true,
    };
    second.is_none() && is_as_in_target && (host.is_some() || head.version != Version::HTTP_11)
}

pin_project! {
    /// A reply on its way.
    pub(super) struct Answering<S, F> {
        #[pin]
        state: State<S, F>,
        connection: Arc<Connection>,
        upgrade: Option<Box<Upgrade>>,
    }
}

pin_project! {
    // What is rare is boxed, because the future of every request is moved a few times.
    #[project = StateProjection]
    enum State<S, F> {
        Refused { refusal: Option<Box<Response>> },
        Held { held: Option<Box<(S, Request)>>, running: Option<Running> },
        Runs { #[pin] answer: F, running: Option<Running> },
    }
}

impl<S> Future for Answering<S, S::Future>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Output = Result<hyper::Response<ReplyBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let is_http2 = this.connection.is_http2();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Refused { refusal } => {
                    let refusal = refusal.take().map(|refusal| *refusal).unwrap_or_default();
                    return Poll::Ready(Ok(refusal.map(|body| ReplyBody::new(body, is_http2, None))));
                }
                StateProjection::Held { held, running } => {
                    if this.connection.is_stuck() {
                        // The socket wakes this task when it goes on.
                        return Poll::Pending;
                    }
                    let Some((mut door, request)) = held.take().map(|held| *held) else { return Poll::Pending };
                    let running = running.take();
                    this.state.set(State::Runs { answer: door.call(request), running });
                }
                StateProjection::Runs { answer, running } => {
                    note(Step::Waits);
                    let Ok(mut response) = ready!(answer.poll(context));
                    note(Step::Gave);
                    if response.status() == StatusCode::REQUEST_TIMEOUT && !is_http2 {
                        // The rest of the request is not waited for (RFC 9110, section 15.5.9).
                        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    let mut running = running.take();
                    if response.status() == StatusCode::SWITCHING_PROTOCOLS
                        && let (Some(upgrade), Some(running)) = (this.upgrade, running.take())
                    {
                        // The body of such a response is nothing, and dropped at once.
                        upgrade.keep(running);
                    }
                    return Poll::Ready(Ok(response.map(|body| ReplyBody::new(body, is_http2, running))));
                }
            }
        }
    }
}
