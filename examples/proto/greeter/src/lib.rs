//! Says hello, as `proto/greeter.proto` describes it.

mod greeter {
    // Called after the package in the .proto file.
    include!(concat!(env!("OUT_DIR"), "/greeter.rs"));
}

use greeter::{Language, Request, Response};
use micro::types::Context;

struct Say;

impl greeter::Say for Say {
    fn hello(_: Context, request: Request) -> micro::Result<Response> {
        let greeting = match request.language() {
            Language::English => "Hello",
            Language::German => "Guten Tag",
        };
        if request.name.is_empty() {
            return Err(micro::Error::bad_request("the name is empty"));
        }
        Ok(Response { msg: format!("{greeting} {}", request.name) })
    }
}

micro::serve!(greeter::SayEndpoints<Say>);
