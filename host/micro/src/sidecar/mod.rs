//! The door for programs beside the host and for the people who run it.
//!
//! | path | what | token |
//! |---|---|---|
//! | `/health` | whether the host answers | |
//! | `/metrics` | what Prometheus asks for; `?deployments=false` leaves out what there is of each | |
//! | `/registry` | the services, as go-micro's sidecar shows them | |
//! | `/broker` | messages, see [`broker`] | |
//! | `/rpc`, `/{service}/{path…}` | calls, as on the gateway | |
//! | `/v1/…` | the admin API, see [`admin`] | needed |
//!
//! Web pages are kept out, see [`visitors`].

pub mod admin;
mod broker;
mod given;
mod metrics;
mod registry;
mod token;
mod visitors;

pub(crate) use admin::HostStatus;
pub(crate) use token::{Token, replace as replace_token};

use crate::doors::Doors;
use crate::gateway::{self, Gateway};
use axum::extract::{ConnectInfo, FromRef, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use axum::routing::{any, get};
use axum::{Json, Router, middleware};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;

/// What errors of the sidecar itself are signed with.
const ID: &str = "go.micro.sidecar";

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Sidecar {
    pub(crate) gateway: Gateway,
    pub(crate) token: Arc<Token>,
    pub(crate) host: Arc<HostStatus>,
    pub(crate) doors: Arc<Doors>,
    /// True when the host stops: replies that go on for ever end then.
    pub(crate) stopped: watch::Receiver<bool>,
}

impl FromRef<Sidecar> for Gateway {
    fn from_ref(sidecar: &Sidecar) -> Gateway {
        sidecar.gateway.clone()
    }
}

/// The sidecar for one connection.
#[derive(Clone)]
pub(crate) struct Door {
    router: Router,
    peer: ConnectInfo<SocketAddr>,
}

impl Door {
    /// For a connection from `peer`, with these routes.
    pub(crate) fn new(router: Router, peer: SocketAddr) -> Door {
        Door { router, peer: ConnectInfo(peer) }
    }
}

impl tower_service::Service<Request> for Door {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.call(request)
    }
}

/// The sidecar's routes.
pub(crate) fn router(sidecar: Sidecar) -> Router {
    let visitors = visitors::Visitors::of(sidecar.host.sidecar_address);
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics::page))
        .route("/registry", get(registry::list))
        .route("/broker", any(broker::serve))
        .route("/rpc", any(gateway::rpc))
        .method_not_allowed_fallback(given::method_not_allowed)
        .nest("/v1", admin::router(&sidecar))
        .fallback(gateway::call)
        .layer(middleware::from_fn_with_state(visitors, visitors::check))
        .with_state(sidecar)
}

async fn health() -> Response {
    Json(serde_json::json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })).into_response()
}
