//! Calls itself by name, again and again.

/// Goes round in circles.
#[micro::function]
mod loops {
    /// Calls itself once more.
    pub fn again() -> Result<String, micro::Error> {
        micro::call("loops", "Loops.Again", &())
    }

    /// Calls a service that it may not call.
    pub fn astray() -> Result<String, micro::Error> {
        micro::call("somebody", "Some.Thing", &())
    }
}
