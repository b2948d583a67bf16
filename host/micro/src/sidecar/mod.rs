//! The door for programs beside the host and for the people who run it.
//!
//! | path | what | token |
//! |---|---|---|
//! | `/health` | whether the host answers | |
//! | `/registry` | the services, as go-micro's sidecar shows them | |
//! | `/rpc`, `/{service}/{path…}` | calls, as on the gateway | |
//! | `/v1/…` | the admin API, see [`admin`] | needed |

pub mod admin;
mod registry;
mod token;

pub(crate) use admin::HostStatus;
pub(crate) use token::Token;

use crate::gateway::{self, Gateway};
use axum::extract::FromRef;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use std::sync::Arc;
use tokio::sync::watch;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Sidecar {
    pub(crate) gateway: Gateway,
    pub(crate) token: Arc<Token>,
    pub(crate) host: Arc<HostStatus>,
    /// True when the host stops: replies that go on for ever end then.
    pub(crate) stopped: watch::Receiver<bool>,
}

impl FromRef<Sidecar> for Gateway {
    fn from_ref(sidecar: &Sidecar) -> Gateway {
        sidecar.gateway.clone()
    }
}

/// The sidecar's routes.
pub(crate) fn router(sidecar: Sidecar) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/registry", get(registry::list))
        .route("/rpc", any(gateway::rpc))
        .nest("/v1", admin::router(&sidecar))
        .fallback(gateway::call)
        .with_state(sidecar)
}

async fn health() -> Response {
    Json(serde_json::json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })).into_response()
}
