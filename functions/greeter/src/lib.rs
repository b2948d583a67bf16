//! Says hello: the smallest function there is.

micro_sdk::wit_bindgen::generate!({ runtime_path: "micro_sdk::wit_bindgen::rt" });

use exports::demo::greeter::say::{Guest, Request, Response};

struct Greeter;

impl Guest for Greeter {
    fn hello(request: Request) -> Response {
        println!("Received Say.Hello request");
        Response { msg: format!("Hello {}", request.name) }
    }
}

export!(Greeter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_by_name() {
        let request = Request { name: "John".to_owned() };
        assert_eq!(Greeter::hello(request).msg, "Hello John");
    }
}
