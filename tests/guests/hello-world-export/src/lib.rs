//! Exports a function from the world itself.

wit_bindgen::generate!();

struct HelloWorldExport;

impl Guest for HelloWorldExport {
    fn hello(name: String) -> String {
        format!("Hello {name}")
    }
}

export!(HelloWorldExport);
