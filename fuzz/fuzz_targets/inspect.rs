//! The bytes of a component, as somebody deploys them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_engine::{Inspection, inspect, section, wit};
use micro_fuzz::panics::allow_libraries;

fuzz_target!(init: allow_libraries(), |bytes: &[u8]| {
    if let Ok(with_section) = section::put(bytes, "micro.fuzz", b"content") {
        assert_eq!(section::get(&with_section, "micro.fuzz"), Ok(Some(&b"content"[..])), "what was put is there");
    }
    if let Ok(inspection) = inspect(bytes, Some("demo.fuzz")) {
        let kept = serde_json::to_vec(&inspection).expect("an inspection is JSON");
        let back: Inspection = serde_json::from_slice(&kept).expect("JSON is an inspection");
        assert!(serde_json::to_vec(&back).is_ok_and(|again| again == kept), "it is the same when it comes back");
        // It says why not, if not.
        drop(inspection.protos());
    }
    drop(wit::wit_text(bytes));
});
