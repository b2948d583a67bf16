//! Welcomes people, and asks `users` who they are.

// Rust of what wit/world.wit imports.
micro::generate!();

/// Welcomes.
#[micro::function]
mod welcome {
    use crate::micro_guest::users::directory;
    use micro::Error;

    /// A line for somebody who is back.
    pub fn back(name: String) -> Result<String, Error> {
        let user = directory::find(&name)?;
        Ok(format!("Welcome back, {name}: {} new messages for {}", user.unread, user.email))
    }
}
