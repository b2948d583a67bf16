//! Calls another by what `micro wit` printed of it. Beside that lies what it printed of a second one: both hold the types
//! of the contract.

micro::generate!();

/// Asks.
#[micro::function]
mod asker {
    use crate::micro_guest::sdk_callee::people;
    use micro::Error;

    /// The address of somebody.
    pub fn address(name: String) -> Result<String, Error> {
        Ok(people::find(&name)?.email)
    }
}
