//! A descriptor set, as a component carries it, and its messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_engine::Protos;
use micro_fuzz::panics::allow_libraries;

fuzz_target!(init: allow_libraries(), |bytes: &[u8]| {
    let Ok(protos) = Protos::read(bytes) else { return };
    let endpoints = match protos.endpoints() {
        Ok(endpoints) => endpoints,
        Err(error) => {
            assert!(error.starts_with("section micro.descriptors: "), "an error names its place: {error}");
            return;
        }
    };
    for endpoint in endpoints {
        let raw = endpoint.raw.expect("a method has messages");
        // A message with nothing in it is one of every type, but where fields are required.
        if let Ok(message) = protos.from_json(&raw.input, b"{}") {
            drop(protos.to_json(&raw.input, &message));
        }
    }
});
