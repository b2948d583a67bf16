//! Knows people.

/// Who is who.
#[micro::function]
mod directory {
    /// Somebody.
    pub struct User {
        pub email: String,
        /// How many unread messages they have.
        pub unread: u32,
    }

    /// Looks somebody up by name; the error says who is missing.
    pub fn find(name: String) -> Result<User, String> {
        match name.as_str() {
            "John" => Ok(User { email: "john@example.com".to_owned(), unread: 3 }),
            _ => Err(format!("nobody is called {name}")),
        }
    }
}
