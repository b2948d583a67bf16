//! An HTTP handler that calls an imported function: `/Ann` answers what that says to Ann.

wit_bindgen::generate!({ generate_all });

use test::callee::hello;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct WebCaller;

impl Guest for WebCaller {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let text = hello::hello(path.trim_start_matches('/'));
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("a body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a stream");
        stream.blocking_write_and_flush(text.as_bytes()).expect("the client takes it");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is whole");
    }
}

wasip2::http::proxy::export!(WebCaller);
