//! A server of the crate `wstd`: the body of a request is the body of its response, and each request has an id of its own.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    Ok(Response::builder().header("x-path", path).header("x-method", head.method.as_str()).body(body)?)
}
