//! `/metrics`, for Prometheus and what reads its format.

use super::Sidecar;
use super::given::Given;
use crate::runtime::metrics::Scrape;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::convert::Infallible;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Whether what there is of each deployment is shown, besides the host.
    #[serde(default = "yes")]
    deployments: bool,
}

fn yes() -> bool {
    true
}

/// The page, written while it is sent.
pub(super) async fn page(
    State(sidecar): State<Sidecar>,
    Given(Query(parameters)): Given<Query<Parameters>>,
) -> Response {
    let scrape = Scrape::begin(&sidecar.gateway.runtime, parameters.deployments).await;
    let body = Body::from_stream(futures::stream::iter(scrape.map(Ok::<_, Infallible>)));
    ([(CONTENT_TYPE, Scrape::CONTENT_TYPE)], body).into_response()
}
