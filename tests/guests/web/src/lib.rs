//! An HTTP handler of WASI 0.2. What it does is told by the path.

use std::sync::atomic::{AtomicU32, Ordering};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// Read and written at a time.
const PIECE: u64 = 64 * 1024;

struct Web;

impl Guest for Web {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().to_string();
        match path.as_str() {
            "/mirror" => mirror(request, out),
            "/count" => count(request, out),
            "/asked" => asked(out),
            "/trap-before" => panic!("before the response"),
            "/trap-after" => trap_after(request, out),
            "/half" => half(request, out),
            "/after" => after(out),
            "/nothing" => drop(out),
            "/error" => ResponseOutparam::set(out, Err(ErrorCode::ConnectionRefused)),
            "/forward-error" => forward_error(request, out),
            "/hang" => read_all(request, out),
            "/spin-after" => spin_after(request, out),
            "/status" => status(&target, out),
            "/large" => large(out),
            "/hoard" => hoard(),
            "/untrue" => untrue(&target, out),
            _ => show(&request, out),
        }
    }
}

/// Answers with what it sees of the request, one thing on a line.
fn show(request: &IncomingRequest, out: ResponseOutparam) {
    let method = match request.method() {
        Method::Other(other) => other,
        known => format!("{known:?}").trim_start_matches("Method::").to_uppercase(),
    };
    println!("asked for {}", request.path_with_query().unwrap_or_default());
    let mut text = format!(
        "method {method}\ntarget {}\nscheme {:?}\nauthority {}\n",
        request.path_with_query().unwrap_or_default(),
        request.scheme(),
        request.authority().unwrap_or_default(),
    );
    for (name, value) in request.headers().entries() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(&value)));
    }
    respond(out, 200, text.as_bytes());
}

/// Keeps all that it asks the host for.
fn hoard() {
    loop {
        std::mem::forget(Fields::from_list(&[("kept".into(), vec![b'x'; 32 * 1024])]));
    }
}

fn respond(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let (body, stream) = begin(out, status);
    write(&stream, bytes);
    drop(stream);
    OutgoingBody::finish(body, None).expect("the body is whole");
}

/// `/untrue?5-100` says that the body has 5 bytes and writes 100, the last of which look like another response. What it
/// has written is neither finished nor dropped.
fn untrue(target: &str, out: ResponseOutparam) {
    let lengths = target.split_once('?').and_then(|(_, lengths)| lengths.split_once('-'));
    let (told, written) = lengths.expect("two lengths");
    let headers = Fields::from_list(&[("content-length".into(), told.as_bytes().to_vec())]).expect("headers");
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("a body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a stream");
    let forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let mut bytes = vec![b'x'; written.parse::<usize>().expect("a length").saturating_sub(forged.len())];
    bytes.extend_from_slice(forged);
    for piece in bytes.chunks(4096) {
        // What is refused of it is written all the same.
        let _ = stream.blocking_write_and_flush(piece);
    }
    std::mem::forget((stream, body));
}

/// Begins a response without a length.
fn begin(out: ResponseOutparam, status: u16) -> (OutgoingBody, OutputStream) {
    let headers = Fields::from_list(&[("content-type".into(), b"text/plain".to_vec())]).expect("headers");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("a body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a stream");
    (body, stream)
}

fn write(stream: &OutputStream, bytes: &[u8]) {
    for piece in bytes.chunks(4096) {
        stream.blocking_write_and_flush(piece).expect("the client takes it");
    }
}

/// Reads what is there; none at the end, or when the client is gone.
fn read(stream: &InputStream) -> Option<Vec<u8>> {
    stream.blocking_read(PIECE).ok()
}

/// Each piece goes back as it comes, and so do the trailers.
fn mirror(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("a body");
    let from = incoming.stream().expect("a stream");
    let (body, to) = begin(out, 200);
    while let Some(piece) = read(&from) {
        write(&to, &piece);
    }
    drop((from, to));
    let trailers = IncomingBody::finish(incoming);
    trailers.subscribe().block();
    let trailers = trailers.get().and_then(Result::ok).and_then(Result::ok).flatten();
    let trailers = trailers.map(|fields| fields.clone());
    OutgoingBody::finish(body, trailers).expect("the body is whole");
}

/// Answers with the length of the body.
fn count(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("a body");
    let from = incoming.stream().expect("a stream");
    let mut length = 0;
    while let Some(piece) = read(&from) {
        length += piece.len();
    }
    respond(out, 200, length.to_string().as_bytes());
}

/// How often this instance was asked.
fn asked(out: ResponseOutparam) {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    respond(out, 200, (ASKED.fetch_add(1, Ordering::Relaxed) + 1).to_string().as_bytes());
}

/// Begins a response, waits until the client has said something, and traps.
fn trap_after(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("a body");
    let from = incoming.stream().expect("a stream");
    let (_body, to) = begin(out, 200);
    write(&to, b"the beginning");
    read(&from);
    panic!("after the beginning");
}

/// Begins a response and drops it in the middle.
fn half(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("a body");
    let from = incoming.stream().expect("a stream");
    let (body, to) = begin(out, 200);
    write(&to, b"the beginning");
    read(&from);
    drop(to);
    drop(body);
}

/// Does something when its response is out.
fn after(out: ResponseOutparam) {
    respond(out, 200, b"done");
    println!("after the response");
}

/// Reads the body to its end before it says anything.
fn read_all(request: IncomingRequest, out: ResponseOutparam) {
    count(request, out);
}

/// Answers with the error that its client's body ended in.
fn forward_error(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("a body");
    let from = incoming.stream().expect("a stream");
    loop {
        match from.blocking_read(PIECE) {
            Ok(_) => {}
            Err(StreamError::Closed) => return respond(out, 200, b"whole"),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return ResponseOutparam::set(out, Err(code.unwrap_or(ErrorCode::InternalError(None))));
            }
        }
    }
}

/// Begins a response and computes for ever.
fn spin_after(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("a body");
    let from = incoming.stream().expect("a stream");
    let (_body, to) = begin(out, 200);
    write(&to, b"the beginning");
    read(&from);
    loop {
        std::hint::black_box(&to);
    }
}

/// `/status?404` answers with that status, and with a body where there may be one.
fn status(target: &str, out: ResponseOutparam) {
    let status = target.split_once('?').and_then(|(_, status)| status.parse().ok()).unwrap_or(400);
    respond(out, status, b"status");
}

/// A response that is larger than what the host holds of it.
fn large(out: ResponseOutparam) {
    let (body, to) = begin(out, 200);
    let piece = [b'x'; 4096];
    for _ in 0..4096 {
        write(&to, &piece);
    }
    drop(to);
    OutgoingBody::finish(body, None).expect("the body is whole");
}

wasip2::http::proxy::export!(Web);
