//! Knows people.

/// Who is who.
#[micro::function]
mod directory {
    use micro::Error;

    /// Somebody.
    pub struct User {
        pub email: String,
        /// How many unread messages they have.
        pub unread: u32,
    }

    /// Looks somebody up by name; the error says who is missing.
    pub fn find(name: String) -> Result<User, Error> {
        match name.as_str() {
            "John" => Ok(User { email: "john@example.com".to_owned(), unread: 3 }),
            _ => Err(Error::not_found(format!("nobody is called {name}"))),
        }
    }
}
