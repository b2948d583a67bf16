//! Says hello.

/// Greetings.
#[micro::function]
mod say {
    /// Says hello to somebody.
    pub fn hello(name: String) -> String {
        format!("Hello {name}")
    }
}
