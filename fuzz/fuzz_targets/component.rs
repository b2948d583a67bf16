//! A valid component with types made from bytes: deep ones, ones that use each other, lists of billions. Whatever they
//! are, they are kept and shown as a tree, which must have an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_engine::{Inspection, inspect, wit};
use micro_fuzz::component;
use micro_fuzz::panics::allow_libraries;

/// What is kept of a component of a few kilobytes, in bytes.
const MAX_KEPT: usize = 64 * 1024 * 1024;

fuzz_target!(init: allow_libraries(), |bytes: &[u8]| {
    let component = component::from_bytes(bytes);
    if let Ok(inspection) = inspect(&component, Some("demo.fuzz")) {
        let kept = serde_json::to_vec(&inspection).expect("an inspection is JSON");
        assert!(kept.len() <= MAX_KEPT, "{} bytes are kept of {}", kept.len(), component.len());
        let back: Inspection = serde_json::from_slice(&kept).expect("JSON is an inspection");
        assert!(serde_json::to_vec(&back).is_ok_and(|again| again == kept), "it is the same when it comes back");
    }
    drop(wit::wit_text(&component));
});
