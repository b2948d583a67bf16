//! Panics that are no finding.

use std::panic;

/// Libraries that are known to panic at what contradicts itself; the host makes an error of it.
const CAUGHT: [&str; 3] = ["/wit-parser-", "/wit-component-", "/prost-reflect-"];

/// Lets panics of these libraries pass, so that the host can catch them; libFuzzer ends with any other. One that nobody
/// catches is a finding still.
pub fn allow_libraries() {
    let end = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        let is_caught = panicked.location().is_some_and(|place| CAUGHT.iter().any(|name| place.file().contains(name)));
        if !is_caught {
            end(panicked);
        }
    }));
}
