//! The path of a request, as it names a service.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro::gateway::path::resolve;

fuzz_target!(|path: &str| {
    match resolve(path) {
        Ok(target) => {
            assert!(!target.name.is_empty() && !target.name.contains('/'), "{target:?}");
            assert!(target.endpoint.contains('.') && !target.endpoint.contains('/'), "{target:?}");
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
});
