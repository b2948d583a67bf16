//! Knows people, and says in an error of the contract whom it does not know.

/// Who is who.
#[micro::function]
mod people {
    use micro::Error;

    /// Somebody.
    pub struct Person {
        pub email: String,
    }

    /// Looks somebody up.
    pub fn find(name: String) -> Result<Person, Error> {
        match name.as_str() {
            "John" => Ok(Person { email: "john@example.com".to_owned() }),
            _ => Err(Error::not_found(format!("nobody is called {name}"))),
        }
    }
}
