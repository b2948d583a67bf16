//! An HTTP handler of WASI 0.3. What it does is told by the path.

use std::sync::atomic::{AtomicU32, Ordering};
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::rt::async_support::{FutureReader, StreamReader};
use wasip3::{wit_future, wit_stream};

struct Web;

type Trailers = FutureReader<Result<Option<Fields>, ErrorCode>>;

impl Guest for Web {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        match target.split('?').next().unwrap_or_default() {
            "/mirror" => Ok(mirror(request)),
            "/passed" => Ok(passed(request)),
            "/count" => Ok(whole(count(request).await.to_string())),
            "/asked" => Ok(whole(asked().to_string())),
            "/trap-before" => panic!("before the response"),
            "/trap-after" => Ok(trap_after(request)),
            "/after" => Ok(after()),
            "/hang" => Ok(whole(count(request).await.to_string())),
            "/spin" => loop {
                std::hint::black_box(&target);
            },
            "/error" => Err(ErrorCode::ConnectionRefused),
            _ => Ok(show(&request)),
        }
    }
}

fn no_trailers() -> Trailers {
    wit_future::new(|| Ok(None)).1
}

fn response(body: StreamReader<u8>, trailers: Trailers) -> Response {
    let headers = Fields::from_list(&[("content-type".into(), b"text/plain".to_vec())]).expect("headers");
    Response::new(headers, Some(body), trailers).0
}

/// A response that is known as a whole.
fn whole(text: String) -> Response {
    let (mut to, body) = wit_stream::new();
    wasip3::spawn(async move {
        to.write_all(text.into_bytes()).await;
    });
    response(body, no_trailers())
}

/// Answers with what it sees of the request, one thing on a line.
fn show(request: &Request) -> Response {
    println!("asked for {}", request.get_path_with_query().unwrap_or_default());
    let mut text = format!(
        "method {:?}\ntarget {}\nscheme {:?}\nauthority {}\n",
        request.get_method(),
        request.get_path_with_query().unwrap_or_default(),
        request.get_scheme(),
        request.get_authority().unwrap_or_default(),
    );
    for (name, value) in request.get_headers().copy_all() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(&value)));
    }
    whole(text)
}

fn consume(request: Request) -> (StreamReader<u8>, Trailers) {
    Request::consume_body(request, wit_future::new(|| Ok(())).1)
}

/// Each piece goes back as it comes, and so do the trailers.
fn mirror(request: Request) -> Response {
    let (mut from, trailers) = consume(request);
    let (mut to, body) = wit_stream::new();
    wasip3::spawn(async move {
        let mut piece = Vec::with_capacity(64 * 1024);
        loop {
            let status;
            (status, piece) = from.read(piece).await;
            if !piece.is_empty() {
                let mut rest = to.write_all(std::mem::take(&mut piece)).await;
                if !rest.is_empty() {
                    return;
                }
                rest.clear();
                piece = rest;
                piece.reserve(64 * 1024);
            }
            if matches!(status, wasip3::wit_bindgen::StreamResult::Dropped) {
                return;
            }
        }
    });
    response(body, trailers)
}

/// The body of the request is that of the response: the guest has no more to do with it.
fn passed(request: Request) -> Response {
    let (body, trailers) = consume(request);
    response(body, trailers)
}

async fn count(request: Request) -> usize {
    let (mut from, _) = consume(request);
    let mut length = 0;
    let mut piece = Vec::with_capacity(64 * 1024);
    loop {
        let status;
        (status, piece) = from.read(piece).await;
        length += piece.len();
        piece.clear();
        if matches!(status, wasip3::wit_bindgen::StreamResult::Dropped) {
            return length;
        }
    }
}

/// How often this instance was asked.
fn asked() -> u32 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    ASKED.fetch_add(1, Ordering::Relaxed) + 1
}

/// Begins a response, waits until the client has said something, and traps.
fn trap_after(request: Request) -> Response {
    let (mut from, _) = consume(request);
    let (mut to, body) = wit_stream::new();
    wasip3::spawn(async move {
        to.write_all(b"the beginning".to_vec()).await;
        from.next().await;
        panic!("after the beginning");
    });
    response(body, no_trailers())
}

/// Does something when its response is out.
fn after() -> Response {
    let (mut to, body) = wit_stream::new();
    wasip3::spawn(async move {
        to.write_all(b"done".to_vec()).await;
        drop(to);
        println!("after the response");
    });
    response(body, no_trailers())
}

wasip3::http::service::export!(Web);
