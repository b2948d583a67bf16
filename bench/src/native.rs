//! The greeter without a host: a plain axum handler that reads the same JSON and writes the same answer.
//!
//! It is what `make bench` divides by. It listens on a port of its own choice, prints that address, and runs until it is
//! killed.

use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Request {
    name: String,
}

#[derive(Serialize)]
struct Response {
    msg: String,
}

async fn hello(Json(request): Json<Request>) -> Json<Response> {
    Json(Response { msg: format!("Hello {}", request.name) })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    // As in the host: without it, both would wait for more bytes to send.
    let listener = listener.tap_io(|stream| {
        // A connection that is gone already shows itself at the first read.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, Router::new().route("/greeter/say/hello", post(hello))).await?;
    Ok(())
}
